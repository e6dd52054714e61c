"""`fer label_noise` on a few images whose agreements can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import pandas as pd
import pytest

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
# FER2013's code, then the votes in the order of HEADER: happy by 10, sad where FER2013 says fear, and no majority.
ROWS = [
    ("Training", 3, [0, 10, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("Training", 2, [2, 0, 0, 8, 0, 0, 0, 0, 0, 0]),
    ("PublicTest", 6, [5, 0, 0, 5, 0, 0, 0, 0, 0, 0]),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    votes = [f"{usage},{row}.png,{','.join(map(str, counts))}" for row, (usage, _, counts) in enumerate(ROWS)]
    (folder / "fer2013new.csv").write_text("\n".join([HEADER, *votes]) + "\n")
    pixels = " ".join(["0"] * 48 * 48)
    images = [f"{code},{pixels},{usage}" for usage, code, _ in ROWS]
    (folder / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *images]) + "\n")
    return folder


@pytest.mark.parametrize("data", ["ferplus", "fer2013"])
def test_counts_by_hand(root, fer, tmp_path, capsys, data):
    assert fer("label_noise", f"data={data}", f"data.root={root}", f"hydra.run.dir={tmp_path / 'run'}") == 0
    table = pd.read_csv(tmp_path / "run" / "label_noise.csv").set_index(["measure", "split", "class"])
    together = table.xs("all", level="split").xs("all", level="class")
    assert together["agreement"].to_dict() == pytest.approx(
        {
            "consensus = FER2013 label": (1 + 0 + 0.5) / 3,
            "majority = FER2013 label": 1 / 2,
            "one annotator = FER2013 label": (1 + 0 + 0.5) / 3,
            "best answer = one annotator": (1 + 0.8 + 0.5) / 3,
            "one annotator = FERPlus majority": (1 + 0.8) / 2,
            "one annotator = consensus of the others": (1 + 0.8) / 2,
        },
        abs=1e-4,
    )
    assert together["images"].tolist() == [3, 2, 3, 3, 2, 2]
    assert table.loc[("one annotator = FER2013 label", "Training", "fear"), "agreement"] == 0
    assert "50.0%" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "run" / "label_noise.png")) is not None


def test_other_datasets_have_no_votes(root, fer, tmp_path, capsys):
    assert fer("label_noise", "data=rafdb", f"data.root={root}", f"hydra.run.dir={tmp_path / 'run'}") == 2
    assert "use data=ferplus" in capsys.readouterr().err


def test_the_former_name_says_so(fer, capsys):
    assert fer("ceiling", "data=rafdb") == 2
    assert "fer ceiling is called fer label_noise now" in capsys.readouterr().err
