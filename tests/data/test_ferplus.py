from __future__ import annotations

import numpy as np
import pytest

from fer_lightning.data.fer2013 import FER2013
from fer_lightning.data.ferplus import FOLDERS, MAJORITY_COUNTS, FERPlus, read_vote_labels
from fer_lightning.data.ferplus_votes import EMOTIONS
from fer_lightning.errors import UserError

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
USAGES = ("Training", "PublicTest", "PrivateTest")
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
OWNERS_ORDER = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
UNDECIDED = [5, 0, 0, 5, 0, 0, 0, 0, 0, 0]  # neutral and sad: no majority, but a distribution
DROPPED = [0, 0, 0, 0, 0, 0, 0, 0, 10, 0]
VOTE_LABELS_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def votes_for(emotion):
    return [10 if column == emotion else 0 for column in range(10)]


# Per part: every emotion twice, one row without majority, one dropped by the rules, one without an image name.
# The level of an image tells its emotion's column (8 undecided, 9 dropped) and, in the tens, its part.
ROWS = [
    (usage, 10 * part + level, votes, named)
    for part, usage in enumerate(USAGES)
    for level, votes, named in [
        (9, DROPPED, False),
        *((emotion, votes_for(emotion), True) for emotion in range(8) for _ in range(2)),
        (8, UNDECIDED, True),
        (9, DROPPED, True),
    ]
]


def write_votes(path, rows):
    # As in the owner's file, blank names do not use up a number.
    lines, number = [HEADER], 0
    for usage, _, votes, named in rows:
        lines.append(",".join([usage, f"fer{number:07d}.png" if named else "", *map(str, votes)]))
        number += named
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def csvs(tmp_path, write_pixel_csv):
    """`fer2013new.csv` beside `fer2013.csv`."""
    write_votes(tmp_path / "fer2013new.csv", ROWS)
    write_pixel_csv(tmp_path / "fer2013.csv", [(0, level, usage) for usage, level, _, _ in ROWS])
    return tmp_path


@pytest.fixture
def folders(tmp_path, write_image):
    """The folders that the owner's script generates."""
    number = 0
    lines: dict[str, list[str]] = {usage: [] for usage in USAGES}
    for usage, level, votes, named in ROWS:
        if named:
            write_image(tmp_path / "data" / FOLDERS[usage] / f"fer{number:07d}.png", level, side=48)
            lines[usage].append(f'fer{number:07d}.png,"(0, 0, 48, 48)",' + ",".join(map(str, votes)))
            number += 1
    for usage, name in FOLDERS.items():
        (tmp_path / "data" / name / "label.csv").write_text("\n".join(lines[usage]) + "\n")
    return tmp_path


@pytest.mark.parametrize("layout", ["csvs", "folders"])
def test_majority_reads_both_layouts(request, make_data, layout):
    samples = make_data(FERPlus, request.getfixturevalue(layout), labels="majority").scan()
    assert samples.label_set.classes == CLASSES
    assert samples.distributions is None
    assert samples.label_rule == "FERPlus majority"
    assert samples.bad == samples.notes == ()
    assert samples.frame["split"].tolist() == ["train"] * 16 + ["val"] * 16 + ["test"] * 16
    for row, (label, split) in enumerate(zip(samples.frame["label"], samples.frame["split"])):
        part, emotion = divmod(int(samples.reader.read(row).mean()), 10)
        assert CLASSES[label] == OWNERS_ORDER[emotion]
        assert split == ("train", "val", "test")[part]


def test_ids_are_those_of_fer2013_or_the_owners_image_names(csvs, folders, make_data):
    by_csv = make_data(FERPlus, csvs, labels="majority").scan().frame
    by_folder = make_data(FERPlus, folders / "data", labels="majority").scan().frame
    assert by_csv["id"][:2].tolist() == ["Training_1", "Training_2"]  # row 0 has no image
    assert by_folder["id"][:2].tolist() == ["fer0000000", "fer0000001"]
    assert by_csv["label"].tolist() == by_folder["label"].tolist()


def test_an_image_that_is_listed_twice_counts_twice(folders, make_data):
    labels = folders / "data" / "FER2013Train" / "label.csv"
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join([*lines, lines[0]]))
    frame = make_data(FERPlus, folders, labels="majority").scan().frame
    assert (frame["split"] == "train").sum() == 17
    assert frame["id"].is_unique


@pytest.mark.parametrize("labels", ["probability", "soft"])
def test_distributions_train_and_majority_tests(csvs, make_data, labels):
    samples = make_data(FERPlus, csvs, labels=labels).scan()
    assert samples.frame["split"].value_counts().to_dict() == {"train": 17, "val": 16, "test": 16}
    assert samples.distributions.shape == (49, 8)
    np.testing.assert_allclose(samples.distributions.sum(axis=1), 1)
    undecided = samples.distributions[~samples.frame["majority"]]
    assert undecided.tolist() == [[0, 0, 0, 0, 0.5, 0, 0.5, 0]]  # sad and neutral in the project's order
    decided = samples.frame["majority"].to_numpy()
    np.testing.assert_array_equal(samples.distributions.argmax(axis=1)[decided], samples.frame["label"][decided])
    assert samples.label_rule == f"FERPlus {labels}"


def test_rows_without_majority_are_never_carved_off(tmp_path, write_pixel_csv, make_data):
    rows = [row for row in ROWS if row[0] == "Training"] * 4
    rows += [row for row in ROWS if row[0] == "PublicTest"]
    write_votes(tmp_path / "fer2013new.csv", rows)
    write_pixel_csv(tmp_path / "fer2013.csv", [(0, level, usage) for usage, level, _, _ in rows])
    data = make_data(FERPlus, tmp_path, labels="soft")
    data.setup()
    undecided = data.frame[~data.frame["majority"]]
    assert undecided["split"].tolist() == ["train"] * 4
    assert data.class_counts("val") == [4, 4, 4, 4, 4, 4, 4, 4]
    assert "with a majority" in data.protocol.selection


def test_parts_that_the_pixel_file_lacks_are_left_out(csvs, write_pixel_csv, make_data):
    rows = [(0, level, usage) for usage, level, _, _ in ROWS if usage != "PrivateTest"]
    write_pixel_csv(csvs / "fer2013.csv", rows)
    samples = make_data(FERPlus, csvs, labels="majority").scan()
    assert samples.frame["split"].tolist() == ["train"] * 16 + ["test"] * 16
    assert "PrivateTest is absent" in samples.notes[0]
    assert int(samples.reader.read(16).mean()) == 10


def test_training_rows_alone_are_aligned(csvs, write_pixel_csv, make_data):
    (csvs / "fer2013.csv").unlink()
    write_pixel_csv(
        csvs / "train.csv", [(0, level, "") for usage, level, _, _ in ROWS if usage == "Training"], "emotion,pixels"
    )
    samples = make_data(FERPlus, csvs, labels="majority").scan()
    assert set(samples.frame["official"]) == {"Training"}
    assert len(samples.frame) == 16


def test_a_bad_pixel_row_does_not_shift_the_others(csvs, write_pixel_csv, make_data):
    rows = [(0, level, usage) for usage, level, _, _ in ROWS]
    rows[1] = (99, 0, "Training")
    write_pixel_csv(csvs / "fer2013.csv", rows)
    with pytest.raises(UserError, match=r"fer2013\.csv row 2: emotion must be a code .*got '99'"):
        make_data(FERPlus, csvs, labels="majority").scan()
    samples = make_data(FERPlus, csvs, labels="majority", on_bad_sample="skip").scan()
    assert len(samples.frame) == 47
    assert len(samples.bad) == 1
    for row, label in enumerate(samples.frame["label"]):
        assert CLASSES[label] == OWNERS_ORDER[int(samples.reader.read(row).mean()) % 10]


@pytest.mark.parametrize("change", ["a row too many", "another order"])
def test_files_that_contradict_each_other_are_refused(csvs, write_pixel_csv, make_data, change):
    rows = [(0, level, usage) for usage, level, _, _ in ROWS]
    write_pixel_csv(csvs / "fer2013.csv", [*rows, rows[-1]] if change == "a row too many" else rows[::-1])
    with pytest.raises(UserError, match=r"fer2013\.csv must be row-aligned"):
        make_data(FERPlus, csvs, labels="majority").scan()


def test_a_row_of_an_unknown_part_is_refused(csvs, make_data):
    """Such as a second header: where it lies decides which images the rows after it have."""
    header, *rows = (csvs / "fer2013new.csv").read_text().splitlines(keepends=True)
    (csvs / "fer2013new.csv").write_text("".join([header, *rows[:3], header, *rows[3:]]))
    with pytest.raises(UserError, match=r"fer2013new\.csv row 4: Usage must be one of Training, .*; got 'Usage'"):
        make_data(FERPlus, csvs, labels="majority", on_bad_sample="skip").scan()


def test_a_missing_image_is_named(folders, make_data):
    (folders / "data" / "FER2013Valid" / "fer0000020.png").unlink()
    message = r"FER2013Valid/label\.csv row 3: there is no image fer0000020\.png"
    with pytest.raises(UserError, match=message):
        make_data(FERPlus, folders, labels="majority").scan()
    samples = make_data(FERPlus, folders, labels="majority", on_bad_sample="skip").scan()
    assert (len(samples.frame), len(samples.bad)) == (47, 1)


def test_a_missing_list_is_named(folders, make_data):
    (folders / "data" / "FER2013Valid" / "label.csv").unlink()
    with pytest.raises(UserError, match=r"FER2013Valid/label\.csv is missing"):
        make_data(FERPlus, folders, labels="majority").scan()


def test_an_empty_class_is_named(tmp_path, write_pixel_csv, make_data):
    rows = [row for row in ROWS if row[1] != 17]  # contempt in PublicTest
    write_votes(tmp_path / "fer2013new.csv", rows)
    write_pixel_csv(tmp_path / "fer2013.csv", [(0, level, usage) for usage, level, _, _ in rows])
    with pytest.raises(UserError, match=r"class contempt has no image in PublicTest"):
        make_data(FERPlus, tmp_path, labels="majority").scan()


def test_unknown_label_rules_are_refused(csvs, make_data):
    with pytest.raises(UserError, match=r"data\.labels must be one of .*majority, probability, soft for .*; got votes"):
        make_data(FERPlus, csvs, labels="votes")


def test_votes_without_images_are_one_sentence(tmp_path, make_data):
    write_votes(tmp_path / "fer2013new.csv", ROWS)
    with pytest.raises(UserError) as told:
        make_data(FERPlus, tmp_path, labels="majority").scan()
    for part in ("No FERPlus was found", "fer2013new.csv together with fer2013.csv", "FER2013Train", "github.com"):
        assert part in str(told.value)


def test_official_counts_have_the_published_totals():
    assert {part: sum(counts) for part, counts in MAJORITY_COUNTS.items()} == {
        "Training": 25060,
        "PublicTest": 3199,
        "PrivateTest": 3153,
    }


def test_same_faces_are_held_out_whoever_labels_them(tmp_path, make_data, write_pixel_csv):
    rows = [row for _ in range(8) for row in ROWS]
    options = {"split": "same_faces", "val_fraction": 0.3}
    parts = {}
    for root, kept in (("complete", rows), ("incomplete", [row for row in rows if row[0] != "PrivateTest"])):
        folder = tmp_path / root
        folder.mkdir()
        write_votes(folder / "fer2013new.csv", kept)
        pixels = [(place % 7, level, usage) for place, (usage, level, _, _) in enumerate(kept)]
        write_pixel_csv(folder / "fer2013.csv", pixels)
        for kind, more in ((FER2013, {}), (FERPlus, {"labels": "soft"})):
            data = make_data(kind, folder, **options, **more)
            data.setup()
            parts[root, kind] = {split: set(data.ids(split)) for split in ("train", "val", "test")}
    for root in ("complete", "incomplete"):
        single, votes = parts[root, FER2013], parts[root, FERPlus]
        assert votes["val"] < single["val"] and votes["train"] < single["train"] and votes["test"] < single["test"]
        assert not votes["train"] & single["val"]
        assert {name.partition("_")[0] for name in single["test"]} == {"PublicTest"}
    share = len(single["val"]) / (len(single["val"]) + len(single["train"]))
    assert share == pytest.approx(0.3, abs=0.1)
    assert data.protocol.selection.startswith("carved: 30% of the training rows by id")


def sort_by_name(rows):
    return sorted(rows, key=lambda row: (USAGES.index(row.split(",")[0]), row.split(",")[1] == "", row.split(",")[1]))


@pytest.mark.parametrize(
    "change",
    [sort_by_name, lambda rows: rows[1::-1] + rows[2:], lambda rows: rows[:4] + rows[5:8] + rows[4:5] + rows[8:]],
)
def test_votes_in_another_order_are_refused(csvs, write_pixel_csv, make_data, change):
    rows = [row for row in ROWS for _ in range(2)]
    write_votes(csvs / "fer2013new.csv", rows)
    write_pixel_csv(csvs / "fer2013.csv", [(0, level, usage) for usage, level, _, _ in rows])
    path = csvs / "fer2013new.csv"
    header, *lines = path.read_text().splitlines()
    lines = lines[2:4] + lines[:2] + lines[4:]  # rows without a name lie in between
    if change(lines) == lines:
        return
    path.write_text("\n".join([header, *change(lines)]) + "\n")
    with pytest.raises(UserError, match=r"fer2013new\.csv must be in the owner's order"):
        make_data(FERPlus, csvs, labels="majority").scan()


@pytest.mark.parametrize(
    "counts", ["99,0,0,0,0,0,0,0,0,0", "10,1,0,0,0,0,0,0,0,0", "0,0,0,0,0,0,0,0,0,0", "9.5,0,0,0,0,0,0,0,0,0"]
)
def test_votes_that_ten_annotators_cannot_give_are_bad(csvs, make_data, counts):
    path = csvs / "fer2013new.csv"
    lines = path.read_text().splitlines()
    lines[3] = ",".join([*lines[3].split(",")[:2], counts])
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"fer2013new\.csv row 3: expected 10 counts of votes by 10 annotators"):
        make_data(FERPlus, csvs, labels="majority").scan()
    assert len(make_data(FERPlus, csvs, labels="majority", on_bad_sample="skip").scan().bad) == 1


def test_two_annotations_of_the_same_images(tmp_path, write_pixel_csv):
    votes = [
        "Training,a.png,0,0,0,0,7,3,0,0,0,0",
        "Training,,0,0,0,0,0,0,0,0,0,0",
        "PublicTest,b.png,1,9,0,0,0,0,0,0,0,0",
        "PrivateTest,c.png,0,0,10,0,0,0,0,0,0,0",
    ]
    (tmp_path / "fer2013new.csv").write_text("\n".join([VOTE_LABELS_HEADER, *votes]) + "\n")
    write_pixel_csv(tmp_path / "fer2013.csv", [(0, 1, "Training"), (4, 2, "Training"), (3, 3, "PublicTest")])
    found = read_vote_labels(str(tmp_path))
    assert found.usage.tolist() == ["Training", "PublicTest"]
    assert [EMOTIONS[label] for label in found.label] == ["angry", "happy"]
    assert found.votes.tolist() == [[0, 0, 0, 0, 7, 3, 0, 0, 0, 0], [1, 9, 0, 0, 0, 0, 0, 0, 0, 0]]
    assert found.left_out == 1


def test_a_missing_file_is_told(tmp_path, write_pixel_csv):
    write_pixel_csv(tmp_path / "fer2013.csv", [(0, 1, "Training")])
    with pytest.raises(UserError, match=r"fer2013new\.csv together with fer2013\.csv"):
        read_vote_labels(str(tmp_path))
