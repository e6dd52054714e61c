"""`fer explain`: Grad-CAM, SHAP and attention maps of a network, its feature maps, and their faithfulness."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger, WandbLogger
from rich.console import Console
from torch import Tensor

from fer_lightning.commands.finish import ending, open_loggers
from fer_lightning.commands.instantiate import data_for, limit_threads
from fer_lightning.data.image_decoding import conform
from fer_lightning.data.samples import SPLITS
from fer_lightning.errors import UserError, require_known
from fer_lightning.evaluation.scoring import Inference
from fer_lightning.explain.explanation import (
    Explanation,
    Faces,
    blurred_background,
    faces_of_split,
    training_background,
)
from fer_lightning.explain.shap_values import METHODS
from fer_lightning.files import write_csv, write_json
from fer_lightning.inference.card import card_of
from fer_lightning.inference.classifier import normalise
from fer_lightning.inference.face_detector import FaceFinder, crop_faces
from fer_lightning.inference.images import read_picture
from fer_lightning.plots.style import save_figures
from fer_lightning.plots.text import escape, print_line
from fer_lightning.results.run_record import describe_code
from fer_lightning.training.checkpoints import TrainedNet, load_net

log = logging.getLogger(__name__)

CROPS = ("auto", "whole", "faces")


def run(cfg: DictConfig) -> None:
    """Explains the predictions of one network."""
    _check(cfg)
    limit_threads(cfg)
    trained = load_net(Path(cfg.checkpoint))
    faces, background, background_name = _faces(cfg, trained)
    explained_net = {**trained.record, "model": type(trained.net).__name__}
    loggers = open_loggers(cfg, {**explained_net, "protocol": trained.description["protocol"]}, "explain")
    folder = Path(cfg.output_dir)
    explanation = Explanation(trained.net, trained.classes, faces, card_of(trained, cfg.checkpoint)["temperature"])
    if cfg.shap != "none":
        explanation.add_shap(cfg.shap, background, background_name, cfg.shap_samples)
    if cfg.faithfulness.steps:
        explanation.judge(cfg.faithfulness.steps, cfg.faithfulness.random_maps)
    pictures = save_figures(folder, explanation.draw())
    _write_numbers(folder, explanation, str(cfg.checkpoint))
    with ending(loggers):
        _log(loggers, pictures, explanation.sentences)
    console = Console()
    for sentence in explanation.sentences:
        console.print(escape(sentence), highlight=False)
    print_line(console, f"Written to {folder}: {', '.join(path.name for path in pictures)} and their values.")


def _write_numbers(folder: Path, explanation: Explanation, checkpoint: str) -> None:
    for name, table in explanation.tables().items():
        write_csv(folder / f"{name}.csv", table, index=False)
    values = {
        "checkpoint": checkpoint,
        "model": type(explanation.net).__name__,
        "classes": list(explanation.classes),
        "shap": explanation.shap_note or None,
        "verdict": explanation.sentences,
        **describe_code(),
    }
    write_json(folder / "explanation.json", values)


def _log(loggers: Sequence[Logger], pictures: Sequence[Path], sentences: Sequence[str]) -> None:
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            for path in pictures:
                logger.log_image(f"explain/{path.stem}", [str(path)])
            logger.experiment.summary.update({"explain/verdict": list(sentences)})


def _check(cfg: DictConfig) -> None:
    require_known("split", cfg.split, SPLITS)
    require_known("shap", cfg.shap, (*METHODS, "none"))
    require_known("crop", cfg.crop, CROPS)
    smallest = {"n": 1, "shap_samples": 10, "faithfulness.steps": 0, "faithfulness.random_maps": 1}
    for option, least in smallest.items():
        if (value := OmegaConf.select(cfg, option)) < least:
            raise UserError(f"{option} must be at least {least}; got {value}.")


def _faces(cfg: DictConfig, trained: TrainedNet) -> tuple[Faces, Tensor, str]:
    """Faces to explain, the background images of SHAP, and the name of that background."""
    if cfg.image is not None:
        faces = _faces_of_photo(cfg, trained)
        if "_target_" not in cfg.data:
            return faces, blurred_background(faces.image), "blurred copies of the faces"
        datamodule = data_for(cfg, trained)
    else:
        datamodule = data_for(cfg, trained)
        inference = Inference(trained.net, channels_last=False)
        faces = faces_of_split(datamodule, cfg.split, trained.classes, inference, cfg.n, cfg.seed)
    background = training_background(datamodule, cfg.seed)
    return faces, background, f"{len(background)} training faces of {datamodule.dataset_name}"


def _faces_of_photo(cfg: DictConfig, trained: TrainedNet) -> Faces:
    preprocessing = trained.description["preprocessing"]
    if preprocessing["side"] != "none":
        raise UserError(f"This net takes {preprocessing['side']} beside the picture: explain it on its data, data=...")
    path = Path(cfg.image).expanduser()
    picture = read_picture(path)
    size, channels = preprocessing["image_size"], preprocessing["channels"]
    height, width = picture.shape[:2]
    # A square picture of this size is a face that was already cropped.
    whole = cfg.crop == "whole" or (cfg.crop == "auto" and height == width and height <= 2 * size)
    if whole:
        log.info("%s is used as a whole, as a cropped face; use crop=faces to detect faces in it.", path.name)
        pixels = conform(picture, size, channels)[None]
    else:
        pixels = _crops(picture, preprocessing, path, cfg.n)
    names = tuple(f"{path.stem} {number}" for number in range(1, len(pixels) + 1)) if len(pixels) > 1 else (path.stem,)
    return Faces(names, pixels, torch.from_numpy(normalise(pixels, preprocessing)), None, None)


def _crops(picture: np.ndarray, preprocessing: Mapping[str, Any], path: Path, most: int) -> np.ndarray:
    """Crops of the faces in a picture, the largest first, uint8 (N, S, S, C)."""
    with FaceFinder() as finder:
        faces = finder.find(picture)
    if not faces:
        raise UserError(f"image={path} must contain a face; none was found: use crop=whole for a cropped face.")
    log.info("Faces found in %s: %d.", path.name, len(faces))
    return crop_faces(picture, faces[:most], preprocessing)
