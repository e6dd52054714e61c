from __future__ import annotations

import pytest

from fer_lightning.data.attributes import read_attributes
from fer_lightning.data.folder import Folder
from fer_lightning.data.rafdb import RAFDB
from fer_lightning.errors import UserError


@pytest.fixture
def samples(trees, make_data):
    return make_data(Folder, trees / "folder").scan()


@pytest.fixture
def read(samples, tmp_path):
    def read(text: str, ids=("test/angry/0.png", "test/happy/1.png"), groups: str = "all"):
        (tmp_path / "people.csv").write_text(text)
        return read_attributes(samples, ids, groups, str(tmp_path / "people.csv"))

    return read


def test_a_table_by_id_or_path_without_its_ending(read):
    table = read("Skin;image;age\ndark; ./test/angry/0.jpg ;20-39\nlight;TEST/HAPPY/1.png;\nlight;train/happy/1;4-19\n")
    assert table.index.tolist() == ["test/angry/0.png", "test/happy/1.png"]
    assert table["skin"].tolist() == ["dark", "light"]
    assert table["age"].isna().tolist() == [False, True]


def test_a_table_by_the_name_of_the_file(trees, make_data, tmp_path):
    samples = make_data(RAFDB, trees / "rafdb").scan()
    (tmp_path / "people.csv").write_text("image,glasses\ntest_00001_aligned.jpg,yes\ntest_00002.jpg,no\nother.jpg,no\n")
    table = read_attributes(
        samples, ["test_00001", "test_00002", "test_00003"], "glasses", str(tmp_path / "people.csv")
    )
    assert table["glasses"].tolist()[:2] == ["yes", "no"] and table["glasses"].isna().sum() == 1


def test_the_attributes_of_a_release(trees, make_data):
    samples = make_data(RAFDB, trees / "rafdb").scan()
    assert list(read_attributes(samples, ["test_00003"])) == ["gender", "race", "age"]
    assert list(read_attributes(samples, ["test_00003"], "race")) == ["race"]


def test_a_release_without_attributes_says_so(samples):
    with pytest.raises(UserError, match=r"^groups=gender: the release \(class folders by split\) has no attributes"):
        read_attributes(samples, ["test/angry/0.png"], "gender")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("picture,skin\na,b\n", "has no column image"),
        ("image\ntest/angry/0.png\n", "must have a column with a name of its own for each attribute; got image"),
        ("image,skin,skin\ntest/angry/0,a,b\n", "name of its own for each attribute; got image, skin, skin"),
        ("image,skin\ntest/angry/0.png\n", r"people\.csv row 1: 1 fields, expected 2"),
        (
            "image,skin\n0.png,dark\n",
            r"row 1: '0\.png' names several images: use the ids test/angry/0\.png and test/bored",
        ),
        ("image,skin\ntest/angry/0,a\ntest/angry/0.png,a\n", "row 2: the image 'test/angry/0.png' is listed twice"),
        ("image,skin\nelsewhere.png,dark\n", r"such as test/angry/0\.png; none of its 1 rows does|none of its 1 rows"),
        ("image,skin\ntest/angry/0,a\x1b[1m\n", "must be at most 100 printable characters: correct it"),
        (
            "image,skin\ntrain/angry/0.png,dark\n",
            "groups=all needs images whose skin is known; it is known of none of 2",
        ),
    ],
)
def test_a_table_that_cannot_be_used(read, text, told):
    with pytest.raises(UserError, match=told):
        read(text)


def test_too_many_values_are_no_groups(trees, make_data, tmp_path):
    samples = make_data(RAFDB, trees / "rafdb").scan()
    rows = [f"{image},{number}" for number, image in enumerate(samples.frame["id"])]
    (tmp_path / "people.csv").write_text("\n".join(["image,age", *rows[:20]]))
    assert (
        len(read_attributes(samples, ["train_00001"], "all", str(tmp_path / "people.csv"))["age"].cat.categories) == 20
    )
    (tmp_path / "people.csv").write_text("\n".join(["image,age", *rows[:21]]))
    with pytest.raises(UserError, match="the column age must have at most 20 different values; got 21: write ranges"):
        read_attributes(samples, ["train_00001"], "all", str(tmp_path / "people.csv"))


def test_unknown_attributes(read):
    text = "image,skin\ntest/angry/0.png,dark\n"
    with pytest.raises(UserError, match="groups=gender is unknown: use one of all, skin"):
        read(text, groups="gender")
    with pytest.raises(UserError, match=r"groups of classes are data\.groups=valence3"):
        read(text, groups="valence3")
