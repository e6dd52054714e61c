from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from fer_lightning.errors import UserError
from fer_lightning.plots.cross_dataset import (
    cross_dataset_figures,
    cross_dataset_markdown,
    cross_dataset_matrix,
    draw_cross_dataset,
)
from fer_lightning.results.collect import collect_runs

RIGHT = np.arange(200)


def there(dataset: str, accuracy: float, **changes: object) -> dict:
    protocol = {"dataset": dataset, "release": "csv", "classes": ["happy", "sad"], "label_rule": "single label"}
    protocol |= {"split": "official", "selection": "carved", "test": "PublicTest", "fingerprint": dataset}
    protocol |= {"counts": {"train": 50, "val": 20, "test": 200}}
    scores = {"protocol": protocol, "n": 180, "accuracy": accuracy, "balanced_accuracy": accuracy - 0.1}
    scores |= {"accuracy_low": accuracy - 0.05, "accuracy_high": accuracy + 0.05, "macro_f1": 0.4}
    scores |= {"left_out": {"contempt": 13}, "never_right": [], "seen": 7, "same_pictures": 0.0}
    return {**scores, **changes}


@pytest.fixture
def add(tmp_path, write_record):
    """`add(trained, seed, right, elsewhere, *overrides)`: a run and what it scored elsewhere."""

    def write(trained: str, seed: int, right: int, elsewhere: dict, *overrides: str) -> None:
        folder = tmp_path / f"{trained}_{seed}_{'_'.join(overrides)}"
        write_record(folder, [f"data={trained}", *overrides], seed, RIGHT < right, dataset=trained)
        path = folder / "metrics.json"
        metrics = json.loads(path.read_text())
        metrics["splits"]["test"] |= {"balanced_accuracy": right / 200, "macro_f1": 0.5}
        path.write_text(json.dumps({**metrics, "elsewhere": elsewhere}))

    return write


@pytest.fixture
def runs(add, tmp_path):
    missing = {"rafdb": {"missing": "No RAF-DB was found."}}
    add("fer2013", 0, 140, {"ferplus": there("ferplus", 0.6, same_pictures=1.0), **missing})
    add("fer2013", 1, 150, {"ferplus": there("ferplus", 0.5, same_pictures=1.0), **missing})
    add("ferplus", 0, 160, {"fer2013": there("fer2013", 0.4)})
    return collect_runs(tmp_path)


def test_the_matrix_holds_means_over_seeds(runs):
    matrix = cross_dataset_matrix(runs)
    names = ["fer2013", "ferplus", "rafdb"]
    expected = [[0.725, 0.55, np.nan], [0.4, 0.8, np.nan], [np.nan] * 3]
    pd.testing.assert_frame_equal(
        matrix, pd.DataFrame(expected, index=names, columns=names), check_names=False, check_exact=False
    )


def test_the_figure_tells_each_number_and_hatches_what_was_not_run(runs):
    panel = draw_cross_dataset(cross_dataset_matrix(runs)).axes[0]
    assert [text.get_text() for text in panel.texts] == ["72.5", "55.0", "not run", "40.0", "80.0", *["not run"] * 4]
    hatched = [patch.get_xy() for patch in panel.patches if patch.get_hatch()]
    assert hatched == [(1.5, -0.5), (1.5, 0.5), (-0.5, 1.5), (0.5, 1.5), (1.5, 1.5)]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["fer2013", "ferplus", "rafdb"]


def test_the_text_tells_what_stands_behind_each_number(runs):
    text = cross_dataset_markdown(runs)
    assert "| fer2013 | **72.5 %** | 55.0 % | not run |" in text
    # Two seeds: 0.6 and 0.5, sd 0.0707, Student's t with one degree of freedom 12.706.
    assert (
        "| fer2013 | ferplus | 180 | 55.0 % ± 7.1 [-8.5, 118.5] | 45.0 % | 40.0 % | 2 | 13 contempt | 7 | - |" in text
    )
    assert "| ferplus | fer2013 | 180 | 40.0 % [35.0, 45.0] | 30.0 % | 40.0 % | 1 | 13 contempt | 7 | - |" in text
    assert "| ferplus | ferplus | 200 | 80.0 % [70.0, 90.0] | 80.0 % | 50.0 % | 1 | - | - | - |" in text
    assert "Missing or not comparable (`metrics.json` of each run has the reason): rafdb." in text
    assert "Not independent, pixel for pixel: 100% of ferplus is in fer2013." in text


def test_unknown_copies_are_told(add, tmp_path):
    add("fer2013", 0, 140, {"ferplus": there("ferplus", 0.6, seen=None, same_pictures=None)})
    text = cross_dataset_markdown(collect_runs(tmp_path))
    assert "| 13 contempt | unknown | - |" in text and "Not independent" not in text


def test_several_nets_have_a_matrix_each(add, tmp_path):
    for name in ("resnet", "vit"):
        add("fer2013", 0, 140, {"ferplus": there("ferplus", 0.6)}, f"model={name}")
    runs = collect_runs(tmp_path)
    figures = cross_dataset_figures(runs)
    assert {name: figure.axes[0].get_title(loc="left") for name, figure in figures.items()} == {
        "cross_dataset_1": "resnet: accuracy in percent",
        "cross_dataset_2": "vit: accuracy in percent",
    }
    text = cross_dataset_markdown(runs)
    assert text.index("**resnet**") < text.index("**vit**") and text.count("**70.0 %**") == 2
    with pytest.raises(UserError, match="must have one variant; got resnet, vit"):
        cross_dataset_matrix(runs)


def test_runs_without_other_data_show_their_own(add, tmp_path):
    add("fer2013", 0, 140, {})
    assert cross_dataset_matrix(collect_runs(tmp_path)).to_dict() == {"fer2013": {"fer2013": 0.7}}
    assert list(cross_dataset_figures(collect_runs(tmp_path))) == ["cross_dataset"]


def test_refuses_other_tests_under_one_name(add, tmp_path):
    add("fer2013", 0, 140, {"ferplus": there("ferplus", 0.6)})
    other = there("ferplus", 0.6)
    other["protocol"]["fingerprint"] = "another"
    add("rafdb", 0, 140, {"ferplus": other})
    with pytest.raises(UserError, match=r"same split and copy of ferplus; got the fingerprints another, ferplus"):
        cross_dataset_matrix(collect_runs(tmp_path))


def test_refuses_seeds_under_different_protocols(add, tmp_path):
    add("fer2013", 0, 140, {"ferplus": there("ferplus", 0.6)})
    other = there("ferplus", 0.6)
    other["protocol"]["classes"] = ["happy"]
    add("fer2013", 1, 140, {"ferplus": other})
    with pytest.raises(UserError, match=r"fer2013_0_ and .*fer2013_1_ follow different protocols"):
        cross_dataset_matrix(collect_runs(tmp_path))
