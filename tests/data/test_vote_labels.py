from __future__ import annotations

import pytest

from fer_lightning.data.ferplus_rules import EMOTIONS
from fer_lightning.data.vote_labels import read_vote_labels
from fer_lightning.errors import UserError

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def test_two_annotations_of_the_same_images(tmp_path, write_pixel_csv):
    votes = [
        "Training,a.png,0,0,0,0,7,3,0,0,0,0",
        "Training,,0,0,0,0,0,0,0,0,0,0",
        "PublicTest,b.png,1,9,0,0,0,0,0,0,0,0",
        "PrivateTest,c.png,0,0,10,0,0,0,0,0,0,0",
    ]
    (tmp_path / "fer2013new.csv").write_text("\n".join([HEADER, *votes]) + "\n")
    write_pixel_csv(tmp_path / "fer2013.csv", [(0, 1, "Training"), (4, 2, "Training"), (3, 3, "PublicTest")])
    found = read_vote_labels(str(tmp_path))
    assert found.usage.tolist() == ["Training", "PublicTest"]
    assert [EMOTIONS[label] for label in found.label] == ["angry", "happy"]
    assert found.votes.tolist() == [[0, 0, 0, 0, 7, 3, 0, 0, 0, 0], [1, 9, 0, 0, 0, 0, 0, 0, 0, 0]]
    assert found.left_out == 1


def test_a_missing_file_is_told(tmp_path, write_pixel_csv):
    write_pixel_csv(tmp_path / "fer2013.csv", [(0, 1, "Training")])
    with pytest.raises(UserError, match=r"fer2013new\.csv together with fer2013\.csv"):
        read_vote_labels(str(tmp_path))
