from __future__ import annotations

import numpy as np

from fer_lightning.data.alignment.blendshapes import BLENDSHAPES, MIRRORED


def test_52_different_names():
    assert len(set(BLENDSHAPES)) == len(BLENDSHAPES) == 52


def test_mirroring_swaps_left_and_right_alone():
    for name, other in zip(BLENDSHAPES, MIRRORED):
        swapped = name.replace("Left", "#").replace("Right", "Left").replace("#", "Right")
        assert BLENDSHAPES[other] == swapped
    assert (MIRRORED == np.arange(52)).sum() == 12
    assert BLENDSHAPES[MIRRORED[BLENDSHAPES.index("mouthSmileLeft")]] == "mouthSmileRight"
