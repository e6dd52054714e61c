"""What W&B shows of a finished run beyond its curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import wandb
from wandb.plot import CustomChart, plot_table
from wandb.sdk.wandb_run import Run

from fer_lightning.evaluation.confusion import confusion_counts
from fer_lightning.results.curves import ClassCurve, precision_recall_curves, roc_curves
from fer_lightning.evaluation.predictions import predicted_arrays

_RECORD_FILES = ("config.yaml", "metrics.json", "predictions.parquet", "history.csv", "robustness.csv")
_POINTS_OF_A_CURVE = 200


def log_run(
    run: Run,
    folder: Path,
    metrics: Mapping[str, Any],
    predictions: pd.DataFrame,
    classes: Sequence[str],
    split: str,
    misclassified: Sequence[tuple[np.ndarray, str]],
    with_checkpoint: bool,
) -> None:
    """Logs scores, charts, tables and figures of a finished run, and its record as an artifact.

    Args:
        run: The W&B run of the training.
        folder: The run folder, with the record and `figures/*.png` written; an evaluation leaves fewer files.
        metrics: Content of `metrics.json`.
        predictions: Columns `id`, `split`, `target`, `prob_<class>`.
        classes: The class names in the order of the logits.
        split: The split whose predictions are charted.
        misclassified: Images uint8 `(H, W, C)` of that split with a caption each.
        with_checkpoint: Whether the artifact holds `checkpoints/best.ckpt`.
    """
    run.config.update({"protocol": metrics["protocol"]}, allow_val_change=True)
    targets, probabilities = predicted_arrays(predictions, classes, split)
    roc = roc_curves(targets, probabilities, classes)
    precision = precision_recall_curves(targets, probabilities, classes)
    logged: dict[str, Any] = {
        f"{split}/confusion_matrix": _confusion_chart(targets, probabilities, classes, split),
        f"{split}/roc": _curve_chart(roc, f"ROC, {split}", "false positive rate", "true positive rate"),
        f"{split}/precision_recall": _curve_chart(precision, f"Precision, {split}", "recall", "precision"),
        f"{split}/classes": _class_table(metrics["splits"][split]["per_class"]),
    }
    for path in sorted((folder / "figures").glob("*.png")):
        logged[f"figures/{path.stem}"] = wandb.Image(str(path))
    if misclassified:
        logged[f"{split}/misclassified"] = [wandb.Image(image, caption=caption) for image, caption in misclassified]
    run.log(logged)
    run.summary.update(_summary(metrics))
    run.log_artifact(_record_artifact(run, folder, with_checkpoint))


def _summary(metrics: Mapping[str, Any]) -> dict[str, Any]:
    scores = {
        f"{split}/{name}": value
        for split, values in metrics["splits"].items()
        for name, value in values.items()
        if not isinstance(value, Mapping)
    }
    scores |= {
        f"elsewhere/{name}/{score}": value
        for name, values in metrics.get("elsewhere", {}).items()
        for score, value in values.items()
        if isinstance(value, float)
    }
    timing = {f"timing/{name}": value for name, value in metrics.get("timing", {}).items()}
    facts = {name: metrics[name] for name in ("best_epoch", "parameters") if name in metrics}
    if "calibration" in metrics:
        facts["temperature"] = metrics["calibration"]["temperature"]
        judged = metrics["calibration"].get("test", {})
        scores |= {f"test/{name}": value for name, value in judged.items() if name.endswith("_scaled")}
    return {**facts, **scores, **timing}


def _confusion_chart(targets: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], split: str) -> CustomChart:
    counts = confusion_counts(targets, probabilities.argmax(axis=1), len(classes))
    rows = [
        [true, predicted, int(counts[row, column])]
        for row, true in enumerate(classes)
        for column, predicted in enumerate(classes)
    ]
    return plot_table(
        vega_spec_name="wandb/confusion_matrix/v1",
        data_table=wandb.Table(columns=["Actual", "Predicted", "nPredictions"], data=rows),
        fields={"Actual": "Actual", "Predicted": "Predicted", "nPredictions": "nPredictions"},
        string_fields={"title": f"Confusion matrix, {split}"},
    )


def _curve_chart(curves: Sequence[ClassCurve], title: str, x_label: str, y_label: str) -> CustomChart:
    """One line per class.

    `wandb.plot.roc_curve` pairs classes with the wrong columns as soon as a class is absent.
    """
    rows = []
    for curve in curves:
        kept = np.unique(np.linspace(0, len(curve.x) - 1, _POINTS_OF_A_CURVE).round().astype(int))
        rows += [[curve.name, float(curve.x[point]), float(curve.y[point])] for point in kept]
    return plot_table(
        vega_spec_name="wandb/area-under-curve/v0",
        data_table=wandb.Table(columns=["class", "x", "y"], data=rows),
        fields={"x": "x", "y": "y", "class": "class"},
        string_fields={"title": title, "x-axis-title": x_label, "y-axis-title": y_label},
    )


def _class_table(per_class: Mapping[str, Mapping[str, float]]) -> wandb.Table:
    columns = ["support", "precision", "recall", "f1"]
    rows = [[name, *(scores[column] for column in columns)] for name, scores in per_class.items()]
    return wandb.Table(columns=["class", *columns], data=rows)


def _record_artifact(run: Run, folder: Path, with_checkpoint: bool) -> wandb.Artifact:
    artifact = wandb.Artifact(f"run-record-{run.id}", type="run-record")
    names = [*_RECORD_FILES, *(["checkpoints/best.ckpt"] if with_checkpoint else [])]
    present = [folder / name for name in names if (folder / name).is_file()]
    for path in [*present, *sorted((folder / "figures").glob("*.png"))]:
        # A finished record never changes, so that W&B can refer to the files instead of copying them into its cache;
        # by absolute path, as `wandb sync` may run anywhere.
        name = path.relative_to(folder).as_posix()
        artifact.add_file(str(path.resolve()), name=name, policy="immutable", skip_cache=True)
    return artifact
