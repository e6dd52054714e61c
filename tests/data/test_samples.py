from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_lightning.data.labels import LabelSet
from fer_lightning.data.samples import (
    BadSample,
    ImageFiles,
    PixelRows,
    empty_classes,
    listing_key,
    refusal,
    refuse_or_skip,
    repeated_listings,
)
from fer_lightning.errors import UserError

RNG = np.random.default_rng(0)
COLOUR = cv2.GaussianBlur(RNG.integers(0, 256, (30, 20, 3), dtype=np.uint8), (0, 0), 2)
GREY = COLOUR[:, :, 0].copy()
MESSAGES = ["a.csv row 3: 5 pixels, expected 2304.", "a.csv row 9: emotion '8' is unknown."]
LABELS = LabelSet.of(["angry", "happy"])


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read(folder: Path, content: bytes, name: str = "face.png") -> np.ndarray:
    (folder / name).write_bytes(content)
    return ImageFiles(folder, (name,)).read(0)


def pixel_rows(path: Path, rows: list[str], side: int = 2) -> PixelRows:
    """Writes one row a line behind a header and points at the pixels between the commas."""
    text = "emotion,pixels,Usage\n"
    offsets, lengths = [], []
    for row in rows:
        offsets.append(len(text) + 2)
        lengths.append(len(row))
        text += f"3,{row},Training\n"
    path.write_text(text)
    return PixelRows(path, np.array(offsets), np.array(lengths), np.arange(len(rows)) + 1, side)


class TestImageFiles:
    @pytest.mark.parametrize(
        ("image", "kind", "expected"),
        [
            (Image.fromarray(GREY), "PNG", GREY),
            (Image.fromarray(COLOUR), "PNG", COLOUR),
            (Image.fromarray(COLOUR), "BMP", COLOUR),
            (Image.fromarray(GREY.astype(np.uint16) * 257), "PNG", GREY),
            (Image.fromarray(np.dstack([COLOUR, np.full_like(GREY, 255)])), "PNG", COLOUR),
            (Image.fromarray(GREY).convert("LA"), "PNG", np.dstack([GREY] * 3)),
            (Image.fromarray(COLOUR).quantize(8), "PNG", np.array(Image.fromarray(COLOUR).quantize(8).convert("RGB"))),
        ],
        ids=["grey", "rgb", "bmp", "16 bit", "opaque rgba", "grey with alpha", "palette"],
    )
    def test_equals_what_was_encoded(self, tmp_path: Path, image: Image.Image, kind: str, expected: np.ndarray) -> None:
        decoded = read(tmp_path, encode(image, kind))
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, expected)

    @pytest.mark.parametrize("progressive", [False, True])
    def test_jpeg_equals_another_decoder(self, tmp_path: Path, progressive: bool) -> None:
        content = encode(Image.fromarray(COLOUR), "JPEG", quality=90, progressive=progressive)
        difference = np.abs(read(tmp_path, content).astype(int) - np.array(Image.open(io.BytesIO(content))))
        assert difference.max() <= 4  # two versions of libjpeg round differently

    def test_orientation_is_applied(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        assert read(tmp_path, encode(Image.fromarray(COLOUR), "JPEG", exif=exif)).shape == (20, 30, 3)

    @pytest.mark.parametrize("share", [0.98, 0.5, 0.02])
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
    def test_truncated(self, tmp_path: Path, kind: str, share: float) -> None:
        content = encode(Image.fromarray(COLOUR), kind)
        with pytest.raises(BadSample, match=r"face.png: "):
            read(tmp_path, content[: int(len(content) * share)])

    def test_truncated_behind_a_thumbnail(self, tmp_path: Path) -> None:
        """The end marker of a complete thumbnail inside the header must not pass for that of the image."""
        thumbnail = encode(Image.fromarray(GREY), "JPEG")
        content = encode(Image.fromarray(COLOUR), "JPEG")
        segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
        whole = content[:2] + segment + content[2:]
        assert read(tmp_path, whole).shape == (30, 20, 3)
        with pytest.raises(BadSample, match="ends in the middle of the image"):
            read(tmp_path, whole[:-50])

    def test_bytes_behind_a_jpeg_do_no_harm(self, tmp_path: Path) -> None:
        assert read(tmp_path, encode(Image.fromarray(GREY), "JPEG") + b"\0" * 100).shape == (30, 20)

    @pytest.mark.parametrize(
        "content",
        [b"", b"<html>not found</html>", b"\xff\xd8", b"P5\n100000 100000\n255\n0"],
        ids=["empty", "html", "header", "huge"],
    )
    def test_no_image(self, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(BadSample, match=r"face.png: "):
            read(tmp_path, content)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(BadSample, match=r"gone.png: cannot be read \(No such file"):
            ImageFiles(tmp_path, ("gone.png",)).read(0)

    def test_take_keeps_the_order_asked_for(self, tmp_path: Path) -> None:
        for level in range(3):
            (tmp_path / f"{level}.png").write_bytes(encode(Image.new("L", (4, 4), level), "PNG"))
        taken = ImageFiles(tmp_path, ("0.png", "1.png", "2.png")).take(np.array([2, 0]))
        assert [int(taken.read(row)[0, 0]) for row in range(len(taken))] == [2, 0]

    def test_keys(self, tmp_path: Path) -> None:
        """Where the files lie and when they came there is no part of the content; names, order and sizes are."""
        for folder in ("here", "there"):
            (tmp_path / folder).mkdir()
            for name in ("a.png", "b.png"):
                (tmp_path / folder / name).write_bytes(b"same")
                os.utime(tmp_path / folder / name, (1, len(folder)))
        here, there = (ImageFiles(tmp_path / folder, ("a.png", "b.png")) for folder in ("here", "there"))
        assert here.content_key() == there.content_key()
        assert here.local_key() != there.local_key()
        assert here.content_key() != here.take(np.array([1, 0])).content_key()
        (tmp_path / "there/b.png").write_bytes(b"longer")
        assert here.content_key() != there.content_key()
        (tmp_path / "there/b.png").unlink()
        assert here.content_key() != there.content_key()


class TestPixelRows:
    def test_reads_each_row(self, tmp_path: Path) -> None:
        reader = pixel_rows(tmp_path / "faces.csv", ["0 1 2 3", "255  254 7 0"])
        assert reader.read(0).dtype == np.uint8
        np.testing.assert_array_equal(reader.read(0), [[0, 1], [2, 3]])
        np.testing.assert_array_equal(reader.read(1), [[255, 254], [7, 0]])

    @pytest.mark.parametrize(
        ("row", "told"),
        [
            ("1 2 3", "3 pixels, expected 4"),
            ("1 2 3 4 5", "5 pixels, expected 4"),
            ("", "0 pixels, expected 4"),
            ("1 2 x 4", "a pixel is not a whole number from 0 to 255"),
            ("1 2 3 4x", "a pixel is not a whole number from 0 to 255"),
            ("1 2 3.0 4", "a pixel is not a whole number from 0 to 255"),
            ("1 -2 3 4", "a pixel is not a whole number from 0 to 255"),
            ("1 2 3 256", "a pixel is not a whole number from 0 to 255"),
            ("1 2 3 99999999999999999999999", "a pixel is not a whole number from 0 to 255"),
        ],
    )
    def test_bad_row_is_named(self, tmp_path: Path, row: str, told: str) -> None:
        reader = pixel_rows(tmp_path / "faces.csv", ["1 2 3 4", row])
        with pytest.raises(BadSample, match=f"faces.csv row 2: {told}"):
            reader.read(1)

    def test_message_tells_the_row_of_the_file_after_take(self, tmp_path: Path) -> None:
        reader = pixel_rows(tmp_path / "faces.csv", ["1 2 3 4", "1 2 3 4", "1"]).take(np.array([2, 0]))
        assert len(reader) == 2
        with pytest.raises(BadSample, match=r"faces.csv row 3"):
            reader.read(0)
        np.testing.assert_array_equal(reader.read(1), [[1, 2], [3, 4]])

    def test_content_key_is_that_of_the_rows_used(self, tmp_path: Path) -> None:
        short = pixel_rows(tmp_path / "a.csv", ["1 2 3 4", "5 6 7 8"])
        longer = pixel_rows(tmp_path / "b.csv", ["9 9 9 9", "1 2 3 4", "5 6 7 8"])
        other = pixel_rows(tmp_path / "c.csv", ["1 2 3 4", "5 6 7 9"])
        assert short.content_key() == longer.take(np.array([1, 2])).content_key()
        assert short.content_key() != longer.take(np.array([2, 1])).content_key()
        assert short.content_key() != other.content_key()

    def test_local_key_changes_when_the_file_is_touched(self, tmp_path: Path) -> None:
        reader = pixel_rows(tmp_path / "a.csv", ["1 2 3 4"])
        before = reader.local_key()
        os.utime(reader.path, (1, 1))
        assert reader.local_key() != before


def test_skip_keeps_every_message() -> None:
    assert refuse_or_skip(MESSAGES, "skip") == tuple(MESSAGES)


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_nothing_bad_is_no_error(policy: str) -> None:
    assert refuse_or_skip([], policy) == ()


def test_raise_names_the_first_counts_the_rest_and_tells_the_way_out() -> None:
    with pytest.raises(UserError) as caught:
        refuse_or_skip(MESSAGES, "raise")
    assert str(caught.value) == (
        "a.csv row 3: 5 pixels, expected 2304 (1 more like it); correct it, or skip such rows with "
        "data.on_bad_sample=skip."
    )


def test_a_single_message_stands_alone() -> None:
    assert str(refusal(["x.jpg: broken"])).startswith("x.jpg: broken; correct it")


def test_unknown_policy() -> None:
    with pytest.raises(UserError, match=r"data.on_bad_sample must be raise or skip; got 'ignore'"):
        refuse_or_skip([], "ignore")


def test_listings_that_contradict_each_other_are_all_bad() -> None:
    keys = [listing_key(name) for name in ("a.jpg", "b.jpg", "./A.jpg", "c.jpg", "b.jpg")]
    found = repeated_listings(keys, [1, 2, 3, 4, 2], [f"list row {row}" for row in range(1, 6)])
    assert found == {
        0: "list row 1: this image is listed twice, again with another label in list row 3",
        2: "list row 3: this image is listed twice, before with another label in list row 1",
        4: "list row 5: this image is listed twice, before in list row 2",
    }


def test_messages_are_on_one_line_and_not_endless() -> None:
    (message,) = refuse_or_skip([f"a\nb\udcff{'x' * 2000}"], "skip")
    assert message.startswith("a\\nb\\xff") and len(message) == 700


def test_names_the_class_the_split_and_the_source():
    frame = pd.DataFrame({"label": [0, 1, 0], "official": ["Training", "Training", "PublicTest"]})
    assert empty_classes(frame, LABELS, Path("faces.csv")) == ["faces.csv: class happy has no image in PublicTest"]


def test_a_release_without_splits_is_checked_as_a_whole():
    frame = pd.DataFrame({"label": [1], "official": [""]})
    assert empty_classes(frame, LABELS, Path("tree")) == ["tree: class angry has no image"]


def test_full_splits_are_fine():
    frame = pd.DataFrame({"label": [0, 1], "official": ["", ""]})
    assert empty_classes(frame, LABELS, Path("tree")) == []
