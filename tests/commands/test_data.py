from __future__ import annotations

import cv2
import numpy as np


def test_prints_the_protocol_and_draws_both_sheets(tiny, fer, tmp_path, capsys):
    options = [option for option in tiny if option.startswith("data")]
    assert fer("data", *options, "examples=4", f"hydra.run.dir={tmp_path}") == 0
    told = capsys.readouterr().out
    for split, count in (("train", 42), ("val", 18), ("test", 15)):
        assert split in told and str(count) in told
    stored, augmented = (cv2.imread(str(tmp_path / f"{name}.png")) for name in ("images", "augmented"))
    assert stored.shape == augmented.shape
    assert not np.array_equal(stored, augmented)
