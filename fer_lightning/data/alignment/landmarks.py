"""The 68 facial points of iBUG 300-W and the 52 expression coefficients of MediaPipe.

The points (C. Sagonas et al., "300 Faces in-the-Wild Challenge", ICCV workshops 2013) with their indices in MediaPipe's
mesh, their mirror images, and their mean position on a face. Parts run from the image's left to its right:

| points | part |
|---|---|
| 0-16 `JAW` | contour from the ear over the chin (8) to the other ear |
| 17-26 `BROWS` | five points each |
| 27-35 `NOSE` | bridge from top to tip (27-30), then below the nostrils (31-35) |
| 36-47 `EYES` | six points each, from the left corner over the upper lid |
| 48-67 `MOUTH` | outer lips (48-59), inner lips (60-67), each from the left corner over the upper lip |

The coefficients are those of MediaPipe's FaceLandmarker, each in 0..1.
"""

from __future__ import annotations

import re

import numpy as np

JAW = slice(0, 17)
BROWS = slice(17, 27)
NOSE = slice(27, 36)
EYES = slice(36, 48)
MOUTH = slice(48, 68)
# Points of MediaPipe's 478-point face mesh closest to the 68. There is no official table: this is the list used in the
# community, with 70 and 300 instead of 71 and 301 as the outer brow ends, which are closer to dlib's. The jaw agrees
# worst by far.
FROM_MEDIAPIPE: np.ndarray = np.array(
    [
        *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
        *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
        *(168, 197, 5, 4, 75, 97, 2, 326, 305),
        *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
        *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
    ]
)
# (68,): the points of the mirrored picture are `mirror(points)[MIRRORED]`, where `mirror` turns x into width - x.
MIRRORED: np.ndarray = np.array(
    [
        *(16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
        *(26, 25, 24, 23, 22, 21, 20, 19, 18, 17),
        *(27, 28, 29, 30, 35, 34, 33, 32, 31),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65),
    ]
)
# Points used by the alignment. The mouth moves with the expression, and the jaw is the least accurate part.
RIGID: np.ndarray = np.arange(BROWS.start, EYES.stop)
# (68, 2): positions of the points, in units of the size of the aligned picture. It is the mean shape of a generalised
# Procrustes analysis (by the rigid points) of the 973 faces found among 1,000 random pictures of FER2013's Training,
# symmetrised with their mirror images. Eye centres are at (16.7, 19.15) and (31.3, 19.15) of 48 pixels, which keeps the
# chin of an open mouth inside.
TEMPLATE: np.ndarray = np.array(
    [
        (0.1753, 0.3268), (0.1730, 0.4589), (0.1762, 0.5281), (0.2077, 0.6833), (0.2374, 0.7505),  # jaw
        (0.2709, 0.8004), (0.3506, 0.8738), (0.4390, 0.9211), (0.5000, 0.9278), (0.5610, 0.9211),
        (0.6494, 0.8738), (0.7291, 0.8004), (0.7626, 0.7505), (0.7923, 0.6833), (0.8238, 0.5281),
        (0.8270, 0.4589), (0.8247, 0.3268),
        (0.2280, 0.3188), (0.2560, 0.2934), (0.2991, 0.2811), (0.3578, 0.2860), (0.4275, 0.2991),  # brows
        (0.5725, 0.2991), (0.6422, 0.2860), (0.7009, 0.2811), (0.7440, 0.2934), (0.7720, 0.3188),
        (0.5000, 0.3869), (0.5000, 0.4618), (0.5000, 0.5241), (0.5000, 0.5618), (0.4419, 0.6026),  # nose
        (0.4628, 0.6176), (0.5000, 0.6200), (0.5372, 0.6176), (0.5581, 0.6026),
        (0.2869, 0.3974), (0.3190, 0.3790), (0.3670, 0.3779), (0.4152, 0.4079), (0.3735, 0.4151),  # eyes
        (0.3259, 0.4163), (0.5848, 0.4079), (0.6330, 0.3779), (0.6810, 0.3790), (0.7131, 0.3974),
        (0.6741, 0.4163), (0.6265, 0.4151),
        (0.3748, 0.7270), (0.4265, 0.6916), (0.4626, 0.6827), (0.5000, 0.6882), (0.5374, 0.6827),  # mouth
        (0.5735, 0.6916), (0.6252, 0.7270), (0.5764, 0.7872), (0.5415, 0.8016), (0.5000, 0.8068),
        (0.4585, 0.8016), (0.4236, 0.7872), (0.3871, 0.7274), (0.4691, 0.7154), (0.5000, 0.7163),
        (0.5309, 0.7154), (0.6129, 0.7274), (0.5329, 0.7590), (0.5000, 0.7619), (0.4671, 0.7590),
    ]
)  # fmt: skip
# In the order of the model's output. Left and right are those of the person, not of the picture.
BLENDSHAPES: tuple[str, ...] = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
# (52,): the coefficients of the mirrored picture are `coefficients[MIRRORED_BLENDSHAPES]`.
MIRRORED_BLENDSHAPES: np.ndarray = np.array(
    [
        BLENDSHAPES.index(re.sub("Left$|Right$", lambda match: {"Left": "Right", "Right": "Left"}[match[0]], name))
        for name in BLENDSHAPES
    ]
)
