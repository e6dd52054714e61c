from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from fer_lightning.errors import UserError
from fer_lightning.plots.style import save_figures
from fer_lightning.search.figures import (
    draw_fitness,
    draw_importances,
    draw_parallel_coordinates,
    draw_search,
    draw_slices,
)

SPACE = {
    "optimizer.lr": FloatDistribution(1e-5, 1e-2, log=True),
    "data.batch_size": IntDistribution(8, 64),
    "optimizer": CategoricalDistribution(["adam", "sgd"]),
}


def make_study(values, direction="minimize", space=SPACE) -> optuna.Study:
    """A study with these values; None fails a trial, a tuple prunes it after reporting its value."""
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(seed=0))
    for value in values:
        trial = study.ask(space)
        if value is None:
            study.tell(trial, state=TrialState.FAIL)
        elif isinstance(value, tuple):
            trial.report(value[0], step=0)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)
    return study


def dots(figure: Figure) -> dict[str, list[list[float]]]:
    """Positions of what a fitness curve shows as dots, by label."""
    return {str(shown.get_label()): np.asarray(shown.get_offsets()).tolist() for shown in figure.axes[0].collections}


def line(figure: Figure, label: str) -> list[list[float]]:
    (found,) = [line for line in figure.axes[0].lines if str(line.get_label()).startswith(label)]
    return np.asarray(found.get_xydata()).tolist()


def names(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


class TestFitness:
    def test_each_trial_is_a_dot_of_its_state_and_the_line_is_the_best_so_far(self):
        figure = draw_fitness(make_study([1.5, None, 1.2, (1.4,), 1.3, 1.1]), "val/loss")
        shown = dots(figure)
        assert shown["complete"] == [[0, 1.5], [2, 1.2], [4, 1.3], [5, 1.1]]
        assert shown["pruned"] == [[3, 1.4]]
        assert [x for x, _ in shown["failed"]] == [1]
        assert line(figure, "best so far") == [[0, 1.5], [2, 1.2], [4, 1.2], [5, 1.1]]
        assert line(figure, "best: trial 5, 1.1") == [[5, 1.1]]
        assert figure.axes[0].get_ylabel() == "val/loss (lower is better)"

    def test_maximised(self):
        figure = draw_fitness(make_study([0.5, 0.6, 0.4], "maximize"), "val/accuracy")
        assert line(figure, "best so far") == [[0, 0.5], [1, 0.6], [2, 0.6]]
        assert line(figure, "best: trial 1, 0.6") == [[1, 0.6]]
        assert figure.axes[0].get_ylabel() == "val/accuracy (higher is better)"

    @pytest.mark.parametrize("direction, far", [("minimize", 1e6), ("maximize", -1e6)])
    def test_a_diverged_trial_does_not_flatten_the_others(self, direction, far):
        figure = draw_fitness(make_study([1 + number / 100 for number in range(30)] + [far], direction), "score")
        assert [x for x, _ in dots(figure)["off the scale"]] == [30]
        low, high = figure.axes[0].get_ylim()
        assert 0.9 < low < 1 and 1.29 < high < 1.4

    def test_a_trial_without_a_finite_value_counts_as_failed(self):
        figure = draw_fitness(make_study([1.0, math.inf, 0.5]), "val/loss")
        assert [x for x, _ in dots(figure)["failed"]] == [1]
        assert [x for x, _ in dots(figure)["complete"]] == [0, 2]

    def test_generations_of_mboa_are_shaded_by_phase(self):
        study = make_study(np.linspace(2, 1, 10))
        study.set_user_attr("mboa", {"variant": "paper", "population": 3, "seed": 0})
        figure = draw_fitness(study, "val/loss")
        bands = list(figure.axes[0].patches)
        assert [(band.get_x(), band.get_width()) for band in bands] == [(-0.5, 3), (2.5, 3), (5.5, 3), (8.5, 3)]
        first, exploring, chasing, again = [band.get_facecolor() for band in bands]
        assert len({first, exploring, chasing}) == 3 and again == exploring
        assert names(figure)[-3:] == ["first generation", "exploring", "chasing"]

    def test_other_samplers_have_no_generations(self):
        figure = draw_fitness(make_study([2, 1]), "val/loss")
        assert not figure.axes[0].patches
        assert names(figure) == ["complete", "best so far", "best: trial 1, 1"]


class TestImportances:
    def test_shows_what_optuna_computes(self):
        study = make_study([None] * 1)
        for value in np.random.default_rng(0).random(30):
            trial = study.ask(SPACE)
            study.tell(trial, abs(np.log10(trial.params["optimizer.lr"]) + 3) + 0.01 * value)
        (panel,) = draw_importances(study, "val/loss").axes
        shown = dict(zip((text.get_text() for text in panel.get_yticklabels()), (b.get_width() for b in panel.patches)))
        assert shown == pytest.approx(optuna.importance.get_param_importances(study))
        assert max(shown, key=lambda name: shown[name]) == "optimizer.lr"
        assert "30 complete trials" in panel.get_xlabel()

    @pytest.mark.parametrize(
        "values, space, reason",
        [
            ([], SPACE, "fewer than two trials are complete"),
            ([1.0, None, (1.0,)], SPACE, "fewer than two trials are complete"),
            ([1.0, math.inf], SPACE, "fewer than two trials are complete"),
            ([1.0, 1.0, 1.0], SPACE, "all 3 complete trials have the same value"),
            ([1.0, 2.0], {"x": FloatDistribution(0, 1)}, "the search has only one parameter"),
            ([1.0, 2.0], {}, "the trials have no parameters"),
        ],
    )
    def test_says_why_there_are_none(self, values, space, reason):
        with pytest.raises(UserError, match=reason):
            draw_importances(make_study(values, space=space), "val/loss")


class TestSlices:
    def test_a_panel_a_parameter_on_its_own_scale(self):
        study = make_study([1.0, 2.0, 3.0])
        panels = draw_slices(study, "val/loss").axes
        assert [panel.get_xlabel() for panel in panels] == list(SPACE)
        assert [panel.get_xscale() for panel in panels] == ["log", "linear", "linear"]
        assert [text.get_text() for text in panels[2].get_xticklabels()] == ["adam", "sgd"]
        shown = np.asarray(panels[0].collections[0].get_offsets())
        assert shown.tolist() == [[trial.params["optimizer.lr"], trial.value] for trial in study.trials]
        low, high = panels[0].get_xlim()
        assert 1e-6 < low < 1e-5 and 1e-2 < high < 1e-1

    def test_the_best_trial_stands_out(self):
        study = make_study([2.0, 1.0, 3.0])
        (marked,) = draw_slices(study, "val/loss").axes[1].lines
        assert np.asarray(marked.get_xydata()).tolist() == [[study.best_params["data.batch_size"], 1.0]]

    def test_far_worse_trials_are_left_out_and_counted(self):
        figure = draw_slices(make_study([1 + number / 100 for number in range(30)] + [1e6]), "val/loss")
        assert len(figure.axes[0].collections[0].get_offsets()) == 30
        assert "1 far worse left out" in figure.texts[-1].get_text() + figure._supxlabel.get_text()

    def test_a_parameter_that_only_some_trials_have(self):
        study = make_study([1.0, 2.0])
        study.tell(study.ask({**SPACE, "model.depth": IntDistribution(1, 4)}), 3.0)
        assert len(draw_slices(study, "val/loss").axes[3].collections[0].get_offsets()) == 1


class TestParallelCoordinates:
    def test_a_line_a_trial_through_an_axis_a_parameter(self):
        figure = draw_parallel_coordinates(make_study([1.0, 2.0, None, 3.0]), "val/loss")
        (lines,) = figure.axes[0].collections
        assert len(lines.get_segments()) == 3
        labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
        assert labels == ["val/loss", "data.\nbatch_size", "optimizer", "optimizer.\nlr"]
        assert [axis.get_yscale() for axis in figure.axes[2:]] == ["linear", "linear", "log"]

    def test_pyplot_holds_no_figure_afterwards(self):
        before = pyplot.get_fignums()
        draw_parallel_coordinates(make_study([1.0, 2.0]), "val/loss")
        assert pyplot.get_fignums() == before

    @pytest.mark.parametrize("direction, best", [("minimize", 1.0), ("maximize", 3.0)])
    def test_good_trials_are_orange(self, direction, best):
        figure = draw_parallel_coordinates(make_study([1.0, 2.0, 3.0], direction), "score")
        (lines,) = figure.axes[0].collections
        red, _, blue, _ = lines.to_rgba(best)
        assert red > 2 * blue


def test_everything_is_drawn_and_can_be_written(tmp_path):
    figures, missing = draw_search(make_study([1.0, 0.5, (2.0,), None, 0.7]), "val/loss")
    assert sorted(figures) == ["fitness", "importances", "parallel_coordinates", "slices"]
    assert missing == []
    assert all(path.stat().st_size > 10_000 for path in save_figures(tmp_path, figures))


@pytest.mark.parametrize("values", [[], [None, None], [None, (1.0,)], [1.0], [1.0, 1.0], [math.inf, math.inf]])
def test_what_cannot_be_drawn_is_told(values, tmp_path):
    figures, missing = draw_search(make_study(values), "val/loss")
    save_figures(tmp_path, figures)
    assert len(figures) + len(missing) == 4
    assert all(line.startswith("No figure of the ") and line.endswith(".") for line in missing)
