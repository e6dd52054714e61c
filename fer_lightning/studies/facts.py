"""Conditions of a study: data, protocol, budget, seeds and hardware, from the records of its runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from functools import partial
from statistics import mode
from typing import Any

import pandas as pd

from fer_lightning.results.collect import read_history


def study_facts(runs: pd.DataFrame, budget: str | None, expected: int | None) -> dict[str, str]:
    """Conditions under which the runs of a study were trained and scored, from their test rows (`score_table`).

    Returns:
        Text by heading, in the order in which it is shown; a condition that differs between runs is listed with all
        its values.
    """
    records = dict(zip(runs["folder"], runs["record"]))
    protocols: dict[str, list[dict[str, Any]]] = {}
    for protocol in map(json.loads, runs["protocol"].unique()):
        protocols.setdefault(protocol["dataset"], []).append(protocol)

    def by_dataset(describe: Callable[[list[dict[str, Any]]], str]) -> str:
        texts = {name: describe(folds) for name, folds in protocols.items()}
        return "; ".join(f"{name}: {text}" if len(texts) > 1 else text for name, text in texts.items())

    facts = {
        "Data": "; ".join(
            f"{name} ({each['release']}), {len(each['classes'])} classes, {each['label_rule']}"
            for name, (each, *_) in protocols.items()
        ),
        "Protocol": by_dataset(partial(_protocol, tracked=any(each.get("track_test") for each in records.values()))),
        "Training images": by_dataset(lambda folds: _images(folds, "train")),
        "Test images": by_dataset(lambda folds: _images(folds, "test") + _clean(records.values(), folds[0]["dataset"])),
        "Budget": _budget(records, budget),
        "Pictures": _each(map(_picture, records.values())),
        "Parameters": _parameters(runs),
        "Seeds": _seeds(runs),
        "Runs": f"{len(records)}" if expected is None else f"{len(records)} of {expected}",
        "Hardware": _each(_hardware(each.get("hardware", {})) for each in records.values()),
        "Commit": _each(str(each["commit"]) for each in records.values()),
        "Hours": _hours(records.values()),
    }
    return {heading: text for heading, text in facts.items() if text}


def _protocol(folds: list[dict[str, Any]], tracked: bool) -> str:
    first, often = folds[0], "after every epoch, for analysis," if tracked else "once"
    begin = f"{len(folds)} folds, the first: " if len(folds) > 1 else ""
    return (
        f"{begin}{first['split']}; best epoch chosen on validation ({first['selection']}); scored {often} on "
        f"{first['test']}; fingerprint {first['fingerprint']}"
    )


def _images(folds: list[dict[str, Any]], split: str) -> str:
    return _span(sorted({fold["counts"].get(split, 0) for fold in folds}))


def _clean(records: Iterable[dict[str, Any]], dataset: str) -> str:
    counts = {
        each["splits"]["test_clean"].get("n", 0)
        for each in records
        if each["protocol"]["dataset"] == dataset and "test_clean" in each["splits"]
    }
    return f", of which {_span(sorted(counts))} are clean: without an exact copy in training" if counts else ""


def _budget(records: dict[str, dict[str, Any]], budget: str | None) -> str:
    epochs = [each["epochs"] for each in records.values() if "epochs" in each]
    shares = _images_an_epoch(records)
    text = f"{mode(epochs)} epoch{'s' if mode(epochs) != 1 else ''}" if epochs else ""
    if shares:
        text += f", each of {mode(shares)} % of the training images"
    # Rows may differ: a vote is not trained, a GAN has additional epochs.
    spans = [
        f"{_span(sorted(set(of)))}{unit}" for of, unit in ((epochs, " epochs"), (shares, " %")) if len(set(of)) > 1
    ]
    text += f" (all rows: {', '.join(spans)})" if spans else ""
    return ": ".join(part for part in (budget, text) if part)


def _images_an_epoch(records: dict[str, dict[str, Any]]) -> list[int]:
    """Share of the training images in the longest epoch of each run, in percent."""
    shares = []
    for folder, record in records.items():
        history = read_history(folder)
        images = history["images"].max() if history is not None and "images" in history else math.nan
        if not math.isnan(images) and record["protocol"]["counts"].get("train"):
            shares.append(round(100 * float(images) / record["protocol"]["counts"]["train"]))
    return shares


def _span(values: list[int]) -> str:
    return f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"


def _picture(record: dict[str, Any]) -> str:
    seen = record.get("preprocessing", {})
    if "image_size" not in seen:
        return ""
    aligned = ", aligned" if seen.get("align") else ""
    return f"{seen['image_size']} x {seen['image_size']}, {'grey' if seen.get('channels') == 1 else 'colour'}{aligned}"


def _parameters(runs: pd.DataFrame) -> str:
    least, most = runs["parameters"].min() / 1e6, runs["parameters"].max() / 1e6
    return f"{least:.3g} million" if least == most else f"{least:.3g} to {most:.3g} million"


def _seeds(runs: pd.DataFrame) -> str:
    by_seeds = runs.groupby(["variant", "dataset"])["seed"].agg(lambda seeds: ", ".join(map(str, sorted(set(seeds)))))
    rows = by_seeds.value_counts(sort=False)
    if len(rows) == 1:
        return str(rows.index[0])
    return "; ".join(f"{seeds} ({count} row{'s' if count != 1 else ''})" for seeds, count in rows.items())


def _hardware(hardware: dict[str, Any]) -> str:
    threads = hardware.get("threads")
    of = f" on {threads} thread{'s' if threads != 1 else ''}" if threads else ""
    device, processor, precision = (hardware.get(name, "") for name in ("device", "processor", "precision"))
    return f"{device} {processor}{of}, {precision}".strip(" ,")


def _hours(records: Iterable[dict[str, Any]]) -> str:
    seconds = [each["timing"]["fit_seconds"] for each in records if "fit_seconds" in each.get("timing", {})]
    return f"{sum(seconds) / 3600:.1f} of training" if seconds else ""


def _each(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))
