"""W&B logging with an offline fallback and several runs in one process."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import wandb
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from wandb.errors import AuthenticationError, CommError
from wandb.plot import CustomChart, plot_table
from wandb.sdk.lib.runid import generate_id
from wandb.sdk.wandb_run import Run

from fer_lightning.errors import UserError, require_known
from fer_lightning.files import write_text
from fer_lightning.results.curves import ClassCurve, confusion_counts, precision_recall_curves, roc_curves
from fer_lightning.results.naming import RunLabels
from fer_lightning.results.run_record import predicted_arrays, read_table

log = logging.getLogger(__name__)
MODES = ("auto", "online", "offline", "disabled")
_ENVIRONMENT_MODES = {"offline": "offline", "dryrun": "offline", "disabled": "disabled"}
_TABLES = ("predictions.parquet", "history.csv", "robustness.csv", "fairness.csv")
RECORD_FILES = ("config.yaml", "metrics.json", *_TABLES, "train.log")
# Figures whose content W&B shows as an interactive chart, and those of an epoch, which were logged in it; the artifact
# has them all.
_CHARTED = ("confusion_", "roc_", "precision_recall_", "curves", "errors", "robustness")
_STEP = "trainer/global_step"  # Lightning's x-axis of all charts
_POINTS_OF_A_CURVE = 200


class WandbRunLogger(WandbLogger):
    """Logs a training to its own W&B run, also if the process has other W&B runs.

    Args:
        save_dir: The run folder; W&B writes to `wandb/` in it.
        mode: `"online"`, `"offline"`, `"disabled"`, or `"auto"`: the value of `WANDB_MODE`, else online when logged in,
            else offline. A run that cannot reach the server is logged offline.
        project: Project in W&B.
        entity: User or team, or None for the user's default one.
        name: Name of the run, or None for one that W&B generates.
        group: Group of the run, or None.
        tags: Tags to filter by.
        init_timeout: Seconds to wait for the server to accept the run.
        log_checkpoint: Whether the run record in W&B contains the best checkpoint.

    Raises:
        UserError: Unknown `mode`; on first use, `mode` is `"online"` and the user is not logged in.
    """

    def __init__(
        self,
        save_dir: str,
        mode: str = "auto",
        project: str = "fer_lightning",
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        init_timeout: float = 30,
        log_checkpoint: bool = False,
    ) -> None:
        require_known("logger.wandb.mode", mode, MODES)
        requested = os.environ.get("WANDB_MODE", "")
        if requested not in (*_ENVIRONMENT_MODES, "online", "run", "shared", ""):
            raise UserError(f"WANDB_MODE must be online, offline or disabled; got {requested}: change or unset it.")
        super().__init__(
            save_dir=save_dir,
            project=project,
            name=name,
            entity=entity,
            group=group,
            tags=list(tags),
            settings=wandb.Settings(
                init_timeout=init_timeout,
                reinit="create_new",  # otherwise a second run of this process would be logged to the first one
                silent=True,  # the result table of the run is the last output in the terminal
                # The lines that are logged, without every frame of the progress bar.
                console="off",
                capture_loggers={"fer_lightning": "INFO", "pytorch_lightning": "WARNING"},
            ),
        )
        self.log_checkpoint = log_checkpoint
        self._mode = mode
        self._started_with: dict[str, Any] = {}
        self._selection: tuple[str, str] | None = None
        self._wandb_init.pop("anonymous", None)  # W&B warns about any value of it

    def describe(self, labels: RunLabels, facts: Mapping[str, Any], selection: tuple[str, str] | None = None) -> None:
        """Labels the run, before its first use. Name and group that the user has set are kept, and tags are added.

        Args:
            labels: Name, group, type and tags of the run.
            facts: Further values of the run's config in W&B, from its start.
            selection: Metric by which the best epoch is selected, and `"max"` or `"min"`; the summary of the run has
                its best value.
        """
        for key, value in (("name", labels.name), ("group", labels.group), ("job_type", labels.job_type)):
            self._wandb_init[key] = self._wandb_init.get(key) or value
        self._wandb_init["tags"] = list(dict.fromkeys([*self._wandb_init["tags"], *labels.tags]))
        self._started_with = {"variant": labels.variant, **facts}
        self._selection = selection

    @property
    @rank_zero_experiment
    def experiment(self) -> Run:
        """W&B run, started on first use."""
        if self._experiment is None:
            run = self._start()
            if self._started_with:
                run.config.update(self._started_with, allow_val_change=True)
            if self._selection is not None:
                name, mode = self._selection
                run.define_metric(name, step_metric=_STEP, step_sync=True, summary=mode)
            if self._wandb_init["mode"] == "online":
                log.info("W&B shows this run at %s", run.url)
        return super().experiment

    def _start(self) -> Run:
        Path(str(self.save_dir)).mkdir(parents=True, exist_ok=True)
        # As an argument, because WandbLogger(offline=True) would set WANDB_MODE for all later runs.
        self._wandb_init["mode"] = choose_mode(self._mode)
        if os.environ.get("WANDB_SWEEP_ID"):  # the agent of the sweep has chosen these
            self._wandb_init |= {"id": None, "project": None, "entity": None}
        elif self._wandb_init["mode"] != "disabled":
            self._wandb_init["id"] = self._kept_id()
        try:
            return super().experiment
        except CommError as error:
            _warn_offline(error)
            self._wandb_init["mode"] = "offline"
            return super().experiment

    def _kept_id(self) -> str:
        """Id of the W&B run of this folder, so that a resumed training is logged to the same one."""
        path = Path(str(self.save_dir)) / "wandb" / "run_id.txt"
        if not path.is_file():
            write_text(path, generate_id())
        return path.read_text().strip()

    def close(self, failed: bool) -> None:
        """Ends the run, if one was started; `failed` marks it as failed."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=1 if failed else 0)


def choose_mode(mode: str) -> str:
    """Mode in which a run can be logged, determined without a prompt from the requested one of `MODES`.

    Returns:
        `"online"`, `"offline"` or `"disabled"`.

    Raises:
        UserError: `mode` is `"online"` and the user is not logged in.
    """
    if mode == "auto":
        mode = _ENVIRONMENT_MODES.get(os.environ.get("WANDB_MODE", ""), "auto")
    if mode in ("offline", "disabled"):
        return mode
    try:
        logged_in = wandb.login(prompt=False)  # contacts the server, for at most ten seconds
    except AuthenticationError as error:
        _warn_offline(error)
        return "offline"
    if logged_in:
        return "online"
    if mode == "online":
        raise UserError(
            "logger.wandb.mode=online needs a login: run wandb login, set WANDB_API_KEY, or use logger.wandb.mode=auto "
            f"(WANDB_MODE is {os.environ.get('WANDB_MODE', 'not set')})."
        )
    return "offline"


def _warn_offline(error: CommError) -> None:
    reason = " ".join(str(error).split())
    log.warning(
        "W&B cannot be reached (%s): this run is logged offline; upload it later with fer dashboard --sync.", reason
    )


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
        folder: The run folder, with the record and `figures/*.png`; an evaluation has fewer files.
        metrics: Content of `metrics.json`.
        predictions: Columns `id`, `split`, `target`, `prob_<class>`.
        classes: The class names in the order of the logits.
        split: Split whose predictions are plotted.
        misclassified: Misclassified images of that split, uint8 `(H, W, C)`, and their captions.
        with_checkpoint: Whether the artifact contains `checkpoints/best.ckpt`.
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
        if not path.stem.startswith(_CHARTED) and "_epoch_" not in path.stem:
            logged[f"figures/{path.stem}"] = wandb.Image(str(path))
    if (folder / "robustness.csv").is_file():
        logged["robustness/severity"] = _robustness_chart(read_table(folder / "robustness.csv"))
    if misclassified:
        logged[f"{split}/misclassified"] = [wandb.Image(image, caption=caption) for image, caption in misclassified]
    run.log(logged)
    run.summary.update(final_scores(metrics))
    run.log_artifact(_record_artifact(run, folder, with_checkpoint))


def final_scores(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Scores and times of a record by name, such as `test/accuracy`."""
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
    scores |= {f"robustness/{name}": value for name, value in metrics.get("robustness", {}).get("accuracy", {}).items()}
    timing = {f"timing/{name}": value for name, value in metrics.get("timing", {}).items()}
    facts = {name: metrics[name] for name in ("best_epoch", "parameters") if name in metrics}
    if "calibration" in metrics:
        facts["temperature"] = metrics["calibration"]["temperature"]
        calibrated = metrics["calibration"].get("test", {})
        scores |= {f"test/{name}": value for name, value in calibrated.items() if name.endswith("_scaled")}
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
    """Chart with one curve per class.

    `wandb.plot.roc_curve` pairs classes with the wrong columns if a class is absent.
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


def _robustness_chart(robustness: pd.DataFrame) -> CustomChart:
    """Chart of the accuracy over the severity of each corruption, from the clean split on."""
    clean = float(robustness.loc[robustness["severity"] == 0, "accuracy"].iloc[0])
    rows = []
    for name, levels in robustness[robustness["severity"] > 0].groupby("corruption", sort=False):
        rows += [[str(name), 0, clean], *([str(name), *level] for level in levels[["severity", "accuracy"]].to_numpy())]
    table = wandb.Table(columns=["corruption", "severity", "accuracy"], data=rows)
    return wandb.plot.line(table, "severity", "accuracy", stroke="corruption", title="Accuracy by severity")


def _class_table(per_class: Mapping[str, Mapping[str, float]]) -> wandb.Table:
    columns = ["support", "precision", "recall", "f1"]
    rows = [[name, *(scores[column] for column in columns)] for name, scores in per_class.items()]
    return wandb.Table(columns=["class", *columns], data=rows)


def _record_artifact(run: Run, folder: Path, with_checkpoint: bool) -> wandb.Artifact:
    artifact = wandb.Artifact(f"run-record-{run.id}", type="run-record")
    names = [*RECORD_FILES, *(["checkpoints/best.ckpt"] if with_checkpoint else [])]
    present = [folder / name for name in names if (folder / name).is_file()]
    for path in [*present, *sorted((folder / "figures").glob("*.png"))]:
        # A finished record never changes, so W&B can reference the files without a copy in its cache; the paths are
        # absolute because `wandb sync` may run in any folder.
        name = path.relative_to(folder).as_posix()
        artifact.add_file(str(path.resolve()), name=name, policy="immutable", skip_cache=True)
    return artifact
