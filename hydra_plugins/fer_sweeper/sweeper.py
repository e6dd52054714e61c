"""A Hydra sweeper that asks an Optuna sampler, launches what it answers with any launcher, and tells it the results."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
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

    from fer_lightning.search.lease import Lease

log = logging.getLogger(__name__)

DIRECTIONS = {"min": "minimize", "max": "maximize"}
_POLL = 2.0  # seconds


class SearchSweeper(Sweeper):
    """Searches with an Optuna sampler; the trials lie in a storage that any number of sweepers can share.

    One started again in the same folder, or with the same storage and study name, goes on where the last one stopped:
    trials whose sweeper is gone run again, with the values that they had and in the folder where they were.

    Args:
        sampler: Config of an Optuna sampler.
        pruner: Config of an Optuna pruner.
        n_trials: How many trials the search has in all, of all processes.
        population: Trials that one generation has, which launchers that run jobs side by side get at once; `auto`
            depends on `n_trials`.
        seed: Of the sampler; named in the configs of samplers.
        direction: `min` or `max`.
        storage: See `open_storage`.
        study_name: Name of the search in the storage; None for the name of the sweep's folder.
        lease: Seconds after which a trial of a process that is not heard of is taken over.
        max_failures: The sweep stops when so many trials in a row failed.
        params: What to search, as on the command line, which wins over it.
    """

    def __init__(
        self,
        sampler: DictConfig,
        pruner: DictConfig,
        n_trials: int,
        population: int | str,
        seed: int,
        direction: str,
        storage: str | None,
        study_name: str | None,
        lease: float,
        max_failures: int,
        params: dict[str, str] | None,
    ) -> None:
        if not isinstance(n_trials, int) or n_trials < 1:
            raise UserError(f"hydra.sweeper.n_trials={n_trials} is no number of trials: use 1 or more.")
        self._sampler = sampler
        self._pruner = pruner
        self._n_trials = n_trials
        self._population = population
        self._seed = seed
        self._direction = DIRECTIONS[direction]
        self._storage = storage
        self._study_name = study_name
        self._lease_seconds = lease
        self._max_failures = max_failures
        self._params = params or {}
        self._failures, self._reason = 0, ""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Runs the search to its end.

        Args:
            arguments: The overrides of the command line.

        Raises:
            UserError: There is nothing to search, the folder holds another search, or too many trials failed.
        """
        from fer_lightning.search.lease import Lease

        space = self._parse(arguments)
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        study = self._open(folder, space)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        done = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
        log.info("search %s: %d of %d trials done", study.study_name, done, self._n_trials)
        log.info("after a stop, the same command with hydra.sweep.dir=%s goes on", folder)
        with Lease(study, self._lease_seconds) as lease:
            try:
                while trials := self._next(study, space, lease):
                    self._launch(study, trials, space, lease)
            finally:
                lease.give_back()
        self._report(study, folder, space)

    def _parse(self, arguments: list[str]) -> SearchSpace:
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        params = [f"{key}={value}" for key, value in self._params.items()]
        space = parse_space(parser.parse_overrides([*params, *arguments]))
        if not space.searched:
            raise UserError(
                "there is nothing to search: give an option several values, as 'optimizer.lr=tag(log,"
                "interval(1e-5,1e-2))', 'data.batch_size=int(interval(8,64))' or model=resnet,vit."
            )
        return space

    def _open(self, folder: Path, space: SearchSpace) -> Study:
        import optuna
        from hydra.utils import instantiate

        from fer_lightning.search.identity import population_of, remember
        from fer_lightning.search.population import population_for
        from fer_lightning.search.storage import open_storage

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            storage=open_storage(self._storage, folder),
            direction=self._direction,
            pruner=instantiate(self._pruner),
            study_name=self._study_name or folder.name,
            load_if_exists=True,
        )
        if self._population == "auto":  # a search that goes on with more trials keeps its population
            self._population = population_of(study) or population_for(self._n_trials)
        sampler = OmegaConf.to_container(self._sampler, resolve=True)
        assert isinstance(sampler, dict)
        if "population" in sampler:
            sampler["population"] = self._population
        study.sampler = instantiate(sampler)
        remember(study, self._direction, space.searched, space.fixed, {**sampler, "population": self._population})
        return study

    def _next(self, study: Study, space: SearchSpace, lease: Lease) -> Sequence[FrozenTrial]:
        """The trials to launch now: what a stopped process left, else new ones; none when all have ended."""
        told = False
        while True:
            if left := lease.take_over(self._at_once(0)):
                log.info("taking over: trial %s", ", ".join(str(trial.number) for trial in left))
                return [self._complete(study, trial, space) for trial in left]
            trials = study.get_trials(deepcopy=False)
            if len(trials) < self._n_trials:
                return self._ask(study, space, lease, self._at_once(len(trials)))
            elsewhere = lease.running_elsewhere()
            if not elsewhere:
                return []
            if not told:
                log.info(
                    "waiting for %d trial(s) of another process; one that is not heard of for %g s is taken over",
                    len(elsewhere),
                    self._lease_seconds,
                )
                told = True
            time.sleep(_POLL)

    def _at_once(self, number: int) -> int:
        """How many trials to launch together when the next one has this number: at most to the end of a generation."""
        from hydra._internal.core_plugins.basic_launcher import BasicLauncher

        if isinstance(self.launcher, BasicLauncher):
            return 1
        return int(self._population) - number % int(self._population)

    def _ask(self, study: Study, space: SearchSpace, lease: Lease, most: int) -> list[FrozenTrial]:
        from optuna.trial import TrialState

        asked: list[FrozenTrial] = []
        while len(asked) < most:
            trial = study.ask(fixed_distributions=space.searched)
            if trial.number >= self._n_trials:  # another process asked for the last one at the same moment
                study.tell(trial, state=TrialState.FAIL)
                break
            lease.claim(trial._trial_id)
            asked.append(study._storage.get_trial(trial._trial_id))
            if trial.number == self._n_trials - 1:
                break
        return asked

    def _complete(self, study: Study, trial: FrozenTrial, space: SearchSpace) -> FrozenTrial:
        """Gives a trial whose process was killed while it asked the values that it lacks; those it has stay."""
        from optuna.trial import Trial

        asked = Trial(study, trial._trial_id)
        for name, distribution in space.searched.items():
            asked._suggest(name, distribution)
        return study._storage.get_trial(trial._trial_id)

    def _launch(self, study: Study, trials: Sequence[FrozenTrial], space: SearchSpace, lease: Lease) -> None:
        # A worker of Ray starts in another folder than this process.
        place = f"hydra.sweep.dir='{Path(self.config.hydra.sweep.dir).resolve()}'"
        jobs = [
            [
                *space.fixed,
                *space.overrides(trial.params),
                f"trial={trial.number}",
                f"hydra.sweep.subdir='{trial.number}'",
                place,
            ]
            for trial in trials
        ]
        self.validate_batch_is_legal(jobs[:1])
        results = self.launcher.launch(jobs, initial_job_idx=trials[0].number)
        for trial, result in zip(trials, results):
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

        from fer_lightning.sweep_report import report_sweep
        from hydra_plugins.fer_sweeper.experiment_file import write_experiment

        if study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            best = study.best_trial
            write_experiment(
                folder / "conf" / "experiment" / "best.yaml",
                space.fixed,
                space.overrides(best.params),
                self._is_group,
                [f"Trial {best.number} of {study.study_name}: {self.config.selection.monitor} {best.value:.5g}."],
            )
        report_sweep(study, folder, self.config)

    def _is_group(self, key: str) -> bool:
        from hydra.core.object_type import ObjectType

        return self.hydra_context.config_loader.get_group_options(key, ObjectType.CONFIG) != []
