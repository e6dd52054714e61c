"""The W&B run of a study: opened, filled and closed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fer_lightning.cli import conf_dir
from fer_lightning.errors import UserError
from fer_lightning.overrides import literal
from fer_lightning.report.study import StudyReport
from fer_lightning.commands.stored_config import read_yaml
from fer_lightning.wandb_group import sweep_group, wandb_nodes


def log_study_run(report: StudyReport, page: Path, folder: Path, mode: str) -> Path | None:
    """Logs a study as a W&B run of its own, in the project and the group of its runs.

    Args:
        report: What the study found.
        page: Its page, which shows all of the report: one that is logged already in this mode is not logged again.
        folder: Where the runs of the study lie; W&B writes to `wandb/` in it.
        mode: `"online"`, `"offline"`, `"disabled"`, or `"auto"`: as the runs of the study were logged, if they were.

    Returns:
        Where W&B wrote, or None where nothing was logged.

    Raises:
        UserError: `"online"` is asked for and nobody is logged in.
    """
    node = _settings(folder)
    if mode == "disabled" or (mode == "auto" and node is None):
        return None
    chosen = OmegaConf.load(conf_dir() / "logger" / "wandb.yaml").wandb if node is None else node
    asked = chosen.mode if mode == "auto" else mode
    logged = folder / "wandb" / f"{report.name}.sha256"
    digest = f"{hashlib.sha256(page.read_bytes()).hexdigest()} {asked}"
    if logged.is_file() and logged.read_text() == digest:
        return None
    where = _log(report, page, folder, chosen, asked)
    if where is not None:
        logged.write_text(digest)
    return where


def _settings(folder: Path) -> DictConfig | None:
    """What the first run of the study that logged to W&B did it with."""
    for record in sorted(folder.rglob("metrics.json")):
        config = record.with_name("config.yaml")
        try:
            cfg = OmegaConf.create(literal(read_yaml(config))) if config.is_file() else None
        except UserError:  # a run like that was not logged by us
            continue
        for node in wandb_nodes(cfg) if isinstance(cfg, DictConfig) else []:
            chosen = OmegaConf.load(conf_dir() / "logger" / "wandb.yaml").wandb
            chosen.update({name: value for name, value in node.items() if name in chosen})
            return chosen
    return None


def _log(report: StudyReport, page: Path, folder: Path, node: DictConfig, mode: str) -> Path | None:
    # They need torch, which every other part of a report does without.
    from fer_lightning.training.wandb_logger import WandbRunLogger
    from fer_lightning.studies.wandb_study import log_study

    logger = WandbRunLogger(
        save_dir=str(folder),
        mode=mode,
        project=node.project,
        entity=node.entity,
        name=f"study {report.name}",
        group=node.group or sweep_group(folder),
        tags=[*node.tags, "study"],
        init_timeout=node.init_timeout,
        log_checkpoint=False,
    )
    failed = True
    try:
        run = logger.experiment
        log_study(run, report, page)
        where = None if run.disabled else Path(run.dir).parent
        failed = False
    finally:
        logger.close(failed)
    return where
