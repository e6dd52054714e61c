from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from fer_lightning.errors import UserError
from fer_lightning.plots.robustness import (
    draw_corruptions,
    draw_robustness,
    read_robustness,
    robustness_figures,
    robustness_table,
)
from fer_lightning.results.collect import collect_runs

BLUR = {"vit": [(0.8, 0.8, 0.7, 0.6, 0.5, 0.4), (0.6, 0.6, 0.5, 0.4, 0.3, 0.2)], "resnet": [(0.5,) * 6]}


def table_of(accuracies: tuple[float, ...], names: tuple[str, ...] = ("blur", "low_resolution")) -> pd.DataFrame:
    """What a run writes; under other corruptions than blur everything is wrong."""
    rows = [("clean", 0, accuracies[0])]
    for name in names:
        rows += [(name, severity, accuracies[severity] * (name == "blur")) for severity in range(1, 6)]
    return pd.DataFrame(rows, columns=["corruption", "severity", "accuracy"])


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.concat(
        [
            table_of(own).assign(variant=variant, seed=seed)
            for variant, runs in BLUR.items()
            for seed, own in enumerate(runs)
        ],
        ignore_index=True,
    )


@pytest.fixture
def folder(tmp_path, write_record):
    """Three runs that were scored under corruptions and one that was not; 60 % of the images are happy or right."""
    for variant, runs in BLUR.items():
        for seed, own in enumerate(runs):
            write_record(tmp_path / f"{variant}{seed}", [f"model={variant}"], seed, np.arange(200) < 120)
            table_of(own).to_csv(tmp_path / f"{variant}{seed}" / "robustness.csv", index=False)
    write_record(tmp_path / "vit2", ["model=vit"], 2, np.arange(200) < 120)
    return tmp_path


def lines_of(panel) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in panel.lines if not line.get_label().startswith("_")}


def test_reads_runs_that_were_scored(folder, table):
    read = read_robustness(collect_runs(folder))
    assert list(read) == ["variant", "seed", "corruption", "severity", "accuracy"]
    assert set(zip(read["variant"], read["seed"])) == {("resnet", 0), ("vit", 0), ("vit", 1)}
    columns = ["variant", "seed", "corruption", "severity", "accuracy"]
    pd.testing.assert_frame_equal(
        read.sort_values(columns[:4], ignore_index=True), table[columns].sort_values(columns[:4], ignore_index=True)
    )


def test_refuses_what_cannot_be_compared(folder, write_record):
    table_of(BLUR["vit"][0], names=("blur",)).to_csv(folder / "vit2" / "robustness.csv", index=False)
    with pytest.raises(UserError, match="under different corruptions"):
        read_robustness(collect_runs(folder))
    runs = collect_runs(folder)
    with pytest.raises(UserError, match=r"No run was scored under corruptions.*corruptions=all"):
        read_robustness(runs.assign(folder="elsewhere"))
    table_of(BLUR["vit"][0]).to_csv(folder / "vit2" / "robustness.csv", index=False)
    write_record(folder / "other", ["model=vit"], 0, np.arange(200) < 120, dataset="rafdb")
    table_of(BLUR["vit"][0]).to_csv(folder / "other" / "robustness.csv", index=False)
    with pytest.raises(UserError):
        read_robustness(collect_runs(folder))


@pytest.mark.parametrize("show", [lambda table: draw_robustness(table, 0.5), robustness_table])
def test_a_run_without_clean_images_is_refused(show, table):
    kept = table[(table["severity"] > 0) | (table["variant"] != "vit") | (table["seed"] == 0)]
    with pytest.raises(UserError, match="of vit, seed 1, must have a row `clean` with severity 0"):
        show(kept)


def test_what_a_study_asks_for(folder):
    runs = collect_runs(folder)
    figures = robustness_figures(runs)
    assert list(figures) == ["robustness"]
    assert lines_of(figures["robustness"].axes[0])["most frequent class"] == [0.5, 0.5]


def test_lines_are_means_and_bands_reach_from_the_lowest_to_the_highest(table):
    figure = draw_robustness(table, floor=0.25)
    blur, low = figure.axes
    assert (blur.get_title(loc="left"), low.get_title(loc="left")) == ("blur", "low resolution")
    np.testing.assert_allclose(lines_of(blur)["vit"], [0.7, 0.7, 0.6, 0.5, 0.4, 0.3])
    np.testing.assert_allclose(lines_of(low)["vit"], [0.7, 0, 0, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(lines_of(blur)["resnet"], [0.5] * 6)
    assert lines_of(blur)["most frequent class"] == [0.25, 0.25]
    band = blur.collections[0].get_paths()[0].vertices
    assert band[band[:, 0] == 5][:, 1].min() == pytest.approx(0.2)
    assert band[band[:, 0] == 5][:, 1].max() == pytest.approx(0.4)


def test_the_clean_level_goes_on(table):
    panel = draw_robustness(table, floor=0.25).axes[0]
    lines = {line.get_label(): line for line in panel.lines}
    levels = [line for line in panel.lines if list(line.get_ydata()) == pytest.approx([0.7, 0.7])]
    assert [to_hex(line.get_color()) for line in levels] == [to_hex(lines["vit"].get_color())]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 6])
def test_any_number_of_corruptions_is_drawn(count):
    names = tuple(f"way_{number}" for number in range(count))
    own = table_of((0.5,) * 6, names).assign(variant="vit", seed=0)
    figure = draw_robustness(own, 0.2)
    figure.savefig("/dev/null", format="png")
    assert [panel.get_title(loc="left") for panel in figure.axes if panel.lines] == [
        name.replace("_", " ") for name in names
    ]


def test_the_table_tells_means_and_what_is_lost(table):
    """vit: (0.6 + 0.4) / 2 = 50 % under blur, of (0.8 + 0.6) / 2 = 70 %; the seeds are 60 and 40 %, sd 14.1."""
    lines = robustness_table(table).splitlines()
    assert lines[0] == "| corruption | vit | resnet |"
    assert lines[2] == "| clean | 70.0 % ± 14.1 | 50.0 % |"
    assert lines[3] == "| blur | 50.0 % ± 14.1 (-29 %) | 50.0 % (+0 %) |"
    assert lines[4] == "| low resolution | 0.0 % ± 0.0 (-100 %) | 0.0 % (-100 %) |"
    assert lines[5] == "| mean of all | 25.0 % ± 7.1 (-64 %) | 25.0 % (-50 %) |"
    assert len(lines) == 6


@pytest.mark.parametrize("channels", [1, 3])
def test_corruptions_are_shown_in_a_grid(channels):
    pictures = {name: np.full((6, 8, 8, channels), 10 * row, np.uint8) for row, name in enumerate(("blur", "eyes"))}
    figure = draw_corruptions(pictures)
    assert len(figure.axes) == 12
    assert [panel.get_title() for panel in figure.axes[:6]] == ["clean", "1", "2", "3", "4", "5"]
    assert [figure.axes[first].get_ylabel() for first in (0, 6)] == ["blur", "eyes"]
    assert figure.axes[7].images[0].get_array()[0, 0].tolist() == [10, 10, 10]
    figure.savefig("/dev/null", format="png")
