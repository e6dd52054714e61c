"""Objects of a composed config: data, networks, losses, trainers and loggers."""

from __future__ import annotations

import inspect
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
from pytorch_lightning.callbacks import ProgressBar
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
from fer_lightning.training.description import class_shares
from fer_lightning.training.mixup import Mixing
from fer_lightning.training.registry import check_arguments, known, look_up
from fer_lightning.training.trainer_options import SUPPORTED, StopAfterSteps, keep_freed_memory, resolve_precision
from fer_lightning.training.voting import load_members

if TYPE_CHECKING:
    from fer_lightning.training.callbacks import TrialReport

log = logging.getLogger(__name__)

# Tips of Lightning and its list of unavailable devices.
logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)

for message in (
    "Found .* in eval mode at the start of training",  # the members of a vote stay in it
    "You are using a custom batch sampler",  # ours yields every row of an evaluation split
    "Checkpoint directory .* exists and is not empty",  # a resumed run
    "The number of training batches .* is smaller than the logging interval",  # curves have one point per epoch
    ".*isinstance.treespec, LeafSpec.",  # of PyTorch, about Lightning
):
    warnings.filterwarnings("ignore", message)

# Options of the data that define the preprocessing of a network.
PREPROCESSING = ("image_size", "channels", "mean", "std", "align", "side")


def plain(cfg: DictConfig) -> Any:
    """Resolved config as plain containers, which torch.load accepts with `weights_only`."""
    return OmegaConf.to_container(cfg, resolve=True)


def build(node: Any, omit: Sequence[str] = (), **extra: Any) -> Any:
    """Instantiates a config node without the options `omit`; `extra` arguments replace those of the node.

    Raises:
        UserError: An argument is invalid.
    """
    node_left = node.copy()
    with open_dict(node_left):
        for name in {*extra, *omit} & set(node_left):  # their interpolations may not resolve
            del node_left[name]
    # Hydra resolves a node and then its values again, so literal values are escaped twice.
    values = literal(literal(OmegaConf.to_container(node_left, resolve=True)))
    try:
        return instantiate(values, _convert_="all", **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, (ValueError, TypeError, UserWarning, ImportError, MisconfigurationException)):
            # The innermost of nested nodes. Messages of pydantic, which albumentations uses, have several lines.
            match = re.match(r"Error in call to target '([^']+)'", str(error))
            target = match[1] if match else node.get("_target_", "config")
            if isinstance(node, DictConfig) and target == node.get("_target_"):
                target = node._get_full_key(None) or target  # as its options are typed
            message = re.sub(r" \[type=[^]]*\]| For further information visit \S+", "", " ".join(str(cause).split()))
            raise UserError(f"{target}: {message}") from error
        raise


def build_datamodule(cfg: DictConfig) -> ExpressionDataModule:
    """Data of a config, after `setup`.

    Raises:
        UserError: The config selects no data set, or its files or options are invalid.
    """
    if "_target_" not in cfg.data:
        raise UserError("data must be a data set; got a group without _target_: choose one with data=...")
    datamodule: ExpressionDataModule = build(cfg.data)
    datamodule.setup()
    return datamodule


def build_net(cfg: DictConfig, num_classes: int) -> nn.Module:
    """Network of a config, with random weights from the seed of the run; a vote has the weights of its members."""
    pl.seed_everything(cfg.seed, verbose=False)
    if "checkpoints" not in cfg.model:
        return build(cfg.model, num_classes=num_classes)
    members = [load_net(Path(checkpoint)).net for checkpoint in cfg.model.checkpoints]
    return get_class(cfg.model._target_)(num_classes=num_classes, members=members, **_views(cfg))


def _views(cfg: DictConfig) -> dict[str, Any]:
    """Test-time augmentation of a vote; configs of earlier versions have `mirror`."""
    return {name: cfg.model[name] for name in ("tta", "mirror") if name in cfg.model}


def describe_model(cfg: DictConfig, datamodule: ExpressionDataModule) -> dict[str, Any]:
    """Description from which `load_net` rebuilds a network: its config; for a vote, the configs of its members.

    Raises:
        UserError: The members of a vote do not match each other or the data.
    """
    if "checkpoints" not in cfg.model:
        return plain(cfg.model)
    members = load_members(list(cfg.model.checkpoints), datamodule.protocol, preprocessing_of(cfg))
    models = [member.description["model"] for member in members]
    return {"_target_": cfg.model._target_, "members": models, **_views(cfg)}


def preprocessing_of(cfg: DictConfig) -> dict[str, Any]:
    """Preprocessing of the images of a network."""
    data = plain(cfg.data)
    return {name: data[name] for name in PREPROCESSING}


def build_classifier(cfg: DictConfig, net: nn.Module, datamodule: ExpressionDataModule) -> ExpressionClassifier:
    """LightningModule of a network with the loss, optimizer, schedule and procedure of a config.

    Raises:
        UserError: The loss, the mixing or the procedure does not match the network.
    """
    classes = datamodule.label_set.classes
    _warn_of_normalisation(net, datamodule)
    mixing = Mixing(cfg.mixing.mixup_alpha, cfg.mixing.cutmix_alpha, cfg.mixing.probability, len(classes))
    loss = build_loss(cfg, net, datamodule.class_counts("train"))
    return build(cfg.procedure)(
        net=net,
        loss=loss,
        num_classes=len(classes),
        optimizer=build(cfg.optimizer),
        scheduler=build(cfg.scheduler) if cfg.scheduler else None,
        mixing=mixing,
        channels_last=cfg.channels_last,
        compile_net=cfg.trainer.get("compile", False),
        description={
            "model": describe_model(cfg, datamodule),
            "classes": list(classes),
            "protocol": datamodule.protocol.to_dict(),
            "preprocessing": preprocessing_of(cfg),
            "data": {**plain(cfg.data), "transforms": []},
            "training_prior": class_shares(datamodule, loss),
        },
    )


def _warn_of_normalisation(net: nn.Module, datamodule: ExpressionDataModule) -> None:
    """Logs a warning if images are normalised differently from those the weights were pretrained on."""
    wanted = getattr(net, "normalisation", None)
    if wanted is None:
        return
    used, expected = (
        [np.resize(values, datamodule.channels) for values in pair]
        for pair in ((datamodule.mean, datamodule.std), wanted)
    )
    if not np.allclose(used, expected, atol=0.01):
        options = " ".join(
            f"data.{name}=[{','.join(f'{value:.3g}' for value in values)}]"
            for name, values in zip(("mean", "std"), wanted)
        )
        log.warning("The pretrained weights were trained with %s: use these values.", options)


def build_loss(cfg: DictConfig, net: nn.Module, class_counts: list[int]) -> nn.Module:
    """Loss of a config, called with `class_counts` if its signature has them.

    A loss with `needs_features` also gets the size of the embedding.

    Raises:
        UserError: The loss needs an embedding and the network has none.
    """
    loss = get_class(cfg.loss._target_)
    parameters = inspect.signature(loss).parameters.values()
    takes_counts = any(each.name == "class_counts" or each.kind is each.VAR_KEYWORD for each in parameters)
    extra: dict[str, Any] = {"class_counts": class_counts} if takes_counts else {}
    if getattr(loss, "needs_features", False):
        if not hasattr(net, "forward_features"):
            raise UserError(f"loss={cfg.loss._target_} needs an embedding; {type(net).__name__} has none.")
        extra["embed_dim"] = net.embed_dim
    return build(cfg.loss, **extra)


def build_each(nodes: DictConfig | None) -> list[Any]:
    """Loggers or callbacks of a config, in its order."""
    return [build(node) for node in nodes.values() if node] if nodes else []


def build_trainer(
    cfg: DictConfig, callbacks: list[pl.Callback], loggers: list[Logger], bars: bool = True
) -> pl.Trainer:
    """Lightning trainer of a config, with progress bars unless `bars` or `trainer.enable_progress_bar` is false.

    Raises:
        UserError: The devices are not available.
    """
    keep_freed_memory()
    bars = bars and cfg.trainer.get("enable_progress_bar", True)
    if not bars:  # Lightning refuses them then
        callbacks = [callback for callback in callbacks if not isinstance(callback, ProgressBar)]
    if (max_steps := cfg.trainer.get("max_steps", -1)) != -1:
        callbacks = [StopAfterSteps(max_steps), *callbacks]
    return build(
        cfg.trainer,
        omit=["compile"],
        max_steps=-1,
        enable_progress_bar=bars,
        precision=resolve_precision(cfg.trainer.precision, cfg.trainer.accelerator),
        callbacks=callbacks,
        logger=loggers or False,
    )


def limit_threads(cfg: DictConfig) -> None:
    """Applies `threads`; null keeps the default of OMP_NUM_THREADS or torch."""
    if cfg.threads is not None:
        if cfg.threads not in range(1, (os.cpu_count() or 1) + 1):
            raise UserError(f"threads must be from 1 to {os.cpu_count()}, the number of cores; got {cfg.threads}.")
        torch.set_num_threads(cfg.threads)


def check_optimizer(cfg: DictConfig) -> None:
    """Checks the options of the optimizer and its schedule before training begins.

    Raises:
        UserError: An option is invalid.
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
    """Checks that network, data and mixing match each other, and that the checkpoint of the network may be loaded.

    Raises:
        UserError: They do not match, or the network is of a package that is not in `plugins`.
    """
    target = cfg.model.get("_target_")
    if target is not None and not known(target, "model"):
        raise UserError(
            f"plugins must name the package of the network, whose checkpoint is loaded after training; the network is "
            f"{target}: add plugins=[{target.partition('.')[0]}]."
        )
    expected, side = cfg.model.get("side", "none"), cfg.data.get("side", "none")
    if side != expected and "_target_" in cfg.data:
        raise UserError(f"data.side must be {expected}, the auxiliary input of the network; got {side}: omit it.")
    if side != "none" and (cfg.mixing.mixup_alpha or cfg.mixing.cutmix_alpha):
        raise UserError(
            "mixing must be off for a network with an auxiliary input, which is not mixed: use mixing.mixup_alpha=0 "
            "mixing.cutmix_alpha=0."
        )
    if isinstance(checkpoints := cfg.model.get("checkpoints"), str):
        raise UserError(f"model.checkpoints must be a list of runs; got {checkpoints}: use [runA,runB].")


# Options that affect only where and how fast a run is computed, and may change before it is resumed.
_PLACES = {"checkpoints", "root", "cache_dir", "landmark_model", "num_workers", "align_workers", "store"}


def decisive_options(cfg: DictConfig) -> dict[str, Any]:
    """Options that decide what is trained, by their dotted names."""
    parts = ("model", "data", "loss", "procedure", "optimizer", "scheduler", "mixing", "selection")
    options = {f"{part}.{name}": value for part in parts for name, value in (plain(cfg)[part] or {}).items()}
    options |= {f"trainer.{name}": cfg.trainer[name] for name in (*SUPPORTED, "precision") if name in cfg.trainer}
    options["seed"] = cfg.seed
    return {name: value for name, value in options.items() if name.partition(".")[2] not in _PLACES}


@contextmanager
def trial_of(cfg: DictConfig) -> Iterator[TrialReport | None]:
    """Context in which the trial of a run is claimed by this process.

    Yields:
        Callback that reports to the search; None for a run without one, or that the user resumes.
    """
    hydra_config = HydraConfig.get()
    if cfg.trial is None or hydra_config.mode != RunMode.MULTIRUN:
        yield None
        return
    # Imported here, because only a trial needs a database.
    from fer_lightning.search.storage import keep_trial
    from fer_lightning.training.callbacks import TrialReport

    folder, options = Path(hydra_config.sweep.dir), hydra_config.sweeper
    name = options.study_name or folder.name
    with keep_trial(cfg.trial, name, options.storage, folder, build(options.pruner), options.lease) as (study, trial):
        yield TrialReport(study, trial, cfg.selection.monitor)


def compose_net(config: str, overrides: Sequence[str], num_classes: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Network of a command's config with these overrides, composed while Hydra runs, and its inputs (`one_picture`).

    Raises:
        UserError: An option of the network is invalid.
    """
    cfg = hydra.compose(config, list(overrides))
    layout = torch.channels_last if cfg.channels_last else torch.contiguous_format
    net = build_net(cfg, num_classes).to(memory_format=layout)
    image, *side = one_picture(cfg.data)
    return net, (image.contiguous(memory_format=layout), *side)


def one_picture(preprocessing: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """Arguments of a network's `forward` for one image: noise `(1, C, H, W)`, and zeros for an auxiliary input."""
    channels, size, side = (preprocessing[name] for name in ("channels", "image_size", "side"))
    image = torch.randn(1, channels, size, size)
    return (image,) if side == "none" else (image, torch.zeros(1, SIDE_SIZES[side]))


def data_for(cfg: DictConfig, trained: TrainedNet) -> ExpressionDataModule:
    """Data of the config, or else of the training run, with the preprocessing of the network."""
    preprocessing = trained.description["preprocessing"]
    if "_target_" in cfg.data:
        typed = {override.partition("=")[0] for override in HydraConfig.get().overrides.task}
        for name, value in preprocessing.items():
            if f"data.{name}" in typed and cfg.data[name] != value:
                log.warning("data.%s=%s is ignored: the network was trained with %s.", name, cfg.data[name], value)
        datamodule: ExpressionDataModule = build(cfg.data, **preprocessing)
    else:
        options = {name: value for name, value in plain(cfg.data).items() if value is not None}
        # A stored file must not decide where files are read or written.
        stored = {name: value for name, value in trained.description["data"].items() if name not in PLACES}
        here: dict[str, Any] = {"landmark_model": None, "align_workers": None, "transforms": []}
        arguments = {**_places(cfg, trained), **stored, **here, **options}
        where = f"checkpoint={cfg.checkpoint}"
        dataset = look_up(arguments.pop("_target_", None), "data", ExpressionDataModule, where)
        try:
            check_arguments(dataset, arguments, where)
            datamodule = dataset(**arguments)
        except (TypeError, ValueError, UserError) as error:
            raise UserError(
                f"{where} was written by another version, whose data had other options: choose the data, for example "
                f"data=fer2013. ({error})"
            ) from None
    datamodule.setup()
    trained_on = trained.description["protocol"]
    same_dataset = datamodule.protocol.dataset == trained_on["dataset"]
    if same_dataset and datamodule.protocol.fingerprint != trained_on["fingerprint"]:
        log.warning(
            "The network was trained on another split or copy of %s: the scored images may include training images.",
            trained_on["dataset"],
        )
    return datamodule


def _places(cfg: DictConfig, trained: TrainedNet) -> dict[str, Any]:
    """Paths of the data of a network, from its run folder or else from the config of its data set."""
    name = trained.description["protocol"]["dataset"]
    usual = {"root": usual_root(name), "cache_dir": default_cache()}
    return usual | (places_of(Path(str(cfg.checkpoint)).expanduser()) if cfg.data.root is None else {})
