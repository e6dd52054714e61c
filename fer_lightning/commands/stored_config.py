"""Stored config of a run, with which the run is resumed and its data are found, and its W&B group.

A run folder may come from an untrusted source: names, interpolations and output paths in it are checked before use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_yaml_loader
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fer_lightning.errors import UserError, problem_of
from fer_lightning.files import conf_dir, default_cache
from fer_lightning.overrides import literal
from fer_lightning.results.metrics_schema import check_plain
from fer_lightning.training.description import Preprocessing, check_sizes
from fer_lightning.training.registry import check_arguments, look_up, refuse_unknown, with_present_names
from fer_lightning.training.safetensors_weights import read_header

NAME = "config.yaml"
_LARGEST = 1_000_000  # bytes
_NOT_STORED = ("report", "reference", "show")
_OF_RESUMED = ("resume", "plugins", "show")  # options that may be set for a resumed run
_WRITERS = ("logger", "callbacks", "trainer")  # parts that write files
_FOLDERS = ("save_dir", "default_root_dir", "folder", "dir", "dirpath", "root_dir", "log_dir")  # their options
_INSTANTIATED = ("_target_", "_partial_", "_convert_", "_recursive_")
_Share = Annotated[float, Field(ge=0, le=1)]
# As in conf/logger/wandb.yaml; the class itself needs torch, which a report does not import.
_LOGGER = "fer_lightning.training.wandb_logger.WandbRunLogger"


class _Stored(BaseModel):
    model_config = ConfigDict(strict=True)


class _Selection(_Stored):
    monitor: str
    mode: str


class _Mixing(_Stored):
    mixup_alpha: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    cutmix_alpha: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    probability: _Share


class _Data(_Stored):
    batch_size: Annotated[int, Field(ge=1, le=65536)]
    num_workers: Annotated[int, Field(ge=0, le=1024)]
    align_workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    size: Annotated[int, Field(ge=1, le=10_000_000)] = 1
    root: str | None = None
    cache_dir: str


class _Trainer(_Stored):
    accelerator: str
    devices: int | str | list[int]
    num_nodes: int
    strategy: str
    precision: str | int


class _Config(_Stored):
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    output_dir: str
    channels_last: bool
    threads: int | None
    trial: int | None = None
    init: str | None = None
    teacher: str | list[str] | None = None
    corruptions: str | list[str] = []
    selection: _Selection
    mixing: _Mixing
    data: _Data
    trainer: _Trainer
    elsewhere: dict[str, _Data] = {}
    model: dict[str, Any]
    loss: dict[str, Any]
    procedure: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any] | None = None
    logger: dict[str, dict[str, Any] | None] | None = None
    callbacks: dict[str, dict[str, Any] | None] | None = None


def config_of_run(cfg: DictConfig) -> DictConfig:
    """Config of a run: the composed one or, with `resume`, the stored one.

    The report belongs to the study: without it, two studies train a shared run once.

    Raises:
        UserError: Other options are set for a resumed run, or its folder is damaged.
    """
    hydra = HydraConfig.get()
    if cfg.resume is None:
        return group_wandb_runs(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in _NOT_STORED]))
    typed = [option for option in hydra.overrides.task if option.partition("=")[0] not in _OF_RESUMED]
    if typed or hydra.mode == RunMode.MULTIRUN:
        raise UserError("resume=... continues one run exactly as it was configured: omit all other options.")
    folder = Path(cfg.output_dir)
    return with_paths_from_here(read_config(folder), folder)


def with_paths_from_here(cfg: DictConfig, folder: Path) -> DictConfig:
    """Config whose relative paths, if they do not exist here, are those of the folder that the run was started in.

    Raises:
        UserError: The data of the run does not exist.
    """
    start = started_in(folder)
    options = ["data.root", "data.cache_dir", "data.landmark_model"]
    options += [f"elsewhere.{name}.root" for name in cfg.get("elsewhere") or {}]
    options += ["teacher"] if isinstance(cfg.get("teacher"), str) else []
    for name in ("model.checkpoints", "teacher"):
        paths = OmegaConf.select(cfg, name)
        options += [f"{name}.{place}" for place in range(len(paths) if OmegaConf.is_list(paths) else 0)]
    for option in options:
        value = OmegaConf.select(cfg, option)
        if value is None or Path(str(value)).expanduser().exists():
            continue
        from_there = start / str(value)
        if from_there.exists():
            OmegaConf.update(cfg, option, literal(str(from_there)))
        elif option.endswith("root"):
            raise UserError(
                f"{option}={value} of this run no longer exists: restore the data, or change the path in "
                f"{folder / NAME}."
            )
    return cfg


def read_config(folder: Path) -> DictConfig:
    """Stored config of a run, with which it can be resumed; paths in a folder that was moved are changed.

    Raises:
        UserError: The file is damaged, or names an unknown class or an output path outside the folder.
    """
    path = folder / NAME
    values = _checked(folder)
    for part, place, node in _parts(values):
        _check_part(part, place, node, path)
    for part in _WRITERS:
        _check_places(values.get(part), folder, f"{path}: {part}")
    for node in (values["data"], *values.get("elsewhere", {}).values()):
        if not _holds_packed_data(Path(node["cache_dir"])):
            node["cache_dir"] = default_cache()
    return OmegaConf.create(literal({**values, "output_dir": str(folder)}))


def _checked(folder: Path) -> dict[str, Any]:
    """Values of a config after checks of their types; the classes they name are not looked up."""
    path = folder / NAME
    values = with_present_names(read_yaml(path))
    try:
        config = _Config.model_validate(values)
        Preprocessing.model_validate({name: values["data"].get(name) for name in Preprocessing.model_fields})
        for part in ("model", "procedure", "loss"):
            check_sizes(values[part], part)
    except ValidationError as error:
        raise UserError(f"{path}: {problem_of(error)}") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    moved: dict[str, Any] = _moved(values, config.output_dir, str(folder))
    return moved


def places_of(checkpoint: Path) -> dict[str, Any]:
    """Data paths of the run of a run folder or of a checkpoint in it; empty for any other file."""
    if (folder := _run_of(checkpoint)) is None:
        return {}
    data = read_config(folder).data
    return {name: data[name] for name in ("root", "cache_dir") if name in data}


def data_of(checkpoint: Path) -> tuple[str, str | None]:
    """Data set that a network was trained on and its root, read without torch.

    Returns:
        Name of the class of the data set, and its root; `""` and None if the file is damaged or does not name them.
    """
    with suppress(UserError, LookupError, TypeError, AttributeError):
        if folder := _run_of(checkpoint):
            data = _checked(folder)["data"]
            return str(data["_target_"]), data.get("root")
        if checkpoint.suffix == ".safetensors":
            description = read_header(checkpoint)["description"]
            return str(description["data"]["_target_"]), usual_root(description["protocol"]["dataset"])
    return "", None


def _run_of(checkpoint: Path) -> Path | None:
    """Run folder that is or contains a checkpoint; None if there is none."""
    above = checkpoint.absolute().parents
    folder = checkpoint if checkpoint.is_dir() or len(above) < 2 else above[1]
    is_run = (checkpoint.is_dir() or checkpoint.suffix == ".ckpt") and (folder / NAME).is_file()
    return folder if is_run else None


def usual_root(dataset: str) -> str | None:
    """Default root of a data set in the configs; None for an unknown data set or one without a root."""
    path = conf_dir() / "data" / f"{dataset}.yaml"
    if not dataset.isidentifier() or not path.is_file():
        return None
    root: str | None = OmegaConf.select(OmegaConf.load(path), "root")
    return root


def read_yaml(path: Path) -> Any:
    """Content of a YAML file of a run: plain values, in which `${` is literal.

    Raises:
        UserError: The file is missing or damaged, or has anchors or tags, which no run writes.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{path} must have at most {_LARGEST // 1_000_000} MB.")
        text = path.read_text(encoding="utf-8")
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
                raise UserError(f"{path} must hold plain values: it has an anchor or a tag, which no run writes.")
        # A safe loader, which reads numbers as OmegaConf does; tags are refused above.
        values = yaml.load(text, Loader=get_yaml_loader())  # nosec B506 # a safe loader
        check_plain(values)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is damaged: {' '.join(str(error).split())[:200]}") from None
    return values


def read_overrides(folder: Path) -> list[str] | None:
    """Overrides with which a run was started; None if they are not stored.

    Raises:
        UserError: The file is damaged.
    """
    path = folder / ".hydra" / "overrides.yaml"
    if not path.is_file():
        return None
    values = read_yaml(path)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UserError(f"{path} is damaged: it must be a list of options.")
    return values


def shared_overrides(sweep: Path) -> list[str]:
    """What was typed for all runs of the multirun in a folder.

    Raises:
        UserError: `multirun.yaml` is missing or damaged.
    """
    return list(map(str, within_hydra(read_yaml(sweep / "multirun.yaml"), "overrides", "task") or []))


def started_in(folder: Path) -> Path:
    """Working folder in which a run was started; the present one if it is not stored.

    Raises:
        UserError: The file is damaged.
    """
    cwd = within_hydra(stored_hydra(folder), "runtime", "cwd")
    return Path(cwd if isinstance(cwd, str) else "")


def stored_hydra(folder: Path) -> Any:
    """Hydra's own config of a run; empty if it is not stored.

    Raises:
        UserError: The file is damaged.
    """
    path = folder / ".hydra" / "hydra.yaml"
    return read_yaml(path) if path.is_file() else {}


def within_hydra(values: Any, *names: str) -> Any:
    """A value below `hydra`; None if it is not there."""
    for name in ("hydra", *names):
        values = values.get(name) if isinstance(values, Mapping) or OmegaConf.is_dict(values) else None
    return values


def _moved(values: Any, was: str, now: str) -> Any:
    """Values in which paths in the former folder of a run are replaced by those in its present folder."""
    if isinstance(values, dict):
        return {name: _moved(value, was, now) for name, value in values.items()}
    if isinstance(values, list):
        return [_moved(value, was, now) for value in values]
    if isinstance(values, str) and was and (values == was or values.startswith(f"{was}/")):
        return now + values[len(was) :]
    return values


def _parts(values: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Nodes that are instantiated: key of the registry, place in the config, and node."""
    for part in ("model", "data", "loss", "procedure", "optimizer", "trainer"):
        yield part, part, values[part]
    if values.get("scheduler"):
        yield "scheduler", "scheduler", values["scheduler"]
    for part, key in (("data", "elsewhere"), ("logger", "logger"), ("callbacks", "callbacks")):
        for name, node in (values.get(key) or {}).items():
            if node:
                yield part, f"{key}.{name}", node


def _check_part(part: str, place: str, node: dict[str, Any], path: Path) -> None:
    refuse_unknown(node.get("_target_"), part, f"{path}: {place}")
    _check_names(part, place, node, path)
    target = node["_target_"]
    if target.startswith("fer_lightning.") and "checkpoints" not in node:
        plain = {name: value for name, value in node.items() if name not in _INSTANTIATED and not _is_nested(value)}
        check_arguments(look_up(target, part, object, str(path)), plain, f"{path}: {place}")


def _check_nested(part: str, place: str, value: Any, path: Path) -> None:
    if isinstance(value, dict):
        if "_target_" in value:
            refuse_unknown(value["_target_"], part, f"{path}: {place}", nested=True)
        _check_names(part, place, value, path)
    elif isinstance(value, list):
        for number, below in enumerate(value):
            _check_nested(part, f"{place}.{number}", below, path)


def _check_names(part: str, place: str, node: Mapping[str, Any], path: Path) -> None:
    for name, value in node.items():
        if name.startswith("_") and name.endswith("_") and name not in _INSTANTIATED:
            raise UserError(f"{path}: {place} must not have {name}.")
        _check_nested(part, f"{place}.{name}", value, path)


def _is_nested(value: Any) -> bool:
    return any(isinstance(part, dict) for part in (value if isinstance(value, list) else [value]))


def _check_places(value: Any, folder: Path, place: str, name: str = "") -> None:
    """Checks that all output paths are in the folder of the run."""
    if isinstance(value, dict):
        for key, below in value.items():
            _check_places(below, folder, f"{place}.{key}", key)
    elif isinstance(value, list):
        for below in value:
            _check_places(below, folder, place, name)
    elif isinstance(value, str):
        path = Path(value)
        is_path = name in _FOLDERS or path.expanduser().is_absolute() or ".." in path.parts or value.startswith("~")
        if is_path and not path.expanduser().resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{place} must lie in the folder of the run; got {value[:200]}.")


def _holds_packed_data(cache: Path) -> bool:
    """Whether a folder holds packed data; a stored config cannot select a new cache folder."""
    try:
        return any(cache.expanduser().glob("*-*px[13]-*"))
    except (OSError, ValueError, RuntimeError, NotImplementedError):
        return False


def group_wandb_runs(cfg: DictConfig) -> DictConfig:
    """Config of a run; in a multirun, with the W&B group of that multirun unless a group was set.

    The group is part of the config, so that a trial that is resumed separately stays in it.
    """
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return cfg
    grouped = cfg.copy()
    for node in wandb_nodes(grouped):
        if node.group is None:
            node.group = sweep_group(Path(hydra.sweep.dir))
    return grouped


def wandb_nodes(cfg: DictConfig) -> list[DictConfig]:
    """The W&B loggers of a config."""
    nodes = (cfg.get("logger") or {}).values()
    return [node for node in nodes if node and node.get("_target_") == _LOGGER]


def sweep_group(folder: Path) -> str:
    """Name of the W&B group of the sweep in a folder."""
    return folder.resolve().name
