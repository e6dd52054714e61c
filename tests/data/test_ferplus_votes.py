from __future__ import annotations

import pytest

from fer_lightning.data.ferplus_votes import read_folder_votes, read_votes
from fer_lightning.errors import UserError

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def test_reads_the_owners_file(tmp_path):
    path = tmp_path / "fer2013new.csv"
    path.write_text(f"{HEADER}\nTraining,fer0000000.png,4,0,0,1,3,2,0,0,0,0\nPublicTest,,0,0,0,0,0,0,0,0,0,10\n")
    table = read_votes(path)
    assert table.frame.values.tolist() == [["Training", "fer0000000.png", True], ["PublicTest", "", True]]
    assert table.votes.tolist() == [[4, 0, 0, 1, 3, 2, 0, 0, 0, 0], [0] * 9 + [10]]


def test_columns_are_found_by_name(tmp_path):
    path = tmp_path / "fer2013new.csv"
    names = HEADER.split(",")
    path.write_text(f"{','.join(reversed(names))}\n10,9,8,7,6,5,4,3,2,1,a.png,Training\n")
    assert read_votes(path).votes.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]


@pytest.mark.parametrize("box", ["", '"(0, 0, 48, 48)",'])
def test_reads_the_lists_of_generated_folders(tmp_path, box):
    path = tmp_path / "label.csv"
    path.write_text(f"fer0000000.png,{box}4,0,0,1,3,2,0,0,0,0\n")
    table = read_folder_votes(path, "PublicTest")
    assert table.frame.values.tolist() == [["PublicTest", "fer0000000.png", True]]
    assert table.votes.tolist() == [[4, 0, 0, 1, 3, 2, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    "row", ["Training,a.png,4,x,0,1,3,2,0,0,0,0", "Training,a.png,4,0", "Training,a.png" + ",-1" * 10]
)
def test_a_bad_row_keeps_its_place_and_is_named(tmp_path, row):
    path = tmp_path / "fer2013new.csv"
    path.write_text(f"{HEADER}\n{row}\nTraining,b.png,4,0,0,1,3,2,0,0,0,0\n")
    table = read_votes(path)
    assert table.frame["valid"].tolist() == [False, True]
    assert len(table.bad) == 1
    assert table.bad[0].startswith(f"{path} row 1: expected 10 counts of votes")


def test_a_missing_column_is_named(tmp_path):
    path = tmp_path / "fer2013new.csv"
    path.write_text(HEADER.replace(",contempt", "") + "\n")
    with pytest.raises(UserError, match=r"fer2013new\.csv has no column contempt"):
        read_votes(path)
