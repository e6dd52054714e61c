from __future__ import annotations

import io
import math
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from fer_lightning.plots import result_table
from fer_lightning.plots.result_table import RunBoard, post_event, print_result


@pytest.fixture
def metrics() -> dict:
    scores = {
        "n": 1200,
        "accuracy": 0.7166,
        "accuracy_low": 0.6904,
        "accuracy_high": 0.7414,
        "balanced_accuracy": 0.651,
        "macro_f1": 0.6623,
        "auroc": 0.9234,
        "ece": 0.0456,
        "per_class": {
            "angry": {"precision": 0.5, "recall": 0.625, "f1": 0.5556, "support": 1000},
            "contempt": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
        },
    }
    return {
        "protocol": {"dataset": "fer2013"},
        "model": "PsySFANet",
        "seed": 3,
        "splits": {"val": {**scores, "accuracy": 0.7321}, "test": scores},
    }


def printed(metrics: dict, pictures: list[Path], width: int = 80, folder: Path = Path("outputs/run")) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_result(console, metrics, folder, pictures)
    return console.file.getvalue()


def row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith("│ " + name))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_the_rows_hold_the_scores(metrics):
    text = printed(metrics, [])
    assert "psysfa_net on fer2013, seed 3" in text
    assert row(text, "test") == ["test", "1,200", "71.7% [69.0, 74.1]", "65.1%", "66.2%", "0.923", "0.046"]
    assert row(text, "val")[2] == "73.2% [69.0, 74.1]"
    assert row(text, "angry") == ["angry", "1,000", "50.0%", "62.5%", "55.6%"]


def test_groups_of_people(metrics):
    score = {"accuracy": 0.8, "accuracy_low": 0.75, "accuracy_high": 0.85}
    score |= {name.replace("accuracy", "macro_f1"): value for name, value in score.items()}
    gap = {"best": "[red]", "worst": "blue", "difference": 0.031, "low": -0.02, "high": 0.08}
    scores = {
        "groups": {"[red]": {"n": 1000, **score}, "blue": {"n": 500, **score}, "rare": {"n": 7, **score}},
        "too_few": ["rare"],
        "unknown": 12,
        "gap": {"accuracy": gap, "macro_f1": gap},
    }
    text = printed({**metrics, "fairness": {"team": scores}}, [], width=140)
    assert row(text, "[red]") == ["[red]", "1,000", "80.0% [75.0, 85.0]", "80.0% [75.0, 85.0]"]
    words = " ".join(text.split())
    assert "By team, test" in words and "accuracy: [red] minus blue = +3.1 points [-2.0, +8.0]; macro F1:" in words
    assert "not compared, with fewer than 30 images: rare; 12 images without this attribute" in words
    alone = {**scores, "gap": {}, "too_few": ["rare", "blue"]}
    assert "no difference: fewer than two groups have 30 images" in printed(
        {**metrics, "fairness": {"team": alone}}, []
    )


def test_the_title_is_the_name_of_the_variant(metrics):
    text = printed({**metrics, "variant": {"model": "psysfa_net", "ablation": "psysfa_no_fusion"}}, [])
    assert "psysfa_no_fusion on fer2013, seed 3" in text


@pytest.mark.parametrize(("width", "shown"), [(140, 7), (80, 7), (60, 4)])
def test_nothing_is_cut_and_what_matters_least_is_omitted(metrics, width, shown):
    splits = {**metrics["splits"], "test_clean": {**metrics["splits"]["test"], "n": 3580}}
    other = {**splits["test"], "seen": 12}
    text = printed({**metrics, "splits": splits, "elsewhere": {"ferplus_majority": other}}, [], width)
    cells = row(text, "test_clean")
    assert len(cells) == shown and "71.7% [69.0, 74.1]" in cells and "…" not in text
    assert row(text, "ferplus_majority")[-1] == "12"
    assert max(map(len, text.splitlines()[: text.splitlines().index("Run record: outputs/run") - 1])) <= width


def test_a_run_that_w_and_b_has_offline_says_what_uploads_it(metrics, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = Path("outputs/my run/wandb/offline-run-1-abc")
    log.mkdir(parents=True)
    hint = "W&B (offline): outputs/my run/wandb; to upload: fer dashboard 'outputs/my run' --sync\n"
    assert printed(metrics, [], folder=log.parents[1]).endswith(hint)
    (log / "run-abc.wandb.synced").touch()
    assert "W&B" not in printed(metrics, [], folder=log.parents[1])


def play(monkeypatch, terminal: bool) -> tuple[str, RunBoard]:
    """What a board prints of three runs, two at once, of which one fails."""
    console = Console(file=io.StringIO(), width=60, force_terminal=terminal, color_system=None)
    monkeypatch.setattr(result_table, "Console", lambda: console)
    board = RunBoard(["resnet seed=0", "resnet seed=1", "vit"], at_once=2)
    for event in (
        (0, "running"),
        (1, "running"),
        (0, "message", "WARNING seven faces are missing"),
        (1, "message", "WARNING seven faces are missing"),
        (0, "done", "test 50.0 % in 10 h 1 min", 36000.0),
    ):
        post_event(board.events, *event)
    wait_for(lambda: "[1 of 3]" in console.file.getvalue())
    post_event(board.events, 2, "running")
    wait_for(lambda: not terminal or "  vit" in console.file.getvalue())
    post_event(board.events, 2, "failed", "failed: no faces")
    post_event(board.events, 1, "done", "test 60.0 % in 91 s", 61.0)
    board.stop()
    return console.file.getvalue(), board


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_runs_beside_each_other_have_a_line_each_on_no_terminal(monkeypatch):
    text, board = play(monkeypatch, terminal=False)
    assert text.splitlines() == [
        "WARNING seven faces are missing",
        "[1 of 3] resnet seed=0: test 50.0 % in 10 h 1 min; about 10 h 0 min left",
        "[3 of 3] vit: failed: no faces; about 10 h 0 min left",
        "[2 of 3] resnet seed=1: test 60.0 % in 91 s",
    ]
    assert board.outcomes == {2: "failed: no faces"} and not board.events.exists()


def test_runs_beside_each_other_have_a_live_table_that_leaves_the_lines_alone(monkeypatch):
    text, _ = play(monkeypatch, terminal=True)
    assert "1 of 3 runs have ended; about 10 h 0 min left" in text and "  vit" in text
    left = screen(text)
    assert left == screen(play(monkeypatch, terminal=False)[0]) and len(left) == 4


def screen(text: str) -> list[str]:
    """Lines on a terminal after a text with the controls that Rich uses for live tables."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[\??[\d;]*[A-Za-z]|\n|\r|[^\x1b\n\r]+", text):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part.endswith("A") and part.startswith("\x1b"):
            row -= int(part[2:-1])
        elif part.startswith("\x1b") and part.endswith("K"):
            lines[row] = ""
        elif not part.startswith("\x1b") and part != "\r":
            lines[row] += part
    return [line.rstrip() for line in lines if line.strip()]


def test_corruptions_have_a_table(metrics):
    shares = {"blur": 0.5, "low_light": None}
    robustness = {"clean": 0.8, "accuracy": {"blur": 0.4, "low_light": 0.1}, "relative": shares}
    text = printed({**metrics, "robustness": robustness}, [])
    assert row(text, "clean") == ["clean", "80.0%", ""]
    assert row(text, "blur") == ["blur", "40.0%", "50%"]
    assert row(text, "low light") == ["low light", "10.0%", "-"]


def test_scores_that_do_not_exist_are_dashes(metrics):
    metrics["splits"]["test"]["auroc"] = math.nan
    text = printed(metrics, [])
    assert row(text, "test")[5] == "-"
    assert row(text, "contempt") == ["contempt", "0", "0.0%", "-", "-"]


def test_long_paths_can_be_copied(metrics):
    picture = Path("outputs") / ("x" * 120) / "curves.png"
    text = printed(metrics, [picture, picture.with_name("roc_test.png")])
    assert "Run record: outputs/run\n" in text
    assert f"Pictures:   {picture}\n" in text
    assert f"            {picture.with_name('roc_test.png')}\n" in text


def test_paths_below_the_working_folder_are_short(metrics, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = printed(metrics, [tmp_path / "a" / "curves.png", tmp_path.parent / "roc_test.png"])
    assert "Pictures:   a/curves.png\n" in text
    assert f"            {tmp_path.parent / 'roc_test.png'}\n" in text


def test_a_record_of_one_split_has_one_row_and_its_classes(metrics):
    del metrics["splits"]["test"], metrics["seed"]
    text = printed(metrics, [])
    assert text.splitlines()[1].strip() == "psysfa_net on fer2013"
    assert "Classes, val" in text


def test_calibration_and_other_data_are_told_where_there_are_any(metrics):
    assert "Calibration" not in printed(metrics, []) and "other data" not in printed(metrics, [])
    metrics["calibration"] = {"temperature": 1.306, "fitted_on": "val", "test": {"ece": 0.0471, "ece_scaled": 0.0118}}
    there = {"n": 2938, "accuracy": 0.6661, "accuracy_low": 0.6488, "accuracy_high": 0.6829}
    there |= {"balanced_accuracy": 0.661, "macro_f1": 0.566, "seen": 248}
    metrics["elsewhere"] = {"ferplus": there, "rafdb": {"missing": "No RAF-DB was found."}}
    text = printed(metrics, [])
    assert "Calibration error on test: 0.047 -> 0.012 with temperature 1.31, fitted on validation" in text
    assert row(text, "ferplus") == ["ferplus", "2,938", "66.6% [64.9, 68.3]", "66.1%", "56.6%", "248"]
    assert row(text, "rafdb") == ["rafdb", *["-"] * 5]


def test_a_trial_tells_no_calibration_of_a_test_split(metrics):
    del metrics["splits"]["test"]
    metrics["calibration"] = {"temperature": 1.3, "fitted_on": "val"}
    assert "Calibration" not in printed(metrics, [])
