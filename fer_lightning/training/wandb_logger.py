"""W&B for researchers who are not always online and run many trainings in one process."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import wandb
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from wandb.errors import AuthenticationError, CommError
from wandb.sdk.lib.runid import generate_id
from wandb.sdk.wandb_run import Run

from fer_lightning.errors import UserError
from fer_lightning.files import write_whole

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
_OBEYED = {"offline": "offline", "dryrun": "offline", "disabled": "disabled"}


class WandbRunLogger(WandbLogger):
    """Logs one training to one W&B run of its own, whatever other runs the process has.

    Args:
        save_dir: The run folder; W&B writes to `wandb/` in it.
        mode: `"online"`, `"offline"`, `"disabled"`, or `"auto"`: as `WANDB_MODE` says, else online when logged in, else
            offline. A run that cannot reach the server is logged offline.
        project: Project in W&B.
        entity: User or team, or None for the user's default one.
        name: Shown for the run, or None for one that W&B invents.
        group: Runs of one group are shown together, or None.
        tags: Any words to filter by.
        init_timeout: Seconds to wait for the server to accept the run.
        log_checkpoint: Whether the run record in W&B holds the best checkpoint.

    Raises:
        UserError: `mode` is none of these; on first use, `"online"` is asked for and nobody is logged in.
    """

    def __init__(
        self,
        save_dir: str,
        mode: str,
        project: str,
        entity: str | None,
        name: str | None,
        group: str | None,
        tags: Sequence[str],
        init_timeout: float,
        log_checkpoint: bool,
    ) -> None:
        if mode not in MODES:
            raise UserError(f"logger.wandb.mode={mode} is unknown: use one of {', '.join(MODES)}.")
        wanted = os.environ.get("WANDB_MODE", "")
        if wanted not in (*_OBEYED, "online", "run", "shared", ""):
            raise UserError(f"WANDB_MODE={wanted} is unknown: use online, offline or disabled, or unset it.")
        super().__init__(
            save_dir=save_dir,
            project=project,
            name=name,
            entity=entity,
            group=group,
            tags=list(tags),
            # create_new: otherwise a second run of this process would be written into the first one.
            # quiet: the result table of the run shall be the last thing on the screen.
            settings=wandb.Settings(init_timeout=init_timeout, reinit="create_new", quiet=True),
        )
        self.log_checkpoint = log_checkpoint
        self._mode = mode
        self._wandb_init.pop("anonymous", None)  # W&B warns about it whatever its value

    @property
    @rank_zero_experiment
    def experiment(self) -> Run:
        """The W&B run; started on first use."""
        if self._experiment is None:
            Path(str(self.save_dir)).mkdir(parents=True, exist_ok=True)
            # Passed on as an argument: WandbLogger(offline=True) would set WANDB_MODE for every later run as well.
            self._wandb_init["mode"] = choose_mode(self._mode)
            if self._wandb_init["mode"] != "disabled":
                self._wandb_init["id"] = self._kept_id()
        try:
            return super().experiment
        except CommError as error:
            _tell_offline(error)
            self._wandb_init["mode"] = "offline"
            return super().experiment

    def _kept_id(self) -> str:
        """The id of the W&B run of this folder, so that a training that is resumed goes on in the same one."""
        path = Path(str(self.save_dir)) / "wandb" / "run_id.txt"
        if not path.is_file():
            write_whole(path, lambda temporary: temporary.write_text(generate_id()))
        return path.read_text().strip()

    def close(self, failed: bool) -> None:
        """Ends the run, if one was started.

        Args:
            failed: Whether W&B shall show it as failed.
        """
        if self._experiment is not None:
            self._experiment.finish(exit_code=1 if failed else 0)


def close_wandb(loggers: Iterable[Logger], failed: bool) -> None:
    """Ends the W&B runs among the loggers of a training.

    Args:
        loggers: Any loggers.
        failed: Whether the training ended with an error.
    """
    for logger in loggers:
        if isinstance(logger, WandbRunLogger):
            logger.close(failed)


def choose_mode(mode: str) -> str:
    """Turns a wish into what is possible, without ever asking at the terminal.

    Args:
        mode: One of `MODES`.

    Returns:
        `"online"`, `"offline"` or `"disabled"`.

    Raises:
        UserError: `"online"` is asked for and nobody is logged in.
    """
    if mode == "auto":
        mode = _OBEYED.get(os.environ.get("WANDB_MODE", ""), "auto")
    if mode in ("offline", "disabled"):
        return mode
    try:
        logged_in = wandb.login(prompt=False)  # asks the server, for ten seconds at most
    except AuthenticationError as error:
        _tell_offline(error)
        return "offline"
    if logged_in:
        return "online"
    if mode == "online":
        raise UserError(
            "logger.wandb.mode=online needs a login: run wandb login, set WANDB_API_KEY, or use logger.wandb.mode=auto "
            f"(WANDB_MODE is {os.environ.get('WANDB_MODE', 'not set')})."
        )
    return "offline"


def _tell_offline(error: CommError) -> None:
    reason = " ".join(str(error).split())
    log.warning("W&B is out of reach, so this run is logged offline; wandb sync sends it later (%s).", reason)
