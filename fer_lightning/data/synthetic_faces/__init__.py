"""Synthetic faces drawn from action units, for the data set `Synthetic`.

- `FaceParameters`: all parameters of one face: person, action units and view
- `draw_face`: the image of a face
- `sample_face`: random parameters of a face with a given expression
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
