"""The six points that BlazeFace finds on a face, and their mean place on an aligned one.

V. Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", CVPR workshop 2019:
the centres of the eyes, the tip of the nose, the centre of the mouth, and the ears; in each pair the image-left one
comes first.
"""

from __future__ import annotations

import numpy as np

from fer_lightning.data.alignment.warp import fit_similarity

# (6, 2), in units of the side of the aligned picture: medians over 881 random pictures of FER2013's Training that their
# 68 landmarks had brought onto `landmarks68.TEMPLATE`, symmetrised with their mirror images.
KEYPOINTS: np.ndarray = np.array(
    [(0.3502, 0.4044), (0.6498, 0.4044), (0.5000, 0.5834), (0.5000, 0.7249), (0.1941, 0.4568), (0.8059, 0.4568)]
)

# Points that alignment goes by: the ears move as soon as the head turns.
ALIGNED: np.ndarray = np.arange(4)


def crop_matrix(points: np.ndarray, size: int, zoom: float = 1.0) -> np.ndarray:
    """The `(2, 3)` similarity from pixels of a picture to those of the crop of a face in it.

    Args:
        points: The six points `(6, 2)`, in pixels of the picture (see `similarity`).
        size: Side of the crop in pixels.
        zoom: 1 puts the points where `KEYPOINTS` has them; more shows less around the face.
    """
    template = 0.5 + zoom * (KEYPOINTS[ALIGNED] - 0.5)
    return fit_similarity(points[ALIGNED], template * size)
