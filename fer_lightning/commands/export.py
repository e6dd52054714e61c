"""`fer export`: a trained network as ONNX, int8, safetensors or ExecuTorch, with a model card."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, ListConfig
from rich.console import Console

from fer_lightning.commands.instantiate import data_for, limit_threads
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.samples import SPLITS
from fer_lightning.deploy.hub import push, require_access
from fer_lightning.errors import UserError, require_known
from fer_lightning.evaluation.efficiency import describe_hardware
from fer_lightning.files import shown_path, write_text, write_whole, writing
from fer_lightning.inference.card import card_of, portable
from fer_lightning.plots.text import print_line
from fer_lightning.results.calibration import calibrate
from fer_lightning.results.prior import training_prior
from fer_lightning.results.run_record import RunRecord, describe_software
from fer_lightning.training.checkpoints import TrainedNet, load_net
from fer_lightning.training.safetensors_weights import FILES

try:
    from fer_lightning.deploy.browser_page import write_page
    from fer_lightning.deploy.formats import EXAMPLE, compute_of, write_forms
    from fer_lightning.deploy.model_card import model_card
    from fer_lightning.deploy.onnx import METHODS
    from fer_lightning.deploy.parity import (
        Faces,
        Measured,
        export_table,
        measure,
        ratio_line,
        real_faces,
        require_parity,
        scores_of,
        synthetic_faces,
        torch_compute,
    )
except ModuleNotFoundError as error:
    raise UserError(f"fer export needs the package {error.name}: pip install 'fer_lightning[onnx]'.") from error

log = logging.getLogger(__name__)

REFERENCE = "PyTorch, float32"
PAGE = "page"
FORMS = {
    "onnx": "ONNX, float32",
    "int8": "ONNX, int8",
    "safetensors": "safetensors",
    "executorch": "ExecuTorch, float32",
}
EXACT = (FORMS["onnx"], FORMS["executorch"])
WARNED_LOSS = 0.01  # loss of accuracy from which a warning is logged


def run(cfg: DictConfig) -> None:
    """Exports one network."""
    formats = _formats(cfg)
    if formats == [PAGE]:
        _write_page(cfg)
        return
    if cfg.push is not None:
        require_access(cfg.push)
    limit_threads(cfg)
    loaded = load_net(Path(cfg.checkpoint))
    datamodule = _data(cfg, loaded, needed="int8" in formats)
    trained = portable(loaded, _record(cfg.checkpoint, loaded))
    faces = real_faces(datamodule, cfg.split, cfg.images, cfg.seed) if datamodule else None
    faces = faces or synthetic_faces(trained.description["preprocessing"])
    calibration = None
    if datamodule and "int8" in formats:
        calibration = real_faces(datamodule, "train", cfg.int8.images, cfg.seed)
    folder = Path(cfg.output_dir)
    with TemporaryDirectory() as scratch:
        log.info("Writing %s", ", ".join(formats))
        with writing(Path(scratch, "net"), "Free disk space, or set TMPDIR to a folder on another disk"):
            files = write_forms(
                trained, Path(cfg.checkpoint).name, formats, cfg.half, calibration, cfg.int8.method, Path(scratch)
            )
        sixteen_bits = {"safetensors": f"{FORMS['safetensors']}, 16 bits"} if cfg.half else {}
        forms = {(FORMS | sixteen_bits)[name]: path for name, path in files.items()}
        rows = _measure(trained, forms, faces, datamodule)
        _check(rows, faces, cfg.tolerance)
        written = [
            write_whole(Path(cfg.path or folder / FILES[name]), partial(shutil.copyfile, files[name]))
            for name in formats
        ]
    written += _describe(cfg, trained, rows, faces, calibration, written)
    console = Console()
    console.print(export_table(rows, faces.description))
    if ratios := ratio_line(rows):
        console.print(ratios, highlight=False)
    for path in written:
        print_line(console, f"Written: {shown_path(path.resolve())}")
    if cfg.push is not None:
        print_line(console, f"Uploaded: {push(folder, [path.name for path in written], cfg.push)}")


def _write_page(cfg: DictConfig) -> None:
    folder = Path(cfg.path or Path(cfg.output_dir, "page")).expanduser()
    size = write_page(str(cfg.checkpoint), folder)
    console = Console()
    print_line(console, f"Written: {shown_path(folder.resolve())} ({size / 1e6:.1f} MB), for any static host, by https")
    print_line(console, f"To try it: python -m http.server --bind 127.0.0.1 --directory {shown_path(folder.resolve())}")


def _formats(cfg: DictConfig) -> list[str]:
    """Checked formats of the export."""
    formats = list(cfg.format) if isinstance(cfg.format, ListConfig) else [str(cfg.format)]
    if formats == [PAGE]:
        if cfg.push is not None:
            raise UserError("push=... uploads networks, not pages: omit it, and copy the folder to a static host.")
        return formats
    for name in formats or [""]:
        if name not in FILES:
            raise UserError(
                f"format must be one of {', '.join(FILES)}, a list of these as in format=[onnx,int8], or {PAGE}; "
                f"got {name!r}."
            )
    if "executorch" in formats and find_spec("executorch") is None:
        raise UserError("format=executorch needs ExecuTorch: pip install 'fer_lightning[executorch]'.")
    require_known("split", cfg.split, SPLITS)
    require_known("int8.method", cfg.int8.method, METHODS)
    if cfg.half and "safetensors" not in formats:
        raise UserError("half=true needs format=safetensors: add the format, or omit half.")
    for option, value in (("images", cfg.images), ("int8.images", cfg.int8.images)):
        if value is not None and value < 1:
            raise UserError(f"{option} must be at least 1; got {value}.")
    if cfg.path is None:
        return formats
    if len(formats) > 1:
        raise UserError("path=... names one file: use one format, or omit path.")
    suffix = Path(FILES[formats[0]]).suffix
    if Path(cfg.path).suffix != suffix:
        raise UserError(f"path must end in {suffix} for format={formats[0]}; got {cfg.path}.")
    if cfg.push is not None:
        raise UserError("push=... uploads the output folder, but path=... writes to another one: omit one of them.")
    return formats


def _record(checkpoint: str, trained: TrainedNet) -> dict[str, Any]:
    """Record of the network's run, with a temperature and tau if they can be fitted."""
    table = Path(checkpoint).expanduser() / "predictions.parquet"
    if not trained.record:
        log.warning("%s has no record of its run: the model card has no scores of the training.", checkpoint)
    elif "tau" not in trained.record.get("calibration", {}) and table.is_file():  # runs of earlier versions
        predictions = RunRecord.read(table.parent).predictions
        calibration = calibrate(predictions, trained.classes, training_prior(card_of(trained, "")))
        return {**trained.record, "calibration": {**calibration, **trained.record.get("calibration", {})}}
    return trained.record


def _data(cfg: DictConfig, trained: TrainedNet, needed: bool) -> ExpressionDataModule | None:
    """Data to measure on; None if it is not available and not needed."""
    named = "_target_" in cfg.data or cfg.data.root is not None
    try:
        return data_for(cfg, trained)
    except UserError as error:
        if named:
            raise
        if needed:
            raise UserError(
                f"format=int8 needs training images for its calibration; they cannot be read: {error}"
            ) from error
        log.warning("Compared on synthetic faces; the accuracy is not measured: %s", error)
        return None


def _measure(
    trained: TrainedNet, files: dict[str, Path], faces: Faces, datamodule: ExpressionDataModule | None
) -> list[Measured]:
    temperature = card_of(trained, "")["temperature"]

    def scores(logits: np.ndarray) -> dict[str, float]:
        if datamodule is None:
            return {}
        return scores_of(logits, temperature, faces, trained.classes, datamodule.label_set.classes)

    computes = {REFERENCE: torch_compute(trained.net)}
    computes |= {form: compute_of(path) for form, path in files.items()}
    return measure(computes, files, faces, scores)


def _check(rows: Sequence[Measured], faces: Faces, tolerance: float) -> None:
    """Requires parity of the exports in float32, and logs a warning if int8 or half loses accuracy."""
    for row in rows:
        if row.form in EXACT:
            require_parity(row.form, row.difference, tolerance, faces)
        elif row.scores and row.scores["accuracy"] < rows[0].scores["accuracy"] - WARNED_LOSS:
            lost = 100 * (rows[0].scores["accuracy"] - row.scores["accuracy"])
            log.warning(
                "%s loses %.1f percentage points of accuracy: try the other int8.method, or float32.", row.form, lost
            )


def _describe(
    cfg: DictConfig,
    trained: TrainedNet,
    rows: Sequence[Measured],
    faces: Faces,
    calibration: Faces | None,
    written: Sequence[Path],
) -> list[Path]:
    """Writes the card, the record of the export, an example of ONNX, and the record of the run for safetensors."""
    folder = Path(cfg.output_dir)
    hardware = describe_hardware(torch.device("cpu"), "float32")
    measured = {
        "checkpoint": Path(cfg.checkpoint).name,
        "faces": faces.description,
        "calibration": calibration.description if calibration else None,
        "method": cfg.int8.method if calibration else None,
        "half": cfg.half,
        "forms": [asdict(row) for row in rows],
        "versions": {**describe_software(), **{name: version(name) for name in ("onnx", "onnxruntime")}},
        "hardware": hardware,
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in written},
    }
    if any(path.suffix == ".pte" for path in written):
        measured["versions"]["executorch"] = version("executorch")
    card = card_of(trained, Path(cfg.checkpoint).name)
    texts = {
        folder / "export.json": json.dumps(measured, indent=2) + "\n",
        folder / "README.md": model_card(
            trained, card, rows, faces.description, hardware["processor"], written, cfg.push
        ),
    }
    for path in written:
        if path.suffix == ".safetensors":
            texts[path.with_suffix(".json")] = json.dumps({**trained.record, "export": measured}, indent=2) + "\n"
    if trained.description["preprocessing"]["side"] == "none" and any(path.suffix == ".onnx" for path in written):
        texts[folder / "predict.py"] = EXAMPLE.read_text(encoding="utf-8")
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)
