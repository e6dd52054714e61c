from __future__ import annotations

import pytest

from fer_lightning.data.fer2013 import CODES, COUNTS, FER2013
from fer_lightning.errors import UserError

USAGES = ("Training", "PublicTest", "PrivateTest")
# Levels tell the images apart: 10 * code + a digit for the part.
ROWS = [(code, 10 * code + part, usage) for part, usage in enumerate(USAGES) for code in range(7) for _ in range(2)]


@pytest.fixture
def folders(tmp_path, write_image):
    """The Kaggle folders: names carry the official part, the class is the folder."""
    for row, (code, level, usage) in enumerate(ROWS):
        split = "train" if usage == "Training" else "test"
        write_image(tmp_path / split / CODES[code] / f"{usage}_{row}.png", level)
    return tmp_path


def levels(samples, split):
    """Label and level of every image of a split."""
    rows = samples.frame.index[samples.frame["split"] == split]
    return sorted((int(samples.frame["label"][row]), int(samples.reader.read(row).mean())) for row in rows)


@pytest.mark.parametrize(
    ("file", "header"), [("fer2013.csv", "emotion,pixels,Usage"), ("icml_face_data.csv", "emotion, Usage, pixels")]
)
@pytest.mark.parametrize("above", [False, True])
def test_reads_the_csv_releases(tmp_path, write_pixel_csv, make_data, file, header, above):
    root = tmp_path / "download"
    write_pixel_csv(root / "fer2013" / file if above else root / file, ROWS, header)
    samples = make_data(FER2013, root).scan()
    assert samples.release == file
    assert samples.notes == samples.bad == ()
    assert samples.label_set.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    for part, (split, usage) in enumerate(zip(("train", "val", "test"), USAGES)):
        assert levels(samples, split) == sorted((code, 10 * code + part) for code in range(7) for _ in range(2))
        assert set(samples.frame["official"][samples.frame["split"] == split]) == {usage}
    assert samples.frame["id"].tolist()[13:15] == ["Training_13", "PublicTest_14"]


def test_the_root_may_be_a_file_of_any_name(tmp_path, write_pixel_csv, make_data):
    path = write_pixel_csv(tmp_path / "mine.csv", ROWS)
    assert len(make_data(FER2013, path).scan().frame) == len(ROWS)


def test_the_folders_hold_the_same_samples_as_the_csv(tmp_path, folders, write_pixel_csv, make_data):
    by_folder = make_data(FER2013, folders).scan()
    by_csv = make_data(FER2013, write_pixel_csv(tmp_path / "csv" / "fer2013.csv", ROWS)).scan()
    columns = ["id", "label", "official", "split", "group"]
    assert by_folder.release == "image folders"
    assert (
        by_folder.frame[columns].sort_values("id").values.tolist()
        == by_csv.frame[columns].sort_values("id").values.tolist()
    )
    for split in ("train", "val", "test"):
        assert levels(by_folder, split) == levels(by_csv, split)


def test_without_private_test_the_public_test_is_the_test(tmp_path, write_pixel_csv, make_data):
    write_pixel_csv(tmp_path / "fer2013.csv", [row for row in ROWS if row[2] != "PrivateTest"])
    data = make_data(FER2013, tmp_path)
    data.setup()
    assert data.class_counts("test") == [2] * 7
    assert "PrivateTest is absent" in data.samples.notes[0]
    assert data.protocol.test == "PublicTest"
    assert data.protocol.selection.startswith("carved")


def test_public_test_makes_a_complete_file_comparable_with_an_incomplete_one(tmp_path, write_pixel_csv, make_data):
    write_pixel_csv(tmp_path / "complete" / "fer2013.csv", ROWS)
    write_pixel_csv(tmp_path / "incomplete" / "fer2013.csv", [row for row in ROWS if row[2] != "PrivateTest"])
    protocols = []
    for root, split in (("complete", "public_test"), ("incomplete", "official"), ("incomplete", "public_test")):
        data = make_data(FER2013, tmp_path / root, split=split)
        data.setup()
        protocols.append(data.protocol)
    assert protocols[0].counts == {"train": 7, "val": 7, "test": 14}
    assert protocols[0] == protocols[1] == protocols[2]


def test_the_challenge_files_have_training_rows_only(tmp_path, write_pixel_csv, make_data):
    write_pixel_csv(tmp_path / "train.csv", [row for row in ROWS for _ in range(2)], "emotion,pixels")
    write_pixel_csv(tmp_path / "test.csv", ROWS, "pixels")
    samples = make_data(FER2013, tmp_path).scan()
    assert samples.release == "train.csv"
    assert set(samples.frame["official"]) == {"Training"}
    assert "carved from Training" in samples.notes[0]
    with pytest.raises(UserError, match=r"public_test needs PublicTest rows"):
        make_data(FER2013, tmp_path, split="public_test").scan()


def test_renamed_test_files_are_one_test_split(tmp_path, folders, make_data):
    for number, path in enumerate(sorted(folders.rglob("*Test_*.png"))):
        path.rename(path.with_name(f"im{number}.png"))
    samples = make_data(FER2013, folders).scan()
    assert samples.frame["split"].value_counts().to_dict() == {"train": 14, "test": 28}
    assert "file names do not tell" in samples.notes[0]
    assert samples.frame["id"].is_unique


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("test/fear/PublicTest_18.png", "test/fear/stray.png", "test/fear/stray.png: only PublicTest_"),
        ("test/fear/PublicTest_18.png", "test/fear/Training_99.png", "test/fear/Training_99.png: only PublicTest_"),
        (
            "test/fear/PublicTest_18.png",
            "train/fear/PublicTest_18.png",
            "train/fear/PublicTest_18.png: only PublicTest_",
        ),
        ("test/fear/PublicTest_18.png", "test/fear/PublicTest_14.png", "PublicTest_14.png: there is another image of"),
    ],
)
def test_a_strange_name_among_official_ones_is_bad(folders, make_data, before, after, message):
    (folders / before).rename(folders / after)
    with pytest.raises(UserError, match=message):
        make_data(FER2013, folders).scan()
    samples = make_data(FER2013, folders, on_bad_sample="skip").scan()
    assert len(samples.bad) == 1
    assert len(samples.frame) == len(ROWS) - 1


def test_an_unknown_class_folder_is_bad(folders, write_image, make_data):
    write_image(folders / "train" / "contempt" / "Training_99.png")
    with pytest.raises(UserError, match=r"train/contempt: 1 images of an unknown class, expected angry, disgust"):
        make_data(FER2013, folders).scan()


def test_an_empty_class_is_named(folders, make_data):
    for path in (folders / "test" / "disgust").glob("PublicTest_*"):
        path.unlink()
    with pytest.raises(UserError, match=r"class disgust has no image in PublicTest"):
        make_data(FER2013, folders).scan()


def test_bad_rows_are_refused_or_skipped_and_counted(tmp_path, write_pixel_csv, make_data):
    rows = [*ROWS, (9, 0, "Training"), (1, 0, "Test")]
    path = write_pixel_csv(tmp_path / "fer2013.csv", rows)
    with pytest.raises(
        UserError, match=r"fer2013\.csv row 43: emotion must be a code .*got '9'.*1 more like it.*on_bad_sample=skip"
    ):
        make_data(FER2013, tmp_path).scan()
    samples = make_data(FER2013, tmp_path, on_bad_sample="skip").scan()
    assert len(samples.frame) == len(ROWS)
    assert samples.bad == (
        f"{path} row 43: emotion must be a code from 0 to 6; got '9'",
        f"{path} row 44: Usage must be one of Training, PublicTest, PrivateTest; got 'Test'",
    )


def test_a_row_of_the_wrong_length_is_named_when_it_is_decoded(tmp_path, write_pixel_csv, make_data):
    path = write_pixel_csv(tmp_path / "fer2013.csv", ROWS)
    lines = path.read_text().splitlines()
    lines[3] = "1,1 2 3,Training"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"fer2013\.csv row 3: 3 pixels, expected 2304"):
        make_data(FER2013, tmp_path).setup()


@pytest.mark.parametrize("root", [None, "missing", "."])
def test_missing_data_is_one_sentence(tmp_path, make_data, root):
    with pytest.raises(UserError) as told:
        make_data(FER2013, root and tmp_path / root).scan()
    for part in ("No FER2013 was found at data.root=", "fer2013.csv", "icml_face_data.csv", "train.csv", "kaggle.com"):
        assert part in str(told.value)


def test_official_counts_have_the_published_totals():
    assert {part: sum(counts) for part, counts in COUNTS.items()} == {
        "Training": 28709,
        "PublicTest": 3589,
        "PrivateTest": 3589,
    }


def test_the_column_of_parts_is_read_whatever_its_case(tmp_path, write_pixel_csv, make_data):
    path = write_pixel_csv(tmp_path / "fer2013.csv", ROWS)
    text = path.read_text()
    path.write_text(text.replace("Usage", " usage", 1))
    assert set(make_data(FER2013, tmp_path).scan().frame["official"]) == set(USAGES)
    path.write_text(text.replace("Usage", "part", 1))
    with pytest.raises(UserError, match=r"fer2013\.csv has no column Usage, but row 1 names the part Training"):
        make_data(FER2013, tmp_path).scan()


def test_folders_that_are_not_read_are_counted(folders, write_image, make_data):
    write_image(folders / "val" / "sad" / "x.png")
    assert any(f"1 images in {folders / 'val' / 'sad'}" in note for note in make_data(FER2013, folders).scan().notes)
