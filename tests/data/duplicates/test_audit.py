from __future__ import annotations

import numpy as np
import pandas as pd

from fer_lightning.data.duplicates.audit import audit, count_by_splits, crossing_groups
from fer_lightning.data.folder import Folder


def test_pairs_are_counted_by_splits():
    rows = [
        ("exact", "train", "train", "sad", "sad"),
        ("exact", "test", "train", "sad", "fear"),
        ("near", "train", "test", "sad", "sad"),
        ("mirrored", "test", "val", "sad", "happy"),
    ]
    columns = ["kind", "first_split", "second_split", "first_label", "second_label"]
    table = count_by_splits(pd.DataFrame(rows, columns=columns).assign(count=1))
    found = table.set_index("splits").T.to_dict("list")
    assert list(found) == ["train", "train - val", "train - test", "val", "val - test", "test"]
    assert found["train"] == [1, 0, 0, 0]
    assert found["train - test"] == [1, 1, 0, 1]
    assert found["val - test"] == [0, 0, 1, 1]
    assert found["val"] == [0, 0, 0, 0]


def test_groups_that_lie_in_several_splits():
    frame = pd.DataFrame(
        {"group": ["a", "a", "b", "c", "c", "c"], "split": ["train", "test", "train", "train", "test", "test"]}
    )
    found = crossing_groups(frame)
    assert found.values.tolist() == [["a", 1, 0, 1], ["c", 1, 0, 2]]
    assert list(found) == ["group", "train", "val", "test"]
    assert crossing_groups(frame[frame["group"] == "b"]).empty


def test_a_planted_set(planted, make_data):
    data = make_data(Folder, planted, image_size=48, on_bad_sample="skip")
    data.setup()
    found = audit(data)
    rows = found.pairs[["kind", "first_id", "second_id"]].values.tolist()
    named = sorted((kind, *sorted((first, second))) for kind, first, second in rows)
    assert named == [
        ("exact", "test/happy/copy.png", "train/sad/0.png"),
        ("exact", "train/happy/1.png", "train/happy/again.png"),
        ("mirrored", "train/happy/3.png", "val/happy/mirrored.png"),
        ("near", "test/sad/darker.png", "train/sad/2.png"),
    ]
    assert found.pairs.select_dtypes("object").columns.empty  # of millions of pairs, words would need gigabytes
    conflict = found.pairs[found.pairs["first_label"] != found.pairs["second_label"]]
    assert conflict["kind"].tolist() == ["exact"]
    assert found.exposed.to_dict("records") == [
        {"split": "val", "images": 7, "exact": 0, "any": 1},
        {"split": "test", "images": 9, "exact": 2, "any": 3},  # the blank one has a copy too
    ]
    assert sorted(found.blank) == ["test/happy/blank.png", "train/sad/blank.png"]
    assert len(found.bad) == 1 and "broken.png" in found.bad[0]
    assert not found.official and found.groups is None and found.crossing.empty


def test_what_was_dropped_is_not_found_again(planted, make_data):
    data = make_data(Folder, planted, image_size=48, on_bad_sample="skip", drop_leaked="near")
    data.setup()
    found = audit(data)
    assert found.exposed[["exact", "any"]].to_numpy().sum() == 0
    assert found.pairs["kind"].tolist() == ["exact"]
    assert np.isin(found.pairs[["first_split", "second_split"]], "train").all()
