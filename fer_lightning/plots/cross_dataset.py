"""Cross-dataset evaluation: accuracy of networks by the data set of training and of testing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fer_lightning.errors import UserError
from fer_lightning.plots.style import ACCENT, FAINT, INK, MUTED, SHADES, house_style
from fer_lightning.plots.text import NOTHING, markdown_text, percent, table_markdown
from fer_lightning.results.collect import require_one_protocol
from fer_lightning.results.intervals import mean_over_seeds

_SCORES = ("n", "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1")
_MOST_DIFFERENT = 0.01  # share of equal images above which two data sets are reported to share them
_NOTES = (
    "Accuracy over the classes that network and data share; only these are predicted.",
    "Intervals over several seeds are Student's, those of a single seed are Wilson's over the test images.",
    "On its own data (bold), a network is tested on the whole test split, with copies of training images; `test_clean` "
    "of each run omits them. On other data, test images with an exact copy in training or validation are left out "
    "(*seen*).",
)


def cross_dataset_matrix(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy over seeds of one network, by training and test data.

    Args:
        runs: Result of `collect_runs`, of one variant.

    Returns:
        Accuracies in 0..1 with one row per training data set and one column per test data set; NaN without a run.

    Raises:
        UserError: The runs have several variants, or the scores of a cell or a column are not comparable.
    """
    variants = list(runs["variant"].unique())
    if len(variants) > 1:
        raise UserError(f"The runs of a cross-dataset matrix must have one variant; got {', '.join(variants)}.")
    return _matrix(_scores(runs))


def _matrix(scores: pd.DataFrame) -> pd.DataFrame:
    _require_same_tests(scores)
    names = sorted({*scores["trained"], *scores["tested"]})
    matrix = scores.pivot_table(index="trained", columns="tested", values="accuracy", aggfunc="mean")
    return matrix.reindex(index=names, columns=names)


@house_style
def draw_cross_dataset(matrix: pd.DataFrame, title: str = "Accuracy across data sets, in percent") -> Figure:
    """Draws the matrix with its numbers; missing cells are hatched, those of equal training and test data framed.

    Args:
        matrix: Result of `cross_dataset_matrix`.
        title: Title of the figure.
    """
    count = len(matrix)
    figure = Figure(figsize=(3.2 + 1.05 * count, 2.2 + 0.85 * count), layout="constrained")
    panel = figure.subplots()
    panel.imshow(np.ma.masked_invalid(matrix.to_numpy()), cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*matrix.shape):
        accuracy = float(matrix.iloc[row, column])
        if np.isnan(accuracy):
            frame = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="#f6f7f8", edgecolor=FAINT, hatch="////", lw=0)
            panel.add_patch(frame)
            panel.text(column, row, "not run", ha="center", va="center", color=MUTED, fontsize=8.5)
        else:
            colour = "white" if accuracy > 0.6 else INK
            panel.text(column, row, f"{100 * accuracy:.1f}", ha="center", va="center", color=colour, weight="bold")
    for place in range(count):
        frame = Rectangle((place - 0.47, place - 0.46), 0.94, 0.92, fill=False, edgecolor=ACCENT, lw=1.6, zorder=3)
        panel.add_patch(frame)
    panel.set_xticks(range(count), labels=matrix.columns)
    panel.set_yticks(range(count), labels=matrix.index)
    panel.grid(visible=False)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    panel.set(xlabel="tested on (framed: same data set)", ylabel="trained on")
    panel.set_title(title)
    return figure


def cross_dataset_figures(runs: pd.DataFrame) -> dict[str, Figure]:
    """One figure per variant of runs (`collect_runs`), by file name without suffix.

    The names are `cross_dataset`, or `cross_dataset_1`, ... of several variants.
    """
    parts = dict(list(runs.groupby("variant", sort=False)))
    if len(parts) == 1:
        return {"cross_dataset": draw_cross_dataset(cross_dataset_matrix(runs))}
    return {
        f"cross_dataset_{place}": draw_cross_dataset(cross_dataset_matrix(part), f"{variant}: accuracy in percent")
        for place, (variant, part) in enumerate(parts.items(), start=1)
    }


def cross_dataset_markdown(runs: pd.DataFrame) -> str:
    """Matrix of each variant of runs (`collect_runs`) as Markdown, with the details of each cell."""
    parts = dict(list(runs.groupby("variant", sort=False)))
    blocks = []
    for variant, part in parts.items():
        if len(parts) > 1:
            blocks.append(f"**{markdown_text(variant)}**")
        scores = _scores(part)
        matrix = _matrix(scores)
        blocks += [_matrix_table(matrix), _score_table(scores)]
        if lacking := [name for name in matrix.columns if matrix[name].isna().all()]:
            names = markdown_text(", ".join(lacking))
            blocks.append(f"Missing or not comparable (`metrics.json` of each run has the reason): {names}.")
        blocks += _shared_images(scores)
    return "\n\n".join([*blocks, *_NOTES]) + "\n"


def _scores(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run and test data set; scores are NaN where the data set was missing."""
    rows = []
    for run in runs[runs["split"] == "test"].itertuples():
        metrics: Any = run.record
        rows.append(_row(run, run.dataset, {"protocol": metrics["protocol"], **metrics["splits"]["test"]}))
        for name, scores in metrics.get("elsewhere", {}).items():
            rows.append(_row(run, name, scores))
    return pd.DataFrame(rows)


def _row(run: Any, tested: str, scores: dict[str, Any]) -> dict[str, Any]:
    return {
        "folder": run.folder,
        "trained": run.dataset,
        "seed": run.seed,
        "tested": tested,
        "protocol": json.dumps(scores["protocol"], sort_keys=True) if "protocol" in scores else None,
        **{name: scores.get(name, np.nan) for name in _SCORES},
        "left_out": scores.get("left_out", {}),
        "never_right": scores.get("never_right", []),
        "seen": scores.get("seen"),
        "same_pictures": scores.get("same_pictures"),
    }


def _require_same_tests(scores: pd.DataFrame) -> None:
    scored = scores[scores["protocol"].notna()]
    for _, cell in scored.groupby(["trained", "tested"]):
        require_one_protocol(cell)
    for name, column in scored.groupby("tested"):
        fingerprints = {json.loads(protocol)["fingerprint"] for protocol in column["protocol"]}
        if len(fingerprints) > 1:
            raise UserError(
                f"All networks must be tested on the same split and copy of {name}; got the fingerprints "
                f"{', '.join(sorted(fingerprints))}: use the same options for data and elsewhere.{name}."
            )


def _matrix_table(matrix: pd.DataFrame) -> str:
    shown = matrix.map(lambda accuracy: "not run" if np.isnan(accuracy) else percent(accuracy))
    for name in shown:
        shown.loc[name, name] = f"**{shown.loc[name, name]}**"
    return table_markdown(shown.rename_axis(index="trained on \\ tested on").reset_index())


def _score_table(scores: pd.DataFrame) -> str:
    rows = []
    for (trained, tested), cell in scores[scores["protocol"].notna()].groupby(["trained", "tested"]):
        first = cell.iloc[0]
        left_out = ", ".join(f"{count:,} {name}" for name, count in first["left_out"].items())
        seen = "unknown" if pd.isna(first["seen"]) else f"{first['seen']:,.0f}"
        rows.append(
            {
                "trained on": trained,
                "tested on": tested,
                "images": f"{first['n']:,.0f}",
                "accuracy [95 %]": _accuracy(cell),
                "balanced accuracy": percent(cell["balanced_accuracy"].mean()),
                "macro F1": percent(cell["macro_f1"].mean()),
                "seeds": str(len(cell)),
                "left out: class unknown": left_out or NOTHING,
                "left out: seen": NOTHING if trained == tested else seen,
                "classes it lacks": ", ".join(first["never_right"]) or NOTHING,
            }
        )
    return table_markdown(pd.DataFrame(rows), words=("tested on", "left out: class unknown", "classes it lacks"))


def _accuracy(cell: pd.DataFrame) -> str:
    over = mean_over_seeds(cell["accuracy"].tolist())
    if over.n > 1:
        return f"{percent(over.mean)} ± {100 * over.sd:.1f} [{100 * over.low:.1f}, {100 * over.high:.1f}]"
    only = cell.iloc[0]
    return f"{percent(over.mean)} [{100 * only['accuracy_low']:.1f}, {100 * only['accuracy_high']:.1f}]"


def _shared_images(scores: pd.DataFrame) -> list[str]:
    shared = scores[scores["same_pictures"].astype(float) > _MOST_DIFFERENT]
    cells = shared.drop_duplicates(["trained", "tested"])
    shares = [f"{cell.same_pictures:.0%} of {cell.tested} is in {cell.trained}" for cell in cells.itertuples()]
    return [f"Not independent, pixel for pixel: {markdown_text(', '.join(shares))}."] if shares else []
