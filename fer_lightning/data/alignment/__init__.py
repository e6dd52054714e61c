"""Landmark alignment: faces found with MediaPipe, brought upright onto one template by a similarity transform.

- `Landmarker`: MediaPipe's landmark detector for single images
- `AlignedReader`: reader of the aligned faces of a data set
- `detect_landmarks`: the landmarks of a data set, detected once and cached
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
