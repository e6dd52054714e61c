"""Studies that had nothing left to train, because others in the same folder had trained their runs."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import OmegaConf

from fer_lightning.cli import conf_dir
from fer_lightning.studies.discovery import FoundStudy
from fer_lightning.study_config import compose_study


def find_shared_studies(found: Sequence[FoundStudy]) -> list[FoundStudy]:
    """Finds studies that train into a folder of others and whose runs are all there, though none names them.

    Args:
        found: The studies that runs name, as `find_studies` returns them.
    """
    shared = []
    for folder in dict.fromkeys(study.folder for study in found if study.name is not None and not study.searched):
        here = [study for study in found if study.folder == folder]
        runs = [run for study in here for run in study.overrides]
        (budget, *others) = {study.budget for study in here if study.name is not None}
        typed = {option.partition("=")[2] for run in runs for option in run}
        names = [name for name, rows in _rows().items() if rows and rows <= typed]
        chosen = {option.partition("=")[2] for run in runs for option in run if option.startswith("data=")}
        data = min(chosen) if len(chosen) == 1 else None
        for name in sorted(set(names) - {study.name for study in here}) if not others else []:
            config = compose_study(name, budget, None, data if _data_is_open(name) else None)
            own = tuple(run for run in runs if any(set(wanted) <= set(run) for wanted in config.grid))
            if config.folder == folder.resolve().name and len(own) == len(config.grid):
                shared.append(FoundStudy(name, folder, own, searched=False))
    return shared


def _data_is_open(name: str) -> bool:
    """Whether a study leaves its data to who runs it: that of a table of one data set is not another's."""
    defaults = OmegaConf.select(OmegaConf.load(conf_dir() / "study" / f"{name}.yaml"), "defaults")
    return not any("/data" in str(entry) for entry in defaults)


def _rows() -> dict[str, set[str]]:
    """What the rows of each study show, without composing it, which takes its time."""
    paths = (conf_dir() / "study").glob("*.yaml")
    blocks = {path.stem: OmegaConf.select(OmegaConf.load(path), "report") or {} for path in paths}
    return {
        name: {str(shown) for rows in ("rows", "own_rows") for shown in (block.get(rows) or {}).values()}
        for name, block in blocks.items()
    }
