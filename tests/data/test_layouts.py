from __future__ import annotations

import pytest

from fer_lightning.cli import conf_dir
from fer_lightning.data.layouts import LAYOUTS, not_found, require_root
from fer_lightning.errors import UserError


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


def test_drawn_faces_need_no_place():
    require_root("synthetic", "/nowhere")
