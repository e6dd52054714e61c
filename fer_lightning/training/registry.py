"""Registry of the classes that a stored file may name: those of this package's configs, and those the user trusts.

Checkpoints, exported networks and the configs of runs name classes. They are looked up here before anything is
imported, so that a file never decides which code runs. The command line may name any class.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from fer_lightning.errors import UserError, problem_of

_TRANSFORMS = tuple(
    f"albumentations.{name}"
    for name in (
        "Affine",
        "CLAHE",
        "CoarseDropout",
        "GaussNoise",
        "GaussianBlur",
        "HorizontalFlip",
        "Illumination",
        "ImageCompression",
        "MotionBlur",
        "OneOf",
        "Perspective",
        "RandomBrightnessContrast",
        "RandomGamma",
        "RandomShadow",
        "Sequential",
        "ShotNoise",
    )
)
# By part of a config: the classes of the part itself, and those nested in it.
KNOWN: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "model": (
        (
            "fer_lightning.models.attention_cnn.AttentionCNN",
            "fer_lightning.models.attention_transformer.AttentionTransformer",
            "fer_lightning.models.dan.DAN",
            "fer_lightning.models.hafem.HAFEM",
            "fer_lightning.models.multimodal_fusion.MultimodalFusion",
            "fer_lightning.models.psysfa_net.PsySFANet",
            "fer_lightning.models.resnet.ResNet",
            "fer_lightning.models.timm_net.TimmNet",
            "fer_lightning.models.two_stage.TwoStage",
            "fer_lightning.models.vit.ViT",
            "fer_lightning.models.weighted_voting.WeightedVoting",
        ),
        (),
    ),
    "data": (
        (
            "fer_lightning.data.affectnet.AffectNet",
            "fer_lightning.data.ckplus.CKPlus",
            "fer_lightning.data.fer2013.FER2013",
            "fer_lightning.data.ferplus.FERPlus",
            "fer_lightning.data.folder.Folder",
            "fer_lightning.data.rafdb.RAFDB",
            "fer_lightning.data.synthetic.Synthetic",
        ),
        ("fer_lightning.data.batch_transforms.BatchTransforms", *_TRANSFORMS),
    ),
    "loss": (
        (
            "fer_lightning.losses.compound.CompoundLoss",
            "fer_lightning.losses.cross_entropy.CrossEntropy",
            "fer_lightning.losses.distillation.Distillation",
            "fer_lightning.losses.label_smoothing.DistributionAwareCrossEntropy",
        ),
        (),
    ),
    "procedure": (
        (
            "fer_lightning.training.gan_augmentation.AdversarialAugmentation",
            "fer_lightning.training.classifier.ExpressionClassifier",
            "fer_lightning.training.voting.VoteFitting",
        ),
        (
            "fer_lightning.models.conditional_gan.Discriminator",
            "fer_lightning.models.conditional_gan.Generator",
            "torch.optim.Adam",
        ),
    ),
    "optimizer": (("torch.optim.Adam", "torch.optim.AdamW", "torch.optim.SGD"), ()),
    "scheduler": (
        (
            "fer_lightning.training.schedulers.one_cycle",
            "fer_lightning.training.schedulers.plateau",
            "fer_lightning.training.schedulers.warmup_cosine",
        ),
        (),
    ),
    "trainer": (
        ("pytorch_lightning.Trainer",),
        (
            "fer_lightning.training.callbacks.AtomicCheckpoints",
            "pytorch_lightning.plugins.environments.SLURMEnvironment",
            "pytorch_lightning.profilers.SimpleProfiler",
        ),
    ),
    "logger": (
        (
            "fer_lightning.training.mlflow_logger.MLflowRunLogger",
            "fer_lightning.training.wandb_logger.WandbRunLogger",
            "pytorch_lightning.loggers.CSVLogger",
            "pytorch_lightning.loggers.TensorBoardLogger",
        ),
        (),
    ),
    "callbacks": (
        (
            "fer_lightning.explain.callback.GradCAMPanels",
            "fer_lightning.training.callbacks.EarlyStopping",
            "fer_lightning.training.gan_augmentation.GeneratedFaces",
            "fer_lightning.training.trainer_options.EpochBar",
            "fer_lightning.training.trainer_options.MovingAverage",
        ),
        (),
    ),
}
# Names of classes in version 0.1, whose files contain them, and their present names.
FORMER: Mapping[str, str] = {
    "fer_lightning.explain.training_panels.GradCAMPanels": "fer_lightning.explain.callback.GradCAMPanels",
    "fer_lightning.search.repeatable.RepeatableSampler": "fer_lightning.search.resumable.RepeatableSampler",
    "fer_lightning.training.adversarial.AdversarialAugmentation": (
        "fer_lightning.training.gan_augmentation.AdversarialAugmentation"
    ),
    "fer_lightning.training.early_stopping.EarlyStopping": "fer_lightning.training.callbacks.EarlyStopping",
    "fer_lightning.training.generated_faces.GeneratedFaces": "fer_lightning.training.gan_augmentation.GeneratedFaces",
    "fer_lightning.training.saving.AtomicCheckpoints": "fer_lightning.training.callbacks.AtomicCheckpoints",
    "fer_lightning.training.schedules.one_cycle": "fer_lightning.training.schedulers.one_cycle",
    "fer_lightning.training.schedules.plateau": "fer_lightning.training.schedulers.plateau",
    "fer_lightning.training.schedules.warmup_cosine": "fer_lightning.training.schedulers.warmup_cosine",
    "pytorch_lightning.callbacks.RichProgressBar": "fer_lightning.training.trainer_options.EpochBar",
    "pytorch_lightning.callbacks.EMAWeightAveraging": "fer_lightning.training.trainer_options.MovingAverage",
}
_trusted: tuple[str, ...] = ()


def present_name(name: str) -> str:
    """Present dotted name of a class from its present or former one."""
    return FORMER.get(name, name)


def with_present_names(values: Any) -> Any:
    """Plain values of a stored config, with the present name in each `_target_`."""
    if isinstance(values, list):
        return [with_present_names(value) for value in values]
    if not isinstance(values, dict):
        return values
    return {
        key: present_name(value) if key == "_target_" and isinstance(value, str) else with_present_names(value)
        for key, value in values.items()
    }


def trust(packages: Iterable[str]) -> None:
    """Sets the packages whose classes stored files may name as well, replacing those set before.

    Args:
        packages: Dotted names of packages, modules or classes; `plugins=[...]` on the command line.

    Raises:
        UserError: A name is not a dotted name, or no package of this name can be imported.
    """
    global _trusted
    names = tuple(packages)
    for name in names:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise UserError(f"plugins must be names of Python packages, as in plugins=[mypackage]; got {name!r}.")
        package = name.partition(".")[0]
        if find_spec(package) is None:
            raise UserError(
                f"plugins=[{name}] must name an installed Python package; there is none named {package}: install it, "
                "or put the folder that holds it on the path, as in export PYTHONPATH=$PWD."
            )
    _trusted = names


def known(name: object, part: str, nested: bool = False) -> bool:
    """Whether a stored file may name a class as, or nested in, a part of a config, a key of `KNOWN`.

    Nothing is imported.
    """
    if not isinstance(name, str):
        return False
    return present_name(name) in KNOWN[part][nested] or any(
        name == package or name.startswith(f"{package}.") for package in _trusted
    )


def look_up(name: object, part: str, kind: type, where: str) -> Any:
    """Class that a stored file names.

    Args:
        name: Name in the file.
        part: Part of the config, a key of `KNOWN`.
        kind: Required base class; `object` allows functions as well.
        where: The file, for messages.

    Raises:
        UserError: The class is not known, not installed, or not of this kind.
    """
    refuse_unknown(name, part, where)
    value = _import(present_name(str(name)))
    fits = issubclass(value, kind) if isinstance(value, type) else kind is object
    if value is None or not fits:
        raise UserError(f"{where} names {name}, which is not an installed {kind.__name__}.")
    return value


def refuse_unknown(name: object, part: str, where: str, nested: bool = False) -> None:
    """Raises `UserError` for a class that is not `known`."""
    if not known(name, part, nested):
        shown = repr(name)[:120]
        package = name.partition(".")[0] if isinstance(name, str) and name.isprintable() else "mypackage"
        hint = "" if package == "fer_lightning" else f" If you trust it and its code, add plugins=[{package[:40]}]."
        raise UserError(f"{where} names {shown} as its {part}, which is not part of fer_lightning.{hint}")


def check_arguments(target: Any, arguments: Mapping[str, Any], where: str) -> None:
    """Checks the names and types of keyword arguments, in a file, against the signature of a class or function.

    Raises:
        UserError: A name is unknown, or a value is of the wrong type.
    """
    parameters = inspect.signature(target).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    annotated = target if is_dataclass(target) or not isinstance(target, type) else vars(target).get("__init__", target)
    hints = get_type_hints(annotated)
    for name, value in arguments.items():
        if name not in parameters and not takes_any:
            raise UserError(f"{where}: {target.__name__} has no option {name!r}; it has {', '.join(parameters)}.")
        if name not in hints:
            continue
        try:
            adapter = TypeAdapter(hints[name], config=ConfigDict(arbitrary_types_allowed=True, strict=True))
        except PydanticUserError:  # pydantic cannot check this type
            continue
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            raise UserError(f"{where}: {name}: {problem_of(error)}") from None


def _import(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(import_module(module), attribute, None)
    except (ImportError, ValueError):
        return None
