"""What every architecture of this package is, a module that knows the options it was built with, and all by name."""

from __future__ import annotations

import difflib
import functools
import inspect
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from fer_lightning.errors import UserError

# As `model=` names them: the class, and the options in which the config differs from its defaults. A vote is none of
# them: it is built of trained networks.
_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "attention_cnn": ("AttentionCNN", {}),
    "attention_transformer": ("AttentionTransformer", {}),
    "dan": ("DAN", {}),
    "hafem": ("HAFEM", {}),
    "hafem_lite": (
        "HAFEM",
        {
            "backbone": "tf_efficientnet_lite0",
            "stem_stride": 2,
            "stage": 3,
            "pretrained": "imagenet",
            "embed_dim": 128,
            "dropout": 0.2,
        },
    ),
    "multimodal_emotion": ("MultimodalFusion", {"side": "blendshapes", "side_dim": 53}),
    "multimodal_fusion": ("MultimodalFusion", {}),
    "psysfa_net": ("PsySFANet", {}),
    "resnet": ("ResNet", {}),
    "timm": ("TimmNet", {}),
    "two_stage": ("TwoStage", {}),
    "vit": ("ViT", {}),
}


class Architecture(nn.Module):
    """A network that remembers the options of its constructor, so that a checkpoint can name them.

    Its logits are those of a dropout and a linear layer on the embeddings that `forward_features` returns, unless it
    defines `forward_head` or `forward` itself.

    Attributes:
        options: Every option by name, defaults included.

    Example:
        >>> class Linear(Architecture):
        ...     def __init__(self, num_classes: int, pixels: int = 48 * 48) -> None:
        ...         super().__init__()
        ...         self.classify = nn.Linear(pixels, num_classes)
        >>> Linear(num_classes=7).options
        {'num_classes': 7, 'pixels': 2304}
    """

    options: dict[str, Any]
    classify: Any
    dropout: Any
    forward_features: Any

    def forward_head(self, features: Tensor) -> Tensor:
        """Logits (B, K) of embeddings (B, D)."""
        return self.classify(self.dropout(features))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        return self.forward_head(self.forward_features(image))

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        build = cls.__init__
        signature = inspect.signature(build)

        @functools.wraps(build)
        def remember(self: Any, *arguments: Any, **options: Any) -> None:
            build(self, *arguments, **options)
            if type(self) is cls:
                bound = signature.bind(self, *arguments, **options)
                bound.apply_defaults()
                self.options = dict(list(bound.arguments.items())[1:])

        cls.__init__ = remember  # type: ignore[method-assign]


def list_models(pattern: str = "*") -> list[str]:
    """Names of the networks that `create_model` builds.

    Args:
        pattern: Wildcard that the names must match.

    Example:
        >>> list_models("hafem*")
        ['hafem', 'hafem_lite']
    """
    return [name for name in _MODELS if fnmatchcase(name, pattern)]


def create_model(
    name: str, /, num_classes: int = 7, pretrained: bool | str | None = None, **options: Any
) -> Architecture:
    """Builds an untrained network by its name, with the options of `fer train model=...`.

    Args:
        name: Name of the network, one of `list_models`.
        num_classes: Number K of classes.
        pretrained: Weights of the backbone, for networks that have one: `"imagenet"` (or True), `"none"` (or False),
            or the path of a file. None for the default of the network.
        options: Options of its class, such as `in_channels=3` and `image_size=112`.

    Returns:
        Network from images `(B, C, H, W)` to logits `(B, K)`; one with an auxiliary input takes it as well.

    Raises:
        UserError: The name or an option is unknown, a value is out of bounds, or the weights cannot be loaded.

    Example:
        >>> import torch
        >>> create_model("psysfa_net", num_classes=8, stride=1)(torch.zeros(2, 1, 48, 48)).shape
        torch.Size([2, 8])
        >>> create_model("timm", name="mobilenetv3_small_050").options["stem_stride"]  # any network of timm
        2
    """
    if name not in _MODELS:
        close = difflib.get_close_matches(name, _MODELS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UserError(f"Unknown model {name!r}: {hint}choose one of {', '.join(_MODELS)}.")
    class_name, defaults = _MODELS[name]
    network = getattr(import_module("fer_lightning.models"), class_name)
    known = inspect.signature(network).parameters
    if isinstance(pretrained, bool):
        pretrained = "imagenet" if pretrained else "none"
    if pretrained not in (None, "none") and "pretrained" not in known:
        raise UserError(
            f"{name} has no pretrained weights; got pretrained={pretrained!r}: omit it, or use hafem or timm."
        )
    if pretrained is not None and "pretrained" in known:
        options["pretrained"] = pretrained
    if unknown := options.keys() - known.keys():
        raise UserError(f"{name} has no option {min(unknown)!r}: choose one of {', '.join(known)}.")
    built: Architecture = network(num_classes=num_classes, **defaults | options)
    return built
