"""Lists of labels that somebody edited, damaged or made up: read rightly, or refused with the file's name.

The level of an image tells which image it is, so that what is accepted is held against the pixels.
Where a field that decides a label was changed to another plain label, the new label is the right one; this is what the
independent readings in this file say.
"""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_lightning.data.affectnet import OLD_COLUMNS, AffectNet
from fer_lightning.data.ckplus import CKPlus
from fer_lightning.data.fer2013 import FER2013
from fer_lightning.data.ferplus import FERPlus
from fer_lightning.data.rafdb import RAFDB
from fer_lightning.data.samples import BadSample, Samples

USAGES = ("Training", "PublicTest", "PrivateTest")
NUMBERS = (
    "3.9", "inf", "nan", "1e400", "-1", "+3", "1_000", "0x3", "\uff13", "\u0663", "", " ", "9" * 5000, "99", "1000000",
    "true", "3 3", "3\x00", "NaN", "1e0", "0.5", "10.0", "=1+1", "'3'", "-0", "1,2", "x", "3\u00a0",
)  # fmt: skip
NAMES = (
    "../secret.jpg", "/etc/passwd", "..", ".", "", "x" * 5000, "a\x00b.jpg", "C:\\faces\\1.jpg", "~/a.jpg",
    "${HOME}.jpg",
    "é.jpg", "\udcff.jpg", "a/b.jpg", "a\tb.jpg", "<b>.jpg", "=1+1.jpg", ".hidden.jpg", "train_00001", "a,b.jpg",
)  # fmt: skip


def picture(level: int, kind: str = "PNG", side: int = 8) -> bytes:
    """A grey picture of one level."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), level).save(buffer, kind)
    return buffer.getvalue()


def damage_bytes(content: bytes, random: np.random.Generator) -> bytes:
    """Cuts, flips, repeats, zeroes or re-encodes a part of a file."""
    place, stop = sorted(random.integers(0, len(content) + 1, 2).tolist())
    stop = min(stop, place + int(random.integers(1, 200)))
    match int(random.integers(11)):
        case 0:
            return content[:place]
        case 1:
            return content[:place] + content[stop:]
        case 2:
            return content[:place] + random.bytes(max(1, stop - place)) + content[stop:]
        case 3:
            return content[:place] + content[place:stop] * int(random.integers(2, 5)) + content[stop:]
        case 4:
            return content[:place] + bytes(stop - place) + content[stop:]
        case 5:
            return content.decode("utf-8", "replace").encode(
                str(random.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig"]))
            )
        case 6:
            return content.replace(b"\n", bytes(random.choice([b"\r\n", b"\r", b"\n\n", b"\x0b", b"\xe2\x80\xa8"])))
        case 7:
            return (
                content[:place]
                + bytes(random.choice([b"\xff\xfe", b"\xe9", b'"', b"\0", b"'", b";", b"\t", b","]))
                + content[place:]
            )
        case 8:
            return content.replace(b",", bytes(random.choice([b";", b"\t", b"|", b", "])))
        case 9:
            return random.bytes(len(content) // 10)
        case _:
            return bytes([content[0] ^ 0x20]) + content[1:] if content else content


def damage_table(lines: Sequence[str], random: np.random.Generator) -> list[str]:
    """Changes fields or lines of a table that is separated by commas."""
    lines = list(lines)
    row, other = (int(number) for number in random.integers(0, len(lines), 2))
    fields = lines[row].split(",")
    column = int(random.integers(len(fields)))
    match int(random.integers(10)):
        case 0 | 1 | 2:
            fields[column] = str(random.choice(NUMBERS))
        case 3:
            fields[column] = str(random.choice(NAMES))
        case 4:
            fields.insert(column, fields[column])
        case 5:
            del fields[column]
        case 6:
            lines.insert(other, lines[row])
        case 7:
            del lines[row]
            return lines
        case 8:
            lines[row], lines[other] = lines[other], lines[row]
            return lines
        case _:
            fields[column] = f'"{fields[column]}"' if random.integers(2) else fields[column].swapcase()
    lines[row] = ",".join(fields)
    return lines


def write(path: Path, lines: Sequence[str]) -> bytes:
    """Writes lines with surrogates as the bytes they stand for, and returns what was written."""
    content = ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")
    path.write_bytes(content)
    return content


SEVEN_CODES = {
    "fer2013": ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
    "rafdb": ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"),
    "affectnet": ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry"),
}
VOTES = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")


def content_lines(content: bytes) -> list[str]:
    """An independent, tolerant reading: lines without blank ones, whatever the encoding and line ends."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = content.decode(encoding, "replace").replace("\r\n", "\n").replace("\r", "\n")
    return [line for line in text.split("\n") if line.strip()]


def table_of(content: bytes) -> list[list[str]]:
    """The fields of every line, separated by what separates those of the first."""
    lines = content_lines(content)
    mark = next((mark for mark in ",;\t" if mark in lines[0]), ",")
    return [[field.strip().strip('"').strip() for field in line.split(mark)] for line in lines]


def pairs_of(samples: Samples) -> Counter[tuple[str, int, str]]:
    """Class, level and split of every row."""
    found: Counter[tuple[str, int, str]] = Counter()
    for row, (label, split) in enumerate(zip(samples.frame["label"], samples.frame["split"])):
        try:
            level = int(samples.reader.read(row).mean())
        except BadSample:  # a damaged image is named when it is decoded
            continue
        found[samples.label_set.classes[label], level, split] += 1
    return found


FER_LINES = ["emotion,pixels,Usage"] + [
    f"{code},{' '.join([str(7 * part + code + 1)] * 48 * 48)},{usage}"
    for part, usage in enumerate(USAGES)
    for code in range(7)
    for _ in range(2)
]


def test_fer2013_csv(campaign, open_data, tmp_path):
    path = tmp_path / "fer2013.csv"
    for case, random in campaign.cases(15, 2560):
        if random.integers(2):
            content = write(path, damage_table(FER_LINES, random))
        else:
            content = damage_bytes(write(path, FER_LINES), random)
            path.write_bytes(content)

        def right(samples: Samples, content: bytes = content) -> bool:
            lines = table_of(content)
            names = [" ".join(name.lower().split()) for name in lines[0]]
            expected: Counter[tuple[str, int, str]] = Counter()
            uses = dict(zip(USAGES, ("train", "val", "test")))
            for line in lines[1:]:
                if len(line) != len(names):
                    continue
                row = dict(zip(names, line))
                levels = row["pixels"].split()
                if row["emotion"] in tuple("0123456") and len(levels) == 2304:
                    label = SEVEN_CODES["fer2013"][int(row["emotion"])]
                    mean = np.mean([int(level) if level.isascii() and level.isdecimal() else -9e9 for level in levels])
                    expected[label, int(mean), uses.get(row.get("usage", "Training"), "")] += 1
            found = pairs_of(samples)
            parts = {split for _, _, split in found}
            if "val" not in parts:  # without one of the parts the others are used otherwise
                return {key[:2] for key in found} <= {key[:2] for key in expected}
            return all(count <= expected[key] for key, count in found.items())

        campaign.judge(case, open_data(FER2013, tmp_path, bool(random.integers(2))).scan, "fer2013", right)


def vote_lines() -> list[str]:
    lines, number = ["Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"], 0
    for usage in USAGES:
        for emotion in (*range(8), None, *range(8), None, *range(8)):
            votes = [10 if column == emotion else 0 for column in range(10)]
            votes[9] = 10 * (emotion is None)
            lines.append(f"{usage},{'' if emotion is None else f'fer{number:07d}.png'},{','.join(map(str, votes))}")
            number += emotion is not None
    return lines


VOTE_LINES = vote_lines()


def test_fer2013new_csv(campaign, open_data, tmp_path):
    """Rows that changed their place are refused; a row whose votes changed has the label of its votes."""
    path = tmp_path / "fer2013new.csv"
    levels = [number + 1 for number in range(len(VOTE_LINES) - 1)]
    pixels = ["emotion,pixels,Usage"] + [
        f"0,{' '.join([str(level)] * 2304)},{line.partition(',')[0]}" for level, line in zip(levels, VOTE_LINES[1:])
    ]
    write(tmp_path / "fer2013.csv", pixels)
    for case, random in campaign.cases(20, 1570):
        kind = random.integers(5)
        if kind == 0:
            header, *rows = VOTE_LINES
            by_name = sorted(rows, key=lambda row: (row.split(",")[1] == "", row.split(",")[1]))
            by_usage = sorted(by_name, key=lambda row: USAGES.index(row.split(",")[0]))
            shuffled = [rows[place] for place in random.permutation(len(rows))]
            content = write(
                path, [header, *(rows[::-1], by_name, by_usage, by_usage[::-1], shuffled)[random.integers(5)]]
            )
            accepts = None
        else:
            content = write(path, damage_table(VOTE_LINES, random))
            if kind == 4:
                content = damage_bytes(write(path, VOTE_LINES), random)
                path.write_bytes(content)

            def accepts(samples: Samples, content: bytes = content) -> bool:
                lines = table_of(content)
                expected = set()
                for level, line in zip(levels, lines[1:]):
                    counts = [
                        int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0 for text in line[2:10]
                    ]
                    if any(counts):
                        expected.add((VOTES[int(np.argmax(counts))], level))
                return {key[:2] for key in pairs_of(samples)} <= expected

        data = open_data(FERPlus, tmp_path, bool(random.integers(2)), labels="majority")
        campaign.judge(case, data.scan, "fer2013", accepts)


def test_rafdb_list(campaign, open_data, tmp_path):
    images = tmp_path / "basic" / "Image" / "aligned"
    labels = tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt"
    for folder in (images, labels.parent):
        folder.mkdir(parents=True)
    lines, levels = [], {}
    for split in ("train", "test"):
        for number in range(14):
            level = len(lines) + 1
            (images / f"{split}_{number:05d}_aligned.jpg").write_bytes(picture(level))
            levels[f"{split}_{number:05d}.jpg"] = level
            lines.append(f"{split}_{number:05d}.jpg,{number % 7 + 1}")
    for case, random in campaign.cases(40, 880):
        damaged = damage_table(lines, random)
        content = write(labels, [line.replace(",", " ", 1) for line in damaged])
        if random.integers(2):
            content = damage_bytes(write(labels, [line.replace(",", " ", 1) for line in lines]), random)
            labels.write_bytes(content)

        def right(samples: Samples, content: bytes = content) -> bool:
            told: dict[str, set[str]] = {}
            for line in content_lines(content):
                words = line.split()
                name = words[0].removeprefix("./") if words else ""
                told.setdefault(name, set()).add(words[1] if len(words) == 2 else "")
            expected = {
                (SEVEN_CODES["rafdb"][int(next(iter(codes))) - 1], levels[name], name.partition("_")[0])
                for name, codes in told.items()
                if name in levels and len(codes) == 1 and codes <= set("1234567")
            }
            found = pairs_of(samples)
            return set(found) <= expected and max(found.values(), default=1) == 1 and samples.frame["id"].is_unique

        campaign.judge(case, open_data(RAFDB, tmp_path, bool(random.integers(2))).scan, str(tmp_path), right)


def test_affectnet_csv(campaign, open_data, tmp_path):
    lists = tmp_path / "Manually_Annotated_file_lists"
    lists.mkdir()
    (tmp_path / "secret.jpg").write_bytes(picture(250))
    levels, tables = {}, {}
    for part, name in enumerate(("training", "validation")):
        tables[name] = [",".join(OLD_COLUMNS)] if part == 0 else []
        for number in range(14):
            image, level = f"{part}{number % 3}/{number:02d}.jpg", 14 * part + number + 1
            file = tmp_path / "Manually_Annotated_Images" / image
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(picture(level))
            levels[image] = level
            tables[name].append(f"{image},1,1,8,8,1.5;2.5,{number % 7},-0.5,0.25")
    for case, random in campaign.cases(40, 940):
        name = str(random.choice(list(tables)))
        contents = {other: write(lists / f"{other}.csv", lines) for other, lines in tables.items()}
        contents[name] = write(lists / f"{name}.csv", damage_table(tables[name], random))
        if random.integers(2):
            contents[name] = damage_bytes(write(lists / f"{name}.csv", tables[name]), random)
            (lists / f"{name}.csv").write_bytes(contents[name])

        def right(samples: Samples, contents: dict[str, bytes] = contents) -> bool:
            expected = set()
            for part, split in (("training", "train"), ("validation", "test")):
                for line in table_of(contents[part]):
                    image = line[0].removeprefix("./")
                    if len(line) == 9 and image in levels and line[6] in tuple("0123456"):
                        expected.add((SEVEN_CODES["affectnet"][int(line[6])], levels[image], split))
            found = pairs_of(samples)
            one_each = len({level for _, level, _ in found}) == sum(found.values())
            return set(found) <= expected and one_each and samples.frame["id"].is_unique

        data = open_data(AffectNet, tmp_path, bool(random.integers(2)), classes=7)
        campaign.judge(case, data.scan, str(tmp_path), right)


class Bomb:
    """Runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def broken_annotation(path: Path, code: int, random: np.random.Generator, trap: Path) -> object:
    """Writes a hostile `_exp.npy`; returns the code that it holds, None where it holds none."""
    kind = int(random.integers(12))
    value: object = str(code)
    right: object = None
    if kind == 0:
        value, right = np.str_(code), code
    elif kind == 1:
        value, right = np.array([[code]], np.uint8), code
    elif kind == 2:
        value = np.array(Bomb(trap), object)
    elif kind == 3:
        value = np.zeros(int(random.integers(0, 4)) + 2)
    elif kind == 4:
        value = np.float64(code + 0.5)
    elif kind == 5:
        value = str(random.choice(NUMBERS[:-1]))
    elif kind == 6:
        value = np.array([(code, 1)], [("a", int), ("b", int)])
    elif kind == 7:
        value = np.datetime64("2020-01-01")
    np.save(path, value, allow_pickle=True)  # type: ignore[arg-type]
    stored = str(np.array(value)[()]) if kind == 5 else ""  # NumPy drops NULs at the end
    if stored.strip(" \t") in tuple("0123456"):
        right = int(stored)
    if kind == 8:
        path.write_bytes(damage_bytes(path.read_bytes(), random))
        right = "any"
    elif kind == 9:
        header = str({"descr": "<i8", "fortran_order": False, "shape": (10 ** int(random.integers(3, 30)),)}).encode()
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8))
    elif kind == 10:
        with path.open("wb") as file:
            np.savez(file, exp=str(code))
    elif kind == 11:
        path.unlink()
        path.mkdir()
    return right


def test_affectnet_npy(campaign, open_data, tmp_path):
    root, trap = tmp_path / "affectnet", tmp_path / "trap"
    for part, name in enumerate(("train_set", "val_set")):
        for folder in ("images", "annotations"):
            (root / name / folder).mkdir(parents=True)
        for number in range(7):
            (root / name / "images" / f"{number}.jpg").write_bytes(picture(7 * part + number + 1))
            np.save(root / name / "annotations" / f"{number}_exp.npy", str(number))
    for case, random in campaign.cases(40, 1340):
        part, number = int(random.integers(2)), int(random.integers(7))
        path = root / ("train_set", "val_set")[part] / "annotations" / f"{number}_exp.npy"
        told = broken_annotation(path, number, random, trap)

        def right(samples: Samples, part: int = part, number: int = number, told: object = told) -> bool:
            found = {level: label for label, level, _ in pairs_of(samples)}
            label = found.pop(7 * part + number + 1, None)
            others = all(label == SEVEN_CODES["affectnet"][(level - 1) % 7] for level, label in found.items())
            if told == "any":  # a damaged file may still hold a code
                return others
            return others and label == (None if told is None else SEVEN_CODES["affectnet"][int(str(told))])

        data = open_data(AffectNet, root, bool(random.integers(2)), classes=7)
        campaign.judge(case, data.scan, str(root), right)
        if path.is_dir():
            shutil.rmtree(path)
        np.save(path, str(number))
    campaign.held("pickles", not trap.exists(), "a pickle ran")


DECIMALS = (
    "3.0000000e+00",
    "3.",
    "30e-1",
    "0003",
    "3.9",
    "inf",
    "-inf",
    "nan",
    "1e400",
    "2.9999999999999999e0",
    "3\n5",
    "0x3",
    "３",
)


def test_ckplus_txt(campaign, open_data, tmp_path):
    codes = {1: "angry", 2: "contempt", 3: "disgust", 4: "fear", 5: "happy", 6: "sad", 7: "surprise"}
    places = []
    for subject in ("S005", "S010"):
        for code in codes:
            images, labels = (tmp_path / name / subject / f"{code:03d}" for name in ("cohn-kanade-images", "Emotion"))
            for folder in (images, labels):
                folder.mkdir(parents=True)
            stem = f"{subject}_{code:03d}_00000002"
            level = len(places) + 1
            for frame in (1, 2):
                (images / f"{subject}_{code:03d}_{frame:08d}.png").write_bytes(picture(level))
            places.append((labels / f"{stem}_emotion.txt", code, level))
            places[-1][0].write_text(f"   {code:.7e}\n")
    for case, random in campaign.cases(40, 660):
        path, code, level = places[random.integers(len(places))]
        content = f"   {code:.7e}\n".encode()
        match int(random.integers(3)):
            case 0:
                changed = damage_bytes(content, random)
            case 1:
                changed = str(random.choice(DECIMALS + NUMBERS)).encode()
            case _:
                changed = random.bytes(int(random.integers(0, 40)))
        path.write_bytes(changed)

        def right(samples: Samples, changed: bytes = changed, level: int = level) -> bool:
            found = {place: label for label, place, _ in pairs_of(samples)}
            label = found.pop(level, None)
            others = all(label == codes[places[place - 1][1]] for place, label in found.items())
            text = " ".join(content_lines(changed)).strip()
            try:
                number = float(text) if text.isascii() and "_" not in text and text[:1] != "+" else np.nan
            except ValueError:
                number = np.nan
            return others and (
                label is None or (label == codes.get(int(number) if number == number else 0) and number % 1 == 0)
            )

        data = open_data(CKPlus, tmp_path, bool(random.integers(2)), frames=1, neutral=False)
        campaign.judge(case, data.scan, str(tmp_path), right)
        path.write_bytes(content)


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level("ERROR")
