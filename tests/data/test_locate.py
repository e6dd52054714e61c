from __future__ import annotations

from fer_lightning.data.locate import find_file, find_folder, named_file, places


def test_looks_at_the_place_first_and_then_one_folder_down(tmp_path):
    for name in ("b", "a", ".hidden", "a/deeper"):
        (tmp_path / name).mkdir()
    assert list(places(str(tmp_path))) == [tmp_path, tmp_path / "a", tmp_path / "b"]


def test_a_named_file_stands_for_its_folder(tmp_path):
    (tmp_path / "data.csv").touch()
    root = str(tmp_path / "data.csv")
    assert list(places(root)) == [tmp_path]
    assert named_file(root) == tmp_path / "data.csv"
    assert named_file(str(tmp_path)) is None


def test_nowhere_is_no_place(tmp_path):
    for root in (None, str(tmp_path / "missing")):
        assert list(places(root)) == []
        assert named_file(root) is None
        assert find_file(root, ["x.csv"]) is None
        assert find_folder(root, ["train"]) is None


def test_the_order_of_names_comes_before_the_order_of_places(tmp_path):
    (tmp_path / "second.csv").touch()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "first.csv").touch()
    assert find_file(str(tmp_path), ["first.csv", "second.csv"]) == tmp_path / "a" / "first.csv"


def test_a_folder_needs_all_its_sub_folders(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "a" / "train").mkdir(parents=True)
    (tmp_path / "a" / "test").mkdir()
    assert find_folder(str(tmp_path), ["train", "test"]) == tmp_path / "a"
    assert find_folder(str(tmp_path), ["train"]) == tmp_path
