"""Trees of class folders as people leave them, and pictures of all kinds, whole and damaged.

Of a tree every image is read with the class of its folder, named as bad, or counted in a note. Of a picture training
and prediction see the same pixels, or both refuse it.
"""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_lightning.data.folder import Folder
from fer_lightning.data.samples import BadSample, ImageFiles, Samples
from fer_lightning.errors import UserError
from fer_lightning.inference.images import read_picture

SPLITS = {"train": "train", "training": "train", "Train": "train", "val": "val", "valid": "val", "validation": "val"}
SPLITS |= {"dev": "val", "VAL": "val", "test": "test", "testing": "test", "Test": "test"}
UNKNOWN_SPLITS = ("holdout", "eval", "testing2", "tset", "extra", "unlabelled", "train_old")
SUFFIXES = (".png", ".PNG", ".jpg", ".JPG", ".jpeg", ".jfif", ".webp", ".bmp", ".tiff", ".gif")
OTHER_SUFFIXES = (".HEIC", ".heif", ".mp4", ".zip", ".raw", "", ".psd", ".jpg_", ".svg")
HIDDEN = ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/x.png", ".git/x.png")
DOCUMENTS = ("README.md", "labels.csv", "notes.txt", "LICENSE")
ODD_NAMES = ("é", "日本", "a b", "a,b", "a=b", "${x}", "[x]", "<b>", "a\nb", "'", "%s", "x" * 200)


def encoded(level: int, suffix: str = ".png") -> bytes:
    buffer = io.BytesIO()
    kinds = {
        ".jpg": "JPEG",
        ".jpeg": "JPEG",
        ".jfif": "JPEG",
        ".webp": "WEBP",
        ".bmp": "BMP",
        ".tiff": "TIFF",
        ".gif": "GIF",
    }
    Image.new("L", (8, 8), level).save(buffer, kinds.get(suffix.lower(), "PNG"))
    return buffer.getvalue()


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def grow_tree(root: Path, random: np.random.Generator) -> tuple[dict[str, tuple[str, str]], int, int]:
    """Writes a tree; returns split and class of each image of it, and how many other files there are and bad ones."""
    expected: dict[str, tuple[str, str]] = {}
    names = [
        str(random.choice([name for name, use in SPLITS.items() if use == split])) for split in ("train", "val", "test")
    ]
    for split in names:
        for name in ("angry", "happy"):
            for number in range(2):
                path = f"{split}/{name}/{number}{random.choice(SUFFIXES)}"
                put(root / path, encoded(100, Path(path).suffix))
                expected[path] = SPLITS[split], name
    left_out = bad = 0
    for number in range(int(random.integers(0, 4))):
        split, odd = str(random.choice(names)), str(random.choice(ODD_NAMES))
        match int(random.integers(8)):
            case 0:
                path = f"{random.choice(UNKNOWN_SPLITS)}/happy/{number}.png"
            case 1:
                path = f"{split}/happy/subject{number}/{odd}.png"
            case 2:
                path = f"{split}/loose{number}.png" if random.integers(2) else f"loose{number}.png"
            case 3:
                path = f"{split}/happy/{number}x{random.choice(OTHER_SUFFIXES)}"
            case 4:
                put(root / split / "angry" / str(random.choice(HIDDEN)), b"hidden")
                continue
            case 5:
                put(root / split / str(random.choice(DOCUMENTS)), b"text")
                continue
            case 6:
                path = f"{split}/happy/{number}{odd}.png"
                expected[path] = SPLITS[split], "happy"
            case _:
                path = f"{split}/happy/{number}\udcff\udcfe.png"
                bad += 1
        new = not (root / path).exists()
        put(root / path, encoded(100))
        left_out += new and path not in expected
    return expected, left_out, bad


def test_folder_trees(campaign, open_data, tmp_path):
    for case, random in campaign.cases(25, 500):
        root = tmp_path / str(case)
        expected, left_out, bad = grow_tree(root, random)

        def right(samples: Samples, expected: dict = expected, left_out: int = left_out, bad: int = bad) -> bool:
            classes = samples.label_set.classes
            found = {row.id: (row.split, classes[row.label]) for row in samples.frame.itertuples()}
            told = sum(int(number) for note in samples.notes for number in re.findall(r"^(\d+) files", note))
            return found == expected and told == left_out and len(samples.bad) == bad

        skip = bool(random.integers(2)) or not bad
        campaign.judge(
            case, open_data(Folder, root, skip).scan, "not UTF-8" if bad else str(root), right if skip else None
        )


def source_pictures() -> list[bytes]:
    """Pictures of many kinds, small."""
    random = np.random.default_rng(0)
    colour = random.integers(0, 256, (24, 20, 3), np.uint8)
    alpha = np.tile(np.linspace(0, 255, 20).astype(np.uint8), (24, 1))
    rgb, grey = Image.fromarray(colour), Image.fromarray(colour[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    made: list[tuple[Image.Image, str, dict]] = [
        *(
            (picture, kind, {})
            for picture in (rgb, grey)
            for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "TGA")
        ),
        (rgb, "JPEG", {"progressive": True}),
        (rgb, "JPEG", {"exif": exif}),
        (rgb, "PNG", {"exif": exif}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (rgb.convert("CMYK"), "TIFF", {}),
        (Image.fromarray(np.dstack([colour, alpha])), "PNG", {}),
        (Image.fromarray(np.dstack([colour, alpha])), "WEBP", {}),
        (Image.fromarray(np.dstack([colour, alpha])), "TIFF", {}),
        (Image.fromarray(np.dstack([colour[..., 0], alpha])), "PNG", {}),
        (rgb.quantize(16), "PNG", {"transparency": 3}),
        (rgb.quantize(16), "GIF", {"transparency": 3}),
        (grey, "PNG", {"transparency": 7}),
        (Image.fromarray(colour[..., 0].astype(np.uint16) * 257), "PNG", {}),
        (Image.fromarray(colour[..., 0].astype(np.uint16) * 257), "TIFF", {}),
        (Image.fromarray(colour[..., 0].astype(np.float32) / 255), "TIFF", {}),
        (Image.fromarray(colour[..., 0].astype(np.float32)), "TIFF", {}),
        (Image.fromarray(colour[..., 0].astype(np.int32)), "TIFF", {}),
        (Image.fromarray(colour[..., 0] > 99), "PNG", {}),
        (rgb, "TIFF", {"compression": "tiff_lzw"}),
        (rgb, "TIFF", {"compression": "tiff_deflate"}),
        (rgb, "TIFF", {"compression": "jpeg"}),
        (rgb, "GIF", {"save_all": True, "append_images": [rgb.rotate(90)]}),
        (rgb, "PNG", {"save_all": True, "append_images": [rgb.rotate(180)]}),
    ]
    contents = []
    for picture, kind, options in made:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        contents.append(buffer.getvalue())
    return contents


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Cuts off, flips, zeroes, repeats or announces other sizes; one in eight stays whole."""
    place = int(random.integers(len(content)))
    stop = min(len(content), place + int(random.integers(1, 60)))
    match int(random.integers(8)):
        case 0:
            return content
        case 1:
            return content[:place]
        case 2:
            return content[:place] + bytes(stop - place) + content[stop:]
        case 3:
            return content[:place] + random.bytes(stop - place) + content[stop:]
        case 4:
            return content[:place] + bytes([content[place] ^ (1 << int(random.integers(8)))]) + content[place + 1 :]
        case 5:
            return content[:place] + b"\xff\xd9"
        case 6:
            sizes = (
                struct.pack(">HH", 24, 20),
                struct.pack(">II", 20, 24),
                struct.pack("<II", 20, 24),
                struct.pack("<HH", 20, 24),
            )
            for size in sizes:
                content = content.replace(size, b"\x7f" * len(size), 1)
            return content
        case _:
            return content[:place] + content[place:stop] * 3 + content[stop:]


def read_twice(path: Path) -> tuple[np.ndarray | str, np.ndarray | str]:
    """What training and prediction make of a file: pixels in RGB, or their sentence."""
    trained: np.ndarray | str
    predicted: np.ndarray | str
    try:
        image = ImageFiles(path.parent, (path.name,)).read(0)
        trained = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    except BadSample as error:
        trained = str(error)
    try:
        predicted = read_picture(path)
    except UserError as error:
        predicted = str(error)
    return trained, predicted


WHOLE = source_pictures()


def test_pictures_of_a_data_set_and_under_prediction(campaign, tmp_path):
    """Each file counts twice, once for each reader."""
    path = tmp_path / "face.png"
    for case, random in campaign.cases(150, 2610):
        content = damaged(WHOLE[int(random.integers(len(WHOLE)))], random)
        path.write_bytes(content)
        try:
            trained, predicted = read_twice(path)
        except Exception as error:
            campaign.held(case, False, f"{type(error).__name__}: {error}")
            continue
        whole = content in WHOLE
        refused = isinstance(trained, str)
        named = not refused or ("face.png" in str(trained) and "\n" not in str(trained))
        campaign.held(case, named and not (whole and refused), f"training: {str(trained)[:200]}")
        both = refused == isinstance(predicted, str)
        equal = both and (refused or np.array_equal(trained, predicted))
        campaign.held(case, equal, f"training and prediction differ: {str(trained)[:100]} / {str(predicted)[:100]}")


def test_transparency_looks_as_on_a_white_page(campaign, tmp_path):
    """Against an independent composition, for formats without loss."""
    path = tmp_path / "cut.png"
    for case, random in campaign.cases(20, 200):
        pixels = random.integers(0, 256, (9, 7, 4), np.uint8)
        Image.fromarray(pixels).save(path, str(random.choice(["PNG", "TIFF"])))
        alpha = pixels[..., 3:] / 255
        expected = pixels[..., :3] * alpha + 255 * (1 - alpha)
        trained, predicted = read_twice(path)
        right = (
            isinstance(trained, np.ndarray)
            and np.abs(trained - expected).max() <= 1
            and np.array_equal(trained, predicted)
        )
        campaign.held(case, bool(right), "not laid on white")


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level("ERROR")
