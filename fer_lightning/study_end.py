"""What a study says when its last run has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from fer_lightning.report.shown_path import shown_path


class TellReport(Callback):
    """Tells how the runs of a study become tables; not said where a run failed, whose error then comes last."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:  # the signature is Hydra's
        print(f"\nThe study is done: fer report {shown_path(Path(config.hydra.sweep.dir))}")
