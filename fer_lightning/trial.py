"""What `fer train` does beside training where it is one trial of a search (`hydra/sweeper=optuna`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fer_lightning.commands.instantiate import build
from fer_lightning.errors import UserError

if TYPE_CHECKING:
    from fer_lightning.training.trial_report import TrialReport


def check_trial(cfg: DictConfig, resumed: bool) -> None:
    """Refuses a number that no sweeper gave.

    Args:
        cfg: Config of the run.
        resumed: Whether it is continued by hand, which a trial may be too.

    Raises:
        UserError: `trial` was set by hand.
    """
    if cfg.trial is not None and not resumed and "study_name" not in HydraConfig.get().sweeper:
        raise UserError(f"trial={cfg.trial} is set by the sweeper alone: leave it away, or add hydra/sweeper=optuna.")


@contextmanager
def part_of_search(cfg: DictConfig) -> Iterator[TrialReport | None]:
    """Keeps the trial of this run claimed as long as the block lasts.

    Args:
        cfg: Config of the run; `trial` is the number that the sweeper gave it.

    Yields:
        The callback that reports to the search; None where the run belongs to none, or is continued by hand.
    """
    hydra = HydraConfig.get()
    if cfg.trial is None or hydra.mode != RunMode.MULTIRUN:
        yield None
        return
    # Only a trial needs Optuna and a database.
    import optuna
    from optuna.storages import RDBStorage

    from fer_lightning.search.lease import Lease
    from fer_lightning.search.storage import open_storage
    from fer_lightning.training.trial_report import TrialReport

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = Path(hydra.sweep.dir)
    storage = open_storage(hydra.sweeper.storage, folder)
    study = optuna.load_study(
        study_name=hydra.sweeper.study_name or folder.name,
        storage=storage,
        sampler=optuna.samplers.RandomSampler(),  # nothing is drawn here
        pruner=build(hydra.sweeper.pruner),
    )
    trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, cfg.trial)
    try:
        with Lease(study, hydra.sweeper.lease) as lease:
            lease.keep(trial_id)
            yield TrialReport(study, trial_id, cfg.selection.monitor)
    finally:
        if isinstance(storage, RDBStorage):
            storage.engine.dispose()


def give_up() -> NoReturn:
    """Ends a run that its search has given up.

    Raises:
        TrialPruned: Always.
    """
    from optuna import TrialPruned

    raise TrialPruned
