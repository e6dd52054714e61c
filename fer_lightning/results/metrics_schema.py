"""Schema of `metrics.json`, the record of a run or an evaluation, and of the files beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from typing_extensions import Self

from fer_lightning.errors import UserError, problem_of
from fer_lightning.results.protocol import Protocol, Text

NAME = "metrics.json"
STARTED = "started.json"
UNFINISHED = "unfinished.json"
# Current names of options that earlier versions called otherwise, whose records keep the former names.
_FORMER = {
    r"rival=": "baseline=",
    r"study=hafem_rivals$": "study=hafem_baselines",
    r"hydra/sweeper=mboa$": "hydra/sweeper=optuna",
}
LARGEST = 20_000_000  # bytes
_DEEPEST = 20
_MOST_VALUES = 200_000
_LARGEST_SCORE = 1e9
_NO_SCORES = {"variant", "seed", "split", "dataset", "protocol", "folder", "record", "model", "parameters", "commit"}
# Options that do not distinguish variants: seed, place, logging, and data, which the protocol describes.
_LEFT_ASIDE = {
    "seed",
    "study",
    "threads",
    "show",
    "reference",
    "resume",
    "plugins",
    "output_dir",
    "corruptions",
    "track_test",
    "logger",
    "data",
    "data.root",
    "data.cache_dir",
    "data.num_workers",
    "data.store",
    "data.landmark_model",
    "data.align_workers",
    "data.split",
    "data.split_seed",
    "data.val_fraction",
    "data.fold",
    "trainer.enable_progress_bar",
}
_LEFT_ASIDE_BEGINNINGS = ("hydra.", "hydra/", "logger.", "elsewhere.", "data@elsewhere.")


class _Stored(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


def _not_infinite(value: float) -> float:
    if abs(value) > _LARGEST_SCORE:  # NaN is allowed: the score of a class without images
        raise ValueError("must be finite")
    return value


_Number = Annotated[float, AfterValidator(_not_infinite)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Seed = Annotated[int, Field(ge=0, lt=2**63)]
_Count = Annotated[int, Field(ge=0, le=10**12)]


def _in_conf(value: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", value):  # it must not be a path out of conf/
        raise ValueError("must be the name of a config, such as psysfa_table6")
    return value


_Choice = Annotated[Text, AfterValidator(_in_conf)]


class _Scores(_Stored):
    """Scores of one split; further scores are numbers too."""

    __pydantic_extra__: dict[str, _Number]
    n: _Count = 0
    accuracy: _Share
    accuracy_low: _Number = 0.0
    accuracy_high: _Number = 1.0
    per_class: dict[str, dict[str, _Number]] = {}

    @model_validator(mode="after")
    def _no_score_of_another_name(self) -> Self:
        if strange := _NO_SCORES & set(self.__pydantic_extra__):
            raise ValueError(f"{min(strange)} is not a score")
        return self


class _Elsewhere(_Stored):
    """Scores on another data set, or the reason why there are none."""

    missing: Text | None = None
    n: _Count | None = None
    accuracy: _Number | None = None
    accuracy_low: _Number | None = None
    accuracy_high: _Number | None = None
    balanced_accuracy: _Number | None = None
    macro_f1: _Number | None = None
    left_out: dict[str, _Count] = {}
    never_right: list[str] = []
    seen: _Count | None = None
    same_pictures: _Number | None = None
    protocol: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.missing is None:
            if self.accuracy is None or self.n is None:
                raise ValueError("must have n and accuracy, or missing")
            Protocol.from_dict(self.protocol or {})
        return self


class _Calibration(_Stored):
    temperature: Annotated[float, Field(ge=0.01, le=100)]
    tau: Annotated[float, Field(ge=0, le=10)] = 1.0
    balanced: dict[str, _Number] = {}
    test: dict[str, _Number] | None = None


class _Record(_Stored):
    """Required and optional fields of every record."""

    protocol: dict[str, Any]
    splits: dict[Text, _Scores]
    model: Text = ""
    parameters: _Count = 0
    commit: Text = ""
    best_epoch: _Count = 0
    epochs: _Count = 0
    track_test: bool = False
    overrides: list[Text] = []
    variant: dict[Text, Text] = {}
    trained_seed: _Seed | None = None
    calibration: _Calibration | None = None
    preprocessing: dict[str, Any] = {}
    timing: dict[str, _Number] = {}
    hardware: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    elsewhere: dict[Text, _Elsewhere] = {}
    robustness: dict[str, Any] = {}
    fairness: dict[str, Any] = {}


class _Started(_Stored):
    """Options and identity of a run, which are known when it starts."""

    overrides: list[Text]
    study: _Choice | None = None
    budget: _Choice | None = None
    variant: dict[Text, Text] = {}


class UnfinishedRun(BaseModel):
    """Run of a multirun that has no record.

    Attributes:
        name: Its name among the runs of the multirun.
        options: Value by name of the options that were typed for it.
        outcome: Why it has no record.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    name: Text
    options: dict[Text, Text]
    outcome: Text


_UNFINISHED_RUNS = TypeAdapter(list[UnfinishedRun])


class _Run(_Started, _Record):
    """Fields of the record of a run that an evaluation does not have."""

    seed: _Seed
    model: Text
    parameters: _Count
    commit: Text


class _Found(_Stored):
    trial: _Count
    value: float
    parameters: dict[Text, Any]


class _Best(_Stored):
    """Result of a search."""

    study: Text = ""
    objective: Text
    direction: Text
    trials: dict[Text, _Count]
    best: _Found | None
    sampler: dict[str, Any] | None = None


def read_best(path: Path) -> dict[str, Any]:
    """Reads the `best.json` of a finished search.

    Raises:
        UserError: The file cannot be read, or is not the result of a search.
    """
    values = read_json(path)
    with _refused(f"{path} is not the result of a search: ", "Remove it, or repeat the search."):
        check_plain(values)
        _Best.model_validate(values)
    return values


def read_metrics(path: Path) -> dict[str, Any]:
    """Reads a `metrics.json`, also of earlier versions, whose `study`, `budget` and `variant` follow from the options.

    Returns:
        Plain JSON values: `protocol` and `splits`, and for a run `seed`, `overrides`, `model`, `parameters`, `commit`,
        `study`, `budget` and `variant`.

    Raises:
        UserError: The file cannot be read, or is not a record.
    """
    values = check_metrics(read_json(path), str(path))
    if "seed" not in values:
        return values
    overrides = list(map(by_current_name, values["overrides"]))
    return check_metrics({**identity(overrides), **values, "overrides": overrides}, str(path))


def read_started(folder: Path) -> dict[str, Any]:
    """Fields `overrides`, `study`, `budget` and `variant` that a run wrote to its folder when it started.

    Raises:
        UserError: `started.json` is missing or damaged.
    """
    values = read_json(folder / STARTED)
    with _refused(f"{folder / STARTED} is damaged: ", "Remove it and continue the run."):
        check_plain(values)
        started = _Started.model_validate(values).model_dump(include=set(_Started.model_fields))
    return started


def read_unfinished(path: Path) -> list[UnfinishedRun]:
    """Reads the `unfinished.json` of a multirun that has ended.

    Raises:
        UserError: The file cannot be read, or is damaged.
    """
    values = read_json(path)
    with _refused(f"{path} is damaged: ", "Remove it."):
        check_plain(values)
        return _UNFINISHED_RUNS.validate_python(values)


def identity(overrides: Sequence[str], budget: str = "pilot") -> dict[str, Any]:
    """Study, budget and variant of a run, by which reports group runs.

    `fer train` computes them when a run starts. Records of earlier versions have only `overrides`, from which
    `read_metrics` computes the same.

    Args:
        overrides: Options of the run as typed, for example `"model=resnet"`.
        budget: Budget of a study if none was typed.

    Returns:
        `study`: name, or None. `budget`: name, None without a study. `variant`: typed value by option, without seed,
        place and data; equal for the seeds of a variant.
    """
    typed = typed_options(overrides)
    study = typed.get("study")
    variant = {
        key: value
        for key, value in typed.items()
        if key not in _LEFT_ASIDE and not key.startswith(_LEFT_ASIDE_BEGINNINGS)
    }
    return {"study": study, "budget": typed.get("budget", budget) if study else None, "variant": variant}


def typed_options(overrides: Iterable[str]) -> dict[str, str]:
    """Value by name of the typed options, for example `{"model": "resnet"}`; the last of several values counts."""
    return {key.lstrip("+"): value for key, _, value in (option.partition("=") for option in overrides)}


def is_run_of(run: Mapping[str, Any], cell: Mapping[str, str]) -> bool:
    """Whether a record, or what a run wrote when it started, has the options of one cell of a grid."""
    return cell.items() <= typed_options(run["overrides"]).items()


def check_metrics(values: Any, where: str) -> dict[str, Any]:
    """Checks and returns a record, whose file is named `where` in messages.

    Raises:
        UserError: The values are not a record.
    """
    with _refused(f"{where} is not a record of a run: ", "Remove it, or train that run again."):
        check_plain(values)
        (_Run if isinstance(values, dict) and "seed" in values else _Record).model_validate(values)
        Protocol.from_dict(values["protocol"])
    return values


@contextmanager
def _refused(problem: str, cure: str) -> Iterator[None]:
    """Context in which a failed check becomes a `UserError` that begins with the problem and ends with the cure."""
    try:
        yield
    except ValidationError as error:
        raise UserError(f"{problem}{problem_of(error)} {cure}") from None
    except (UserError, ValueError) as error:
        raise UserError(f"{problem}{error} {cure}") from None


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        UserError: The file is missing, too large, or not JSON.
    """
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise UserError(f"{path} must be a JSON file of at most {LARGEST // 1_000_000} MB: remove it.")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):  # not UTF-8, not JSON, a number of too many digits, or nested too deeply
        raise UserError(f"{path} is damaged, or not a JSON file: remove it, or create it again.") from None


def check_plain(values: Any) -> None:
    """Checks that an object has only JSON values, and limits their number and nesting.

    Raises:
        ValueError: The object fails a check.
    """
    level, count = [values], 0
    for _ in range(_DEEPEST):
        count += len(level)
        if count > _MOST_VALUES:
            raise ValueError(f"it must have at most {_MOST_VALUES:,} values.")
        below: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                if not all(isinstance(key, str) for key in value):
                    raise ValueError("its names must be text.")
                below += value.values()
            elif isinstance(value, (list, tuple)):
                below += value
            elif value is not None and not isinstance(value, (str, int, float)):
                raise ValueError(f"it must hold plain values; got a {type(value).__name__}.")
            elif isinstance(value, int) and abs(value) >= 2**63:
                raise ValueError("its integers must fit into 64 bits.")
        if not below:
            return
        level = below
    raise ValueError(f"it must be nested at most {_DEEPEST} levels deep.")


def by_current_name(option: str) -> str:
    """Option with its current name, for example `"baseline=vit"` for `"rival=vit"` of earlier versions."""
    for former, current in _FORMER.items():
        option = re.sub(rf"^(\+*){former}", rf"\g<1>{current}", option)
    return option
