"""Hydra sweeper that gets trials from an Optuna sampler, runs them with any launcher and reports their scores."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from fer_lightning.errors import UserError
from hydra_plugins.fer_sweeper.space import SearchSpace, parse_space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from fer_lightning.search.storage import Lease

log = logging.getLogger(__name__)

DIRECTIONS: dict[str, Literal["minimize", "maximize"]] = {"min": "minimize", "max": "maximize"}
_POLL = 2.0  # seconds


def _quoted(value: str) -> str:
    return QuotedString(value, Quote.single).with_quotes()


class SearchSweeper(Sweeper):
    """Search with an Optuna sampler; any number of sweepers can share the storage of its trials.

    A sweeper that is restarted in the same folder, or with the same storage and study name, continues the search:
    trials whose sweeper has ended run again with the same values and in the same folder.

    Args:
        sampler: Config of an Optuna sampler.
        pruner: Config of an Optuna pruner.
        n_trials: Total number of trials of the search, over all processes.
        population: Number of trials of a generation, which parallel launchers run at once; `auto` depends on
            `n_trials`.
        seed: Seed of the sampler, to which the configs of samplers refer.
        direction: `min` or `max`.
        storage: See `open_storage`.
        study_name: Name of the search in the storage; None for the name of the sweep's folder.
        lease: Seconds after which a trial whose process does not renew its lease is taken over.
        max_failures: Number of consecutive failed trials after which the sweep stops.
        params: Search space as on the command line, which takes precedence.
    """

    hydra_context: HydraContext
    config: DictConfig
    launcher: Launcher

    def __init__(
        self,
        sampler: DictConfig,
        pruner: DictConfig,
        n_trials: int,
        population: int | Literal["auto"],
        seed: int,
        direction: Literal["min", "max"],
        storage: str | None,
        study_name: str | None,
        lease: float,
        max_failures: int,
        params: dict[str, str] | None,
    ) -> None:
        self._sampler = sampler
        self._pruner = pruner
        self._n_trials = n_trials
        self._population = population
        self._seed = seed
        self._mode = direction
        self._storage = storage
        self._study_name = study_name
        self._lease_seconds = lease
        self._max_failures = max_failures
        self._params = params or {}
        self._failures, self._reason = 0, ""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Runs the search to its end.

        Args:
            arguments: The overrides of the command line.

        Raises:
            UserError: There is nothing to search, the folder holds another search, too many trials failed, or the
                storage of the trials cannot be written.
        """
        from optuna.exceptions import StorageInternalError

        try:
            self._search(arguments)
        except StorageInternalError as error:
            cause = getattr(error.__cause__, "orig", None) or error.__cause__ or error
            raise UserError(
                f"the storage of the search cannot be read or written: {cause}. Free disk space or correct its "
                f"permissions, then repeat the command with hydra.sweep.dir={self.config.hydra.sweep.dir} to continue."
            ) from error

    def _search(self, arguments: list[str]) -> None:
        from fer_lightning.evaluation.metrics import check_selection
        from fer_lightning.search.storage import Lease

        self._check_options()
        check_selection(self.config.selection.monitor, self.config.selection.mode)
        space = self._parse(arguments)
        self._check_choices(space)
        folder = Path(self.config.hydra.sweep.dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"hydra.sweep.dir={folder} cannot be written: {error.strerror}.") from error
        study = self._open(folder, space)
        OmegaConf.save(self.config, folder / ".multirun.yaml")
        (folder / ".multirun.yaml").replace(folder / "multirun.yaml")
        done = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
        log.info("search %s: %d of %d trials done", study.study_name, done, self._n_trials)
        log.info("to continue after a stop, repeat the command with hydra.sweep.dir=%s", folder)
        with Lease(study, self._lease_seconds, outlived=self._parallel()) as lease:
            while trials := self._next(study, space, lease):
                self._launch(study, trials, space, lease)
        self._report(study, folder, space)

    def _check_options(self) -> None:
        """Not in the constructor, whose errors Hydra wraps."""
        from fer_lightning.commands.option_checks import check_target

        options: Any = OmegaConf.to_container(self.config.hydra.sweeper, resolve=True)
        check_target(options, "hydra.sweeper")

    def _parse(self, arguments: list[str]) -> SearchSpace:
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        params = [f"{key}={value}" for key, value in self._params.items()]
        space = parse_space(parser.parse_overrides([*params, *arguments]))
        if not space.searched:
            raise UserError(
                "a search needs an option with several values, such as 'optimizer.lr=tag(log,"
                "interval(1e-5,1e-2))', 'data.batch_size=int(interval(8,64))' or model=resnet,vit."
            )
        return space

    def _check_choices(self, space: SearchSpace) -> None:
        """Composes every choice once, so that a missing one is reported at the start."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        from fer_lightning.commands.option_checks import check_names

        first: dict[str, Any] = {}
        for key, values in space.searched.items():
            assert isinstance(values, (CategoricalDistribution, FloatDistribution, IntDistribution))
            first[key] = values.choices[0] if isinstance(values, CategoricalDistribution) else values.low
        check_names(self._compose([*space.fixed, *space.overrides(first)]), self.config.hydra.job.config_name)
        for key, values in space.searched.items():
            for choice in values.choices[1:] if isinstance(values, CategoricalDistribution) else ():
                # Alone: an option of the first choice may not exist in this one; such a trial may fail.
                self._compose([*space.fixed, f"{key}={choice}"])

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        return self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))

    def _open(self, folder: Path, space: SearchSpace) -> Study:
        import optuna

        from fer_lightning.commands.instantiate import build
        from fer_lightning.search.mboa import population_for
        from fer_lightning.search.storage import open_storage, population_of, remember

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            storage=open_storage(self._storage, folder),
            direction=DIRECTIONS[self._mode],
            pruner=build(self._pruner),
            study_name=self._study_name or folder.name,
            load_if_exists=True,
        )
        sampler: Any = OmegaConf.to_container(self._sampler, resolve=True)
        assert isinstance(sampler, dict)
        if self._population == "auto":  # a search that continues with more trials keeps its population
            variant = sampler.get("variant", "paper")
            self._population = population_of(study) or population_for(self._n_trials, variant)
        if "population" in sampler:
            sampler["population"] = self._population
        study.sampler = build(OmegaConf.create(sampler))
        pruner: Any = OmegaConf.to_container(self._pruner, resolve=True)
        assert isinstance(pruner, dict)
        known = {**sampler, "population": self._population}
        remember(study, DIRECTIONS[self._mode], space.searched, space.fixed, known, pruner)
        return study

    def _next(self, study: Study, space: SearchSpace, lease: Lease) -> Sequence[FrozenTrial]:
        """Trials to launch now: those of a stopped process, else new ones; none when all have ended."""
        from optuna.trial import TrialState

        announced = False
        while True:
            if left := lease.take_over(self._at_once(0)):
                log.info("taking over: trial %s", ", ".join(str(trial.number) for trial in left))
                return [self._complete(study, trial, space) for trial in left]
            started = sum(trial.state != TrialState.WAITING for trial in study.get_trials(deepcopy=False))
            if started < self._n_trials and (asked := self._ask(study, space, lease, self._at_once(started))):
                return asked
            others = lease.running_of_others()
            if not others:
                return []
            if not announced:
                log.info(
                    "waiting for %d trial(s) of another process; a trial without a sign of life for %g s is taken over",
                    len(others),
                    self._lease_seconds,
                )
                announced = True
            time.sleep(_POLL)

    def _at_once(self, number: int) -> int:
        """Number of trials to launch together from this number on: at most to the end of a generation."""
        return int(self._population) - number % int(self._population) if self._parallel() else 1

    def _parallel(self) -> bool:
        """Whether the launcher runs trials at once, in processes that may outlive this one."""
        from hydra._internal.core_plugins.basic_launcher import BasicLauncher

        return not isinstance(self.launcher, BasicLauncher)

    def _ask(self, study: Study, space: SearchSpace, lease: Lease, most: int) -> list[FrozenTrial]:
        from optuna.trial import TrialState

        asked: list[FrozenTrial] = []
        while len(asked) < most:
            trial = study.ask(fixed_distributions=space.searched)
            if trial.number >= self._n_trials:
                # Another process took the last one at the same time; a search with more trials starts with this one.
                study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
                break
            lease.claim(trial._trial_id)
            asked.append(study._storage.get_trial(trial._trial_id))
            if trial.number == self._n_trials - 1:
                break
        return asked

    def _complete(self, study: Study, trial: FrozenTrial, space: SearchSpace) -> FrozenTrial:
        """Samples the missing values of a trial whose process was killed while sampling."""
        from optuna.trial import Trial

        asked = Trial(study, trial._trial_id)
        for name, distribution in space.searched.items():
            asked._suggest(name, distribution)
        return study._storage.get_trial(trial._trial_id)

    def _launch(self, study: Study, trials: Sequence[FrozenTrial], space: SearchSpace, lease: Lease) -> None:
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        from fer_lightning.search.storage import LAUNCHED_BY

        # A Ray worker starts in another folder than this process.
        folder = Path(self.config.hydra.sweep.dir).resolve()
        place = f"hydra.sweep.dir={_quoted(str(folder))}"
        owner = f"+hydra.job.env_set.{LAUNCHED_BY}={_quoted(lease.owner)}"
        launched, jobs = [], []
        for trial in trials:
            job = [
                *space.fixed,
                *space.overrides(trial.params),
                f"trial={trial.number}",
                f"hydra.sweep.subdir='{trial.number}'",
                place,
                owner,
            ]
            try:
                self._compose(job)
                launched.append(trial)
                jobs.append(job)
            except (HydraException, OmegaConfBaseException) as error:
                lease.drop(trial._trial_id)
                self._fail(study, trial, " ".join(str(error).split()))
        if jobs:
            results = self.launcher.launch(jobs, initial_job_idx=launched[0].number)
            for trial, result in zip(launched, results):
                lease.drop(trial._trial_id)
                self._tell(study, trial, result)
        if self._failures >= self._max_failures:
            raise UserError(f"the last {self._failures} trials failed, the last one with: {self._reason}")

    def _tell(self, study: Study, trial: FrozenTrial, result: JobReturn) -> None:
        from optuna import TrialPruned
        from optuna.trial import TrialState

        try:
            value = float(result.return_value)
        except TrialPruned:
            study.tell(trial.number, state=TrialState.PRUNED, skip_if_finished=True)
            self._failures = 0
            log.info("trial %d of %d: pruned", trial.number, self._n_trials)
        except Exception as error:
            self._fail(study, trial, str(error) or type(error).__name__)
        else:
            if math.isnan(value):
                self._fail(study, trial, "its score is not a number")
                return
            study.tell(trial.number, value, skip_if_finished=True)
            self._failures = 0
            best = study.best_trial
            log.info(
                "trial %d of %d: %.5g, best %.5g (trial %d)",
                trial.number,
                self._n_trials,
                value,
                best.value,
                best.number,
            )

    def _fail(self, study: Study, trial: FrozenTrial, reason: str) -> None:
        from optuna.trial import TrialState

        study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        log.warning("trial %d of %d failed: %s", trial.number, self._n_trials, reason)
        self._failures += 1
        self._reason = reason

    def _report(self, study: Study, folder: Path, space: SearchSpace) -> None:
        from optuna.trial import TrialState

        from fer_lightning.commands.sweep import report_sweep
        from hydra_plugins.fer_sweeper.experiment_file import write_experiment

        completed = bool(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        if completed:
            best = study.best_trial
            write_experiment(
                folder / "conf" / "experiment" / "best.yaml",
                space.fixed,
                space.overrides(best.params),
                self._is_group,
                [f"Trial {best.number} of {study.study_name}: {self.config.selection.monitor} {best.value:.5g}."],
                [Path(source.path) for source in self.config.hydra.runtime.config_sources if source.schema == "file"],
            )
        report_sweep(study, folder, self.config)
        if not completed:
            raise UserError(
                f"no trial of {study.study_name} was completed: correct the causes in the warnings above, then "
                f"delete {folder} and repeat the command, or raise hydra.sweeper.n_trials."
            )

    def _is_group(self, key: str) -> bool:
        from hydra.core.object_type import ObjectType

        return self.hydra_context.config_loader.get_group_options(key, ObjectType.CONFIG) != []
