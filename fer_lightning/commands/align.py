"""`fer align`: detects and aligns the faces of a data set, and reports detection rates and alignment quality."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
from hydra.core.hydra_config import HydraConfig
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from fer_lightning.commands.instantiate import build_datamodule
from fer_lightning.data.alignment.warp import AlignedReader, eye_distance, eye_spread, roll
from fer_lightning.data.datamodule import ExpressionDataModule
from fer_lightning.data.image_decoding import conform
from fer_lightning.data.samples import SPLITS
from fer_lightning.errors import UserError
from fer_lightning.files import write_csv
from fer_lightning.plots.dataset import draw_alignment
from fer_lightning.plots.style import save_figures
from fer_lightning.plots.text import escape, print_line, score_table

log = logging.getLogger(__name__)

_DRAWN = 12
_MEASURED = 2000  # faces that are decoded again to measure the alignment; few, so that a second call is fast


def run(cfg: DictConfig) -> None:
    """Aligns one data set; existing results are only reported.

    Raises:
        UserError: The data, the model file or MediaPipe is missing.
    """
    if not cfg.data.align:
        raise UserError("fer align needs data.align=true; got false.")
    datamodule = build_datamodule(cfg)
    faces = datamodule.frame.assign(found=datamodule.landmarks.found[datamodule.frame["row"]])
    counts = _count(faces, datamodule.label_set.classes)
    geometry = _measure(datamodule, faces)
    folder = Path(cfg.output_dir)
    numbers = pd.concat([counts.melt(["split", "class"], var_name="quantity"), geometry], ignore_index=True)
    write_csv(folder / "alignment.csv", numbers, index=False)
    save_figures(folder, {"alignment": _draw(datamodule, faces)})

    console = Console()
    console.print(_rate_table(counts, datamodule))
    _print_quality(console, faces, geometry, datamodule.image_size)
    for line in (
        f"Picture:     {folder}/alignment.png",
        f"Numbers:     {folder}/alignment.csv",
        f"Train on it: {_training_command()}",
    ):
        print_line(console, line)


def _count(faces: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """Numbers of images and detected faces by split and class, and in total.

    Returns:
        Table with the columns `split`, `class`, `images`, `found`.
    """
    rows = []
    for split in (*SPLITS, "all"):
        of_split = faces if split == "all" else faces[faces["split"] == split]
        for name in (*classes, "all"):
            chosen = of_split if name == "all" else of_split[of_split["label"] == classes.index(name)]
            rows.append((split, name, len(chosen), int(chosen["found"].sum())))
    return pd.DataFrame(rows, columns=["split", "class", "images", "found"])


def _measure(datamodule: ExpressionDataModule, faces: pd.DataFrame) -> pd.DataFrame:
    """Roll and eye positions before and after alignment, of detected faces spread evenly over the data set.

    Returns:
        Table with the columns `split`, `class`, `quantity`, `value`.
    """
    rows = faces.loc[faces["found"], "row"].to_numpy()
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MEASURED)).astype(int)]
    values: dict[str, float] = {"measured": len(rows)}
    if len(rows):
        originals = [_original(datamodule, row) for row in rows]
        before = np.stack([points for _, points in originals])
        after = np.stack([_aligned_points(_aligned(datamodule), row) for row in rows])
        for when, points in (("before", before), ("after", after)):
            values[f"roll_degrees_{when}"] = float(np.median(np.abs(roll(points))))
            values[f"eye_spread_pixels_{when}"] = eye_spread(points)
        values["share_tilted_over_45_degrees"] = float((np.abs(roll(before)) > 45).mean())
        values["share_enlarged_over_twofold"] = float((eye_distance(after) > 2 * eye_distance(before)).mean())
    return pd.DataFrame({"split": "all", "class": "all", "quantity": list(values), "value": list(values.values())})


def _original(datamodule: ExpressionDataModule, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Detected face without alignment, `(S, S, C)`, and its landmarks in that image, `(68, 2)`."""
    image = datamodule.samples.reader.read(row)
    height, width = image.shape[:2]
    side = min(height, width)
    corner = ((width - side) // 2, (height - side) // 2)  # of the central square, to which conform crops
    points = (datamodule.landmarks.points[row] - corner) * (datamodule.image_size / side)
    return conform(image, datamodule.image_size, datamodule.channels), points


def _aligned(datamodule: ExpressionDataModule) -> AlignedReader:
    return AlignedReader(datamodule.samples.reader, datamodule.landmarks, datamodule.image_size)


def _aligned_points(reader: AlignedReader, row: int) -> np.ndarray:
    """Landmarks `(68, 2)` of a detected face in its aligned image."""
    matrix = reader.matrix(row)
    return reader.landmarks.points[row] @ matrix[:, :2].T + matrix[:, 2]


def _rate_table(counts: pd.DataFrame, datamodule: ExpressionDataModule) -> Table:
    table = score_table(f"Faces found in {datamodule.dataset_name}", ["class"], [*SPLITS, "all"])
    rates = (counts["found"] / counts["images"]).map(lambda rate: "-" if np.isnan(rate) else f"{rate:.1%}")
    by_class = counts.assign(rate=rates).pivot(index="class", columns="split")
    for name in datamodule.label_set.classes:
        table.add_row(escape(name), *by_class["rate"].loc[name, [*SPLITS, "all"]])
    table.add_section()
    table.add_row("all", *by_class["rate"].loc["all", [*SPLITS, "all"]], style="bold")
    for column in ("images", "found"):
        table.add_row(column, *(f"{number:,}" for number in by_class[column].loc["all", [*SPLITS, "all"]]))
    return table


def _print_quality(console: Console, faces: pd.DataFrame, geometry: pd.DataFrame, size: int) -> None:
    unaligned = int((~faces["found"]).sum())
    console.print(f"{unaligned:,} images, in which no face was found, are unchanged.")
    values = geometry.set_index("quantity")["value"]
    if values["measured"]:
        tilt, spread = (
            f"from {values[f'{quantity}_before']:.2f} to {values[f'{quantity}_after']:.2f}"
            for quantity in ("roll_degrees", "eye_spread_pixels")
        )
        console.print(
            f"Measured on {values['measured']:,.0f} faces at {size} x {size} pixels: the median tilt of the eye line "
            f"changes {tilt} degrees, the standard deviation of eye centres {spread} pixels. "
            f"Check those tilted by more than 45 degrees ({values['share_tilted_over_45_degrees']:.1%}) or "
            f"enlarged more than twofold ({values['share_enlarged_over_twofold']:.1%}): landmarks can be wrong."
        )


def _draw(datamodule: ExpressionDataModule, faces: pd.DataFrame) -> Figure:
    """Figure of randomly chosen faces before and after alignment."""
    detected = faces[faces["found"]]
    chosen = detected.sample(min(_DRAWN, len(detected)), random_state=0).sort_index()
    size, channels = datamodule.image_size, datamodule.channels
    originals = [_original(datamodule, row) for row in chosen["row"]]
    aligned = [conform(_aligned(datamodule).read(row), size, channels) for row in chosen["row"]]
    return draw_alignment(
        before=np.array([image for image, _ in originals], np.uint8).reshape(-1, size, size, channels),
        points=np.array([points for _, points in originals]),
        after=np.array(aligned, np.uint8).reshape(-1, size, size, channels),
        captions=[datamodule.label_set.classes[label] for label in chosen["label"]],
        title=f"{datamodule.dataset_name}: before and after alignment",
    )


def _training_command() -> str:
    typed = [option for option in HydraConfig.get().overrides.task if option.startswith("data")]
    kept = [shlex.quote(option) for option in typed if not option.startswith(("data.align=", "data.align_workers="))]
    return " ".join(["fer train", *kept, "data.align=true"])
