"""From a composed config to objects: data, networks, losses, trainers and loggers."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import numpy as np
import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from fer_lightning.commands.stored_config import places_of, usual_root
from fer_lightning.data.auxiliary import SIDE_SIZES
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.errors import UserError
from fer_lightning.files import default_cache
from fer_lightning.inference.card import PLACES
from fer_lightning.overrides import literal
from fer_lightning.training.checkpoints import TrainedNet, load_net
from fer_lightning.training.classifier import ExpressionClassifier
from fer_lightning.training.mixup import Mixing
from fer_lightning.training.registry import check_arguments, look_up
from fer_lightning.training.trainer_options import SUPPORTED, StopAfterSteps
from fer_lightning.training.voting import load_members

if TYPE_CHECKING:
    from fer_lightning.training.callbacks import TrialReport

log = logging.getLogger(__name__)


# Lightning's tips and its list of devices that are not there say nothing about a run.
logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


for message in (
    "Found .* in eval mode at the start of training",  # the members of a vote stay in it
    "You are using a custom batch sampler",  # ours yields every row of an evaluation split
    "Checkpoint directory .* exists and is not empty",  # a resumed run
    "The number of training batches .* is smaller than the logging interval",  # curves have a point an epoch anyway
    ".*isinstance.treespec, LeafSpec.",  # between Lightning and PyTorch
):
    warnings.filterwarnings("ignore", message)

# What of the data a network depends on besides the pixels themselves.
PREPROCESSING = ("image_size", "channels", "mean", "std", "align", "side")


def plain(cfg: DictConfig) -> Any:
    """The resolved config as plain containers, which any later torch.load accepts."""
    return OmegaConf.to_container(cfg, resolve=True)


def build(node: Any, **extra: Any) -> Any:
    """Instantiates a config node; a mistake of the user keeps its own words.

    Raises:
        UserError: The node's values were refused.
    """
    given = node.copy()
    with open_dict(given):
        for name in extra.keys() & set(given):  # what they refer to may not be there
            del given[name]
    # Hydra resolves a node and then resolves its values once more: what stands for itself must do so twice.
    values = literal(literal(OmegaConf.to_container(given, resolve=True)))
    try:
        return instantiate(values, _convert_="all", **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, (ValueError, TypeError, UserWarning, ImportError, MisconfigurationException)):
            # The innermost of nested nodes; pydantic, which albumentations checks with, needs lines and a web address.
            named = re.match(r"Error in call to target '([^']+)'", str(error))
            target = named[1] if named else node.get("_target_", "config")
            if isinstance(node, DictConfig) and target == node.get("_target_"):
                target = node._get_full_key(None) or target  # as its options are typed
            told = re.sub(r" \[type=[^]]*\]| For further information visit \S+", "", " ".join(str(cause).split()))
            raise UserError(f"{target}: {told}") from error
        raise


def build_datamodule(cfg: DictConfig) -> ExpressionDataModule:
    """The dataset of a config, scanned, packed and split.

    Raises:
        UserError: The config names no dataset, or its files or options are refused.
    """
    if "_target_" not in cfg.data:
        raise UserError("data must be a data set, and has no _target_: choose one with data=...")
    datamodule: ExpressionDataModule = build(cfg.data)
    datamodule.setup()
    return datamodule


def build_net(cfg: DictConfig, num_classes: int) -> nn.Module:
    """The network of a config, with weights drawn from the seed of the run; a vote has those of its members."""
    pl.seed_everything(cfg.seed, verbose=False)
    if "checkpoints" not in cfg.model:
        return build(cfg.model, num_classes=num_classes)
    members = [load_net(Path(checkpoint)).net for checkpoint in cfg.model.checkpoints]
    return get_class(cfg.model._target_)(num_classes=num_classes, members=members, mirror=cfg.model.mirror)


def describe_model(cfg: DictConfig, datamodule: ExpressionDataModule) -> dict[str, Any]:
    """What `load_net` rebuilds the network from: its config; for a vote, the descriptions of its members.

    Raises:
        UserError: The members of a vote do not fit together, or not to the data.
    """
    if "checkpoints" not in cfg.model:
        return plain(cfg.model)
    members = load_members(list(cfg.model.checkpoints), datamodule.protocol, preprocessing_of(cfg))
    described = [member.description["model"] for member in members]
    return {"_target_": cfg.model._target_, "members": described, "mirror": cfg.model.mirror}


def preprocessing_of(cfg: DictConfig) -> dict[str, Any]:
    """What a network needs to know of the data it was trained on, beside the protocol."""
    data = plain(cfg.data)
    return {key: data[key] for key in PREPROCESSING}


def build_classifier(cfg: DictConfig, net: nn.Module, datamodule: ExpressionDataModule) -> ExpressionClassifier:
    """The network with its loss, optimizer, schedule and procedure.

    Raises:
        UserError: The loss, the mixing or the procedure does not fit the network.
    """
    classes = datamodule.label_set.classes
    _tell_normalisation(net, datamodule)
    mixing = Mixing(cfg.mixing.mixup_alpha, cfg.mixing.cutmix_alpha, cfg.mixing.probability, len(classes))
    return build(cfg.procedure)(
        net=net,
        loss=build_loss(cfg, net, datamodule.class_counts("train")),
        num_classes=len(classes),
        optimizer=build(cfg.optimizer),
        scheduler=build(cfg.scheduler) if cfg.scheduler else None,
        mixing=mixing,
        channels_last=cfg.channels_last,
        description={
            "model": describe_model(cfg, datamodule),
            "classes": list(classes),
            "protocol": datamodule.protocol.to_dict(),
            "preprocessing": preprocessing_of(cfg),
            "data": {**plain(cfg.data), "transforms": []},
        },
    )


def _tell_normalisation(net: nn.Module, datamodule: ExpressionDataModule) -> None:
    """Warns where pretrained weights meet images that are normalised in another way than those they come from."""
    wanted = getattr(net, "normalisation", None)
    if wanted is None:
        return
    mean, std = (np.resize(values, datamodule.channels) for values in (datamodule.mean, datamodule.std))
    if not (
        np.allclose(mean, np.resize(wanted[0], len(mean)), atol=0.01)
        and np.allclose(std, np.resize(wanted[1], len(std)), atol=0.01)
    ):
        told = " ".join(
            f"data.{name}=[{','.join(f'{value:.3g}' for value in values)}]"
            for name, values in zip(("mean", "std"), wanted)
        )
        log.warning("The pretrained weights were trained with %s; other values handicap them.", told)


def build_loss(cfg: DictConfig, net: nn.Module, class_counts: list[int]) -> nn.Module:
    """The loss of a config; one that judges embeddings too is told their size.

    Raises:
        UserError: The loss judges embeddings and the network has none.
    """
    if not getattr(get_class(cfg.loss._target_), "needs_features", False):
        return build(cfg.loss, class_counts=class_counts)
    if not hasattr(net, "forward_features"):
        raise UserError(f"loss={cfg.loss._target_} needs an embedding, which {type(net).__name__} does not have.")
    return build(cfg.loss, class_counts=class_counts, embed_dim=net.embed_dim)


def build_each(nodes: DictConfig | None) -> list[Any]:
    """The loggers or callbacks of a config, in its order; none where no choice was made."""
    return [build(node) for node in nodes.values() if node] if nodes else []


def build_trainer(cfg: DictConfig, callbacks: list[pl.Callback], loggers: list[Logger]) -> pl.Trainer:
    """The Lightning trainer of a config.

    Raises:
        UserError: The devices asked for are not there.
    """
    if (max_steps := cfg.trainer.get("max_steps", -1)) != -1:
        callbacks = [StopAfterSteps(max_steps), *callbacks]
    return build(
        cfg.trainer,
        max_steps=-1,
        precision=resolve_precision(cfg.trainer.precision, cfg.trainer.accelerator),
        callbacks=callbacks,
        logger=loggers or False,
    )


def resolve_precision(precision: str, accelerator: str) -> str:
    """Chooses the fastest precision that trains as well as fp32 where `auto` is asked for.

    bf16 autocast on processors and GPUs that compute in it, fp32 elsewhere.
    """
    if precision != "auto":
        return precision
    if torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda"):
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    return "bf16-mixed" if "avx512_bf16" in flags or "amx_bf16" in flags else "32-true"


def limit_threads(cfg: DictConfig) -> None:
    """Applies `threads`; null leaves the choice to OMP_NUM_THREADS or torch."""
    if cfg.threads is not None:
        if cfg.threads not in range(1, (os.cpu_count() or 1) + 1):
            raise UserError(f"threads={cfg.threads} is out of range: this machine has {os.cpu_count()} cores.")
        torch.set_num_threads(cfg.threads)


def check_optimizer(cfg: DictConfig) -> None:
    """Refuses values that the optimizer or its schedule would refuse when training begins.

    Raises:
        UserError: Says which of the two refuses what.
    """
    name = "optimizer"
    try:
        optimizer = build(cfg.optimizer)([nn.Parameter(torch.zeros(1))])
        name = "scheduler"
        if cfg.scheduler:
            build(cfg.scheduler)(optimizer, 100, 10)
    except (ValueError, TypeError, RuntimeError) as error:
        message = " ".join(str(error).split())
        raise UserError(message if message.startswith(f"{name}.") else f"{name}: {message}") from error


def check_parts(cfg: DictConfig) -> None:
    """Refuses a network, data and mixing that do not fit together.

    Raises:
        UserError: Says which of them does not fit.
    """
    wanted, given = cfg.model.get("side", "none"), cfg.data.get("side", "none")
    if given != wanted and "_target_" in cfg.data:
        raise UserError(f"data.side={given} does not fit the net, which takes {wanted}: leave data.side away.")
    if given != "none" and (cfg.mixing.mixup_alpha or cfg.mixing.cutmix_alpha):
        raise UserError("mixing would mix images but not their side vectors: set both of its alphas to 0 for this net.")
    if isinstance(checkpoints := cfg.model.get("checkpoints"), str):
        raise UserError(f"model.checkpoints={checkpoints} is one run: a vote needs a list, [runA,runB].")


# Options that say where and how fast a run is computed, and may change while it is stopped.
_PLACES = {"checkpoints", "root", "cache_dir", "landmark_model", "num_workers", "align_workers", "store"}


def decisive_options(cfg: DictConfig) -> dict[str, Any]:
    """The options that decide what is trained, by the names under which they are typed."""
    parts = ("model", "data", "loss", "procedure", "optimizer", "scheduler", "mixing", "selection")
    options = {f"{part}.{name}": value for part in parts for name, value in (plain(cfg)[part] or {}).items()}
    options |= {f"trainer.{name}": cfg.trainer[name] for name in (*SUPPORTED, "precision") if name in cfg.trainer}
    options["seed"] = cfg.seed
    return {name: value for name, value in options.items() if name.partition(".")[2] not in _PLACES}


@contextmanager
def trial_of(cfg: DictConfig) -> Iterator[TrialReport | None]:
    """Keeps the trial of a run claimed as long as the block lasts.

    Args:
        cfg: Config of the run; `trial` is the number that the sweeper gave it.

    Yields:
        The callback that reports to the search; None where the run belongs to none, or is continued by hand.
    """
    hydra_config = HydraConfig.get()
    if cfg.trial is None or hydra_config.mode != RunMode.MULTIRUN:
        yield None
        return
    # Only a trial needs a database.
    from fer_lightning.search.storage import keep_trial
    from fer_lightning.training.callbacks import TrialReport

    folder, options = Path(hydra_config.sweep.dir), hydra_config.sweeper
    name = options.study_name or folder.name
    with keep_trial(cfg.trial, name, options.storage, folder, build(options.pruner), options.lease) as (study, trial):
        yield TrialReport(study, trial, cfg.selection.monitor)


def compose_net(config: str, overrides: Sequence[str], num_classes: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Composes a config once more, with other choices, and builds its network.

    Works while a command runs: Hydra is then initialised with the same `conf/`.

    Args:
        config: Name of the command's config.
        overrides: As on the command line.
        num_classes: Number K of classes.

    Returns:
        The network and the arguments of its `forward` for one picture; side vectors are 0, those of no face.

    Raises:
        UserError: The network refuses its options.
    """
    cfg = hydra.compose(config, list(overrides))
    layout = torch.channels_last if cfg.channels_last else torch.contiguous_format
    net = build_net(cfg, num_classes).to(memory_format=layout)
    image, *side = one_picture(cfg.data)
    return net, (image.contiguous(memory_format=layout), *side)


def one_picture(preprocessing: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """Arguments of a network's `forward` for one picture: noise `(1, C, H, W)`, and side vectors of 0 if it takes them.

    Args:
        preprocessing: `channels`, `image_size` and `side` of the network.
    """
    channels, size, side = (preprocessing[name] for name in ("channels", "image_size", "side"))
    image = torch.randn(1, channels, size, size)
    return (image,) if side == "none" else (image, torch.zeros(1, SIDE_SIZES[side]))


def data_for(cfg: DictConfig, trained: TrainedNet) -> ExpressionDataModule:
    """The data of the config, or the one of the training run, in the network's own preprocessing."""
    preprocessing = trained.description["preprocessing"]
    if "_target_" in cfg.data:
        for name, value in preprocessing.items():
            if _typed(f"data.{name}") and cfg.data[name] != value:
                log.warning("data.%s=%s is left aside: the net was trained with %s.", name, cfg.data[name], value)
        datamodule: ExpressionDataModule = build(cfg.data, **preprocessing)
    else:
        moved = {name: value for name, value in plain(cfg.data).items() if value is not None}
        # A file never chooses where something is read or written.
        stored = {name: value for name, value in trained.description["data"].items() if name not in PLACES}
        here: dict[str, Any] = {"landmark_model": None, "align_workers": None, "transforms": []}
        arguments = {**_places(cfg, trained), **stored, **here, **moved}
        where = f"checkpoint={cfg.checkpoint}"
        dataset = look_up(arguments.pop("_target_", None), "data", ExpressionDataModule, where)
        try:
            check_arguments(dataset, arguments, where)
            datamodule = dataset(**arguments)
        except (TypeError, ValueError, UserError) as error:
            raise UserError(
                f"{where} was written by another version, whose data had other options: name the data, for example "
                f"data=fer2013. ({error})"
            ) from None
    datamodule.setup()
    own = trained.description["protocol"]
    if datamodule.protocol.dataset == own["dataset"] and datamodule.protocol.fingerprint != own["fingerprint"]:
        log.warning(
            "The network was trained on another split or copy of %s: rows it has seen may be among those scored here.",
            own["dataset"],
        )
    return datamodule


def _places(cfg: DictConfig, trained: TrainedNet) -> dict[str, Any]:
    """Where the data of a network lies: where its run folder says, else where the config looks for it."""
    name = trained.description["protocol"]["dataset"]
    usual = {"root": usual_root(name), "cache_dir": default_cache()}
    return usual | (places_of(Path(str(cfg.checkpoint)).expanduser()) if cfg.data.root is None else {})


def _typed(option: str) -> bool:
    return any(override.partition("=")[0] == option for override in HydraConfig.get().overrides.task)
