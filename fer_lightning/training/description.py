"""Description of a stored network: what is written, and the check of types and bounds when it is read.

Checkpoints, safetensors and ONNX files may come from untrusted sources; each description is checked here before use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from fer_lightning.errors import UserError, problem_of
from fer_lightning.results.metrics_schema import check_plain
from fer_lightning.results.protocol import Protocol, Text, check_class_names

LARGEST_IMAGE = 1024  # pixels
_MOST_CLASSES = 1000
_LARGEST_OPTION = 8192  # channels, units, pixels
_DEEPEST_NET = 200  # layers of a stage
_LAYERS = ("depth", "depths", "num_layers")
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Shares = dict[str, Annotated[float, Field(gt=0, le=1)]]


class Preprocessing(BaseModel):
    """Preprocessing of the images of a network; files of old versions have no `align` and no `side`."""

    model_config = ConfigDict(strict=True)
    image_size: Annotated[int, Field(ge=16, le=LARGEST_IMAGE)]
    channels: Literal[1, 3]
    mean: Annotated[list[_Finite], Field(min_length=1, max_length=3)]
    std: Annotated[list[Annotated[_Finite, Field(gt=0)]], Field(min_length=1, max_length=3)]
    align: bool = False
    side: Literal["none", "landmarks", "blendshapes"] = "none"

    @model_validator(mode="after")
    def _one_value_a_channel(self) -> Self:
        if {len(self.mean), len(self.std)} - {1, self.channels}:
            raise ValueError(f"mean and std must have one value, or one for each of the {self.channels} channels")
        return self


class _Description(BaseModel):
    model_config = ConfigDict(strict=True)
    model: dict[str, Any]
    classes: Annotated[list[str], Field(max_length=_MOST_CLASSES)]
    protocol: dict[str, Any]
    preprocessing: Preprocessing
    data: dict[str, Any]
    training_prior: _Shares | None = None


class _Card(BaseModel):
    model_config = ConfigDict(strict=True)
    model: Text
    temperature: Annotated[float, Field(ge=0.01, le=100)]
    measured: dict[str, Any] = {}
    command: Annotated[str, Field(max_length=10_000)] | None = None
    training_prior: _Shares | None = None
    tau: Annotated[float, Field(ge=0, le=10)] = 1.0
    protocol: dict[str, Any]


class _Metadata(BaseModel):
    model_config = ConfigDict(strict=True)
    classes: Annotated[list[str], Field(max_length=_MOST_CLASSES)]
    preprocessing: Preprocessing
    protocol: dict[str, Any]
    card: _Card
    precision: Literal["float32", "int8"]


def describe(net: Any, datamodule: Any, loss: Any = None) -> dict[str, Any]:
    """Description of a network and its training data, as checkpoints store it.

    Args:
        net: The network, an `Architecture`.
        datamodule: The data, an `ExpressionDataModule` that is set up.
        loss: Loss of the training.

    Returns:
        `model`, `classes`, `protocol`, `preprocessing`, `data` and `training_prior`, all plain values. Empty if either
        is of another type, which no checkpoint could name.
    """
    if not hasattr(net, "options") or not hasattr(datamodule, "protocol"):
        return {}
    data = {field.name: getattr(datamodule, field.name) for field in fields(datamodule)}
    description = {
        "model": _options_of(net),
        "classes": datamodule.label_set.classes,
        "protocol": datamodule.protocol.to_dict(),
        "preprocessing": {name: data[name] for name in Preprocessing.model_fields},
        "data": {"_target_": _name_of(datamodule), **data, "transforms": []},
        "training_prior": class_shares(datamodule, loss),
    }
    plain: dict[str, Any] = json.loads(json.dumps(description, default=str))
    return plain


def class_shares(datamodule: Any, loss: Any) -> dict[str, float] | None:
    """Share of each class in training, as the sampler draws and the loss weighs the labels.

    Args:
        datamodule: The data, an `ExpressionDataModule` that is set up.
        loss: Loss of the training, whose attribute `weight`, if it has one, weighs the classes.

    Returns:
        Shares that sum to 1, of label distributions their mean; None if a class has no share, which no prior can
        change. Images that a GAN generates are not counted.
    """
    targets = datamodule.dataset("train").targets.numpy()
    targets = targets[:, 0] if targets.ndim == 3 else targets  # the labels beside a teacher's probabilities
    labels = targets if targets.ndim == 1 else targets.argmax(axis=1)
    drawn = 1 / np.bincount(labels)[labels] if datamodule.sampler == "balanced" else np.ones(len(labels))
    classes = datamodule.label_set.classes
    shares = np.bincount(labels, drawn, minlength=len(classes)) if targets.ndim == 1 else drawn @ targets
    weight = getattr(loss, "weight", None)
    if getattr(weight, "shape", None) == shares.shape:
        shares = shares * weight.numpy(force=True)  # type: ignore[union-attr]
    return dict(zip(classes, (shares / shares.sum()).tolist())) if shares.min() > 0 else None


def _options_of(net: Any) -> dict[str, Any]:
    options = {name: value for name, value in net.options.items() if name != "num_classes"}
    if "members" in options:
        options["members"] = [_options_of(member) for member in options["members"]]
    return {"_target_": _name_of(net), **options}


def _name_of(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def check_description(values: Any, where: str) -> dict[str, Any]:
    """Checks the description in a checkpoint or a safetensors file, which is named `where` in messages.

    Returns:
        The description, with all fields of the preprocessing.

    Raises:
        UserError: A part is missing, of another type, or out of bounds.
    """
    checked = _validated(_Description, values, where)
    try:
        check_sizes(checked["model"], "model")
    except ValueError as error:
        raise _not_usable(where, str(error)) from None
    return checked


def check_metadata(values: Any, where: str) -> dict[str, Any]:
    """Checks the metadata of an ONNX file; otherwise as `check_description`."""
    return _validated(_Metadata, values, where)


def _validated(schema: type[BaseModel], values: Any, where: str) -> dict[str, Any]:
    try:
        check_plain(values)
        checked: Any = schema.model_validate(values)
        check_class_names(checked.classes)
        if list(Protocol.from_dict(checked.protocol).classes) != checked.classes:
            raise ValueError("its protocol must have the classes of the net.")
    except ValidationError as error:
        raise _not_usable(where, problem_of(error)) from None
    except (UserError, ValueError) as error:
        raise _not_usable(where, str(error)) from None
    return {**values, "preprocessing": {**values["preprocessing"], **checked.preprocessing.model_dump()}}


def check_sizes(options: Mapping[str, Any], place: str) -> None:
    """Checks the bounds of a network's options, beyond which it would need too much memory or time.

    Raises:
        ValueError: An option is out of bounds.
    """
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        if len(values) > 64:
            raise ValueError(f"{place}.{name[:40]} must have at most 64 values; got {len(values)}.")
        most = _DEEPEST_NET if name in _LAYERS else _LARGEST_OPTION
        for element in values:
            if isinstance(element, Mapping):
                check_sizes(element, f"{place}.{name[:40]}")
            elif isinstance(element, (int, float)) and not abs(element) <= most:  # NaN too
                raise ValueError(f"{place}.{name[:40]} must be at most {most}; got {str(element)[:40]}.")


def _not_usable(where: str, problem: str) -> UserError:
    return UserError(f"{where} does not describe a net that can be used: {problem}")
