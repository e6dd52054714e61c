from __future__ import annotations

import pytest

from fer_lightning.data.layouts import LAYOUTS, find_file, find_folder, named_file, not_found, places, require_root
from fer_lightning.errors import UserError
from fer_lightning.files import conf_dir


def test_the_sentence_says_what_where_and_from_whom():
    sentence = str(not_found("rafdb", "data/rafdb"))
    for part in ("RAF-DB", "data.root=data/rafdb", "aligned; or the Kaggle re-pack", "FER_RAFDB_ROOT", "its owners"):
        assert part in sentence


def test_every_data_set_that_is_downloaded_has_layouts_and_a_variable():
    configs = {path.stem for path in (conf_dir() / "data").glob("*.yaml")}
    assert configs - {"synthetic"} == set(LAYOUTS)
    for name in LAYOUTS:
        text = (conf_dir() / "data" / f"{name}.yaml").read_text()
        assert f"root: ${{oc.env:FER_{name.upper()}_ROOT,data/{name}}}" in text
        assert f"_target_: fer_lightning.data.{name}." in text


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_place_where_nothing_lies_is_refused_with_a_list(name, tmp_path):
    for place in (tmp_path / "gone", tmp_path):
        with pytest.raises(UserError) as refused:
            require_root(name, str(place))
        lines = str(refused.value).splitlines()
        assert f"data.root={place}" in lines[0] and f"  export FER_{name.upper()}_ROOT=/path/to/{name}" in lines
        assert [f"  - {layout}" for layout in LAYOUTS[name].layouts] == lines[2 : 2 + len(LAYOUTS[name].layouts)]
    (tmp_path / "something").touch()
    require_root(name, str(tmp_path))
    require_root(name, str(tmp_path / "something"))


def test_synthetic_faces_need_no_place():
    require_root("synthetic", "/nowhere")


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
