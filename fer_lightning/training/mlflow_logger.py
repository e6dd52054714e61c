"""MLflow logging: one run a training, with its scores and the files of its record."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import MLFlowLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from fer_lightning.errors import UserError
from fer_lightning.files import write_text
from fer_lightning.results.naming import RunLabels
from fer_lightning.training.wandb_logger import RECORD_FILES, final_scores


class MLflowRunLogger(MLFlowLogger):
    """Logs a training to an MLflow run; a resumed training goes on in the same one.

    Where it is logged is MLflow's own setting: the server or database in the environment variable
    `MLFLOW_TRACKING_URI`, else the database `mlflow.db` in the working directory. It is no option, so that a stored
    config can neither send a run elsewhere nor contain a password.

    Args:
        save_dir: The run folder, which keeps the id of the MLflow run.
        experiment: Experiment in MLflow, created on first use.
        name: Name of the run, or None for its variant, data set and seed.

    Raises:
        UserError: On first use, MLflow cannot be reached.

    Example:
        `fer train logger=mlflow`, or `pl.Trainer(logger=MLflowRunLogger("outputs/mine"))`; then `mlflow ui`.
    """

    def __init__(self, save_dir: str, experiment: str = "fer_lightning", name: str | None = None) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it reports its use to its authors otherwise
        import mlflow

        super().__init__(experiment_name=experiment, run_name=name, tracking_uri=mlflow.get_tracking_uri())
        self._id_file = Path(save_dir) / "mlflow" / "run_id.txt"

    def describe(self, labels: RunLabels) -> None:
        """Labels the run by tags in MLflow, before its first use. A name that the user has set is kept."""
        self._run_name = self._run_name or labels.name
        tags = {"variant": labels.variant, "group": labels.group, "job_type": labels.job_type}
        self.tags = {name: value for name, value in tags.items() if value} | {"tags": ", ".join(labels.tags)}

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """MLflow client, whose run is started on first use."""
        if not self._initialized:
            self._start()
        return super().experiment

    def _start(self) -> None:
        from mlflow.exceptions import MlflowException

        if self._id_file.is_file():
            kept = self._id_file.read_text().strip()
            try:
                self._mlflow_client.update_run(kept, status="RUNNING")
                self._run_id = kept
            except MlflowException:  # that run is not in the present server or database
                self._run_id = None
        try:
            _ = super().experiment
        except MlflowException as error:
            reason = re.sub(r"//[^/\s]*@", "//", " ".join(str(error).split()))[:200]  # without a password
            raise UserError(
                f"MLflow cannot log this run ({reason} ...): set MLFLOW_TRACKING_URI to a server that runs, or to a "
                "database such as sqlite:///mlflow.db."
            ) from error
        write_text(self._id_file, str(self._run_id))

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Logs the config of the run, which MLflow does not let a resumed training change."""
        if not self.experiment.get_run(self.run_id).data.params:
            super().log_hyperparams(params)

    @rank_zero_only
    def log_record(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        """Logs the scores of a finished run (`metrics.json`), and its record and figures as artifacts."""
        client, run_id = self.experiment, self.run_id
        curves = client.get_run(run_id).data.metrics  # their last point is that of the last epoch
        scores = {name: value for name, value in final_scores(metrics).items() if name not in curves}
        self.log_metrics({name: value for name, value in scores.items() if isinstance(value, (int, float))})
        for path in filter(Path.is_file, (folder / name for name in RECORD_FILES)):
            client.log_artifact(run_id, str(path))
        if (folder / "figures").is_dir():
            client.log_artifacts(run_id, str(folder / "figures"), "figures")
