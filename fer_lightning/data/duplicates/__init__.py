"""Exact, near and mirrored copies of images, within and across splits.

- `Copies`: which rows of a data set show the same image
- `near_pairs`: pairs of near or mirrored copies by perceptual hashes
- `Findings`: what an audit of a data set reports
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
