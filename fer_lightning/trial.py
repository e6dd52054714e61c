"""What `fer train` does beside training where it is one trial of a search (`hydra/sweeper=mboa`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig

from fer_lightning.errors import UserError
from fer_lightning.search.lease import Lease
from fer_lightning.search.storage import open_storage
from fer_lightning.training.trial_report import TrialReport


@contextmanager
def part_of_search(cfg: DictConfig) -> Iterator[TrialReport | None]:
    """Keeps the trial of this run claimed as long as the block lasts.

    Args:
        cfg: Config of the run; `trial` is the number that the sweeper gave it.

    Yields:
        The callback that reports to the search; None where the run belongs to none, or is continued by hand.

    Raises:
        UserError: `trial` was set by hand.
    """
    hydra = HydraConfig.get()
    if cfg.trial is None or hydra.mode != RunMode.MULTIRUN:
        yield None
        return
    if "study_name" not in hydra.sweeper:
        raise UserError(f"trial={cfg.trial} is set by the sweeper alone: leave it away, or add hydra/sweeper=mboa.")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = Path(hydra.sweep.dir)
    study = optuna.load_study(
        study_name=hydra.sweeper.study_name or folder.name,
        storage=open_storage(hydra.sweeper.storage, folder),
        sampler=optuna.samplers.RandomSampler(),  # nothing is drawn here
        pruner=instantiate(hydra.sweeper.pruner),
    )
    trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, cfg.trial)
    with Lease(study, hydra.sweeper.lease) as lease:
        lease.keep(trial_id)
        yield TrialReport(study, trial_id, cfg.selection.monitor)
