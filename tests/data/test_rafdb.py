from __future__ import annotations

import pytest

from fer_lightning.data.rafdb import COUNTS, RAFDB
from fer_lightning.errors import UserError

NAMES = {1: "surprise", 2: "fear", 3: "disgust", 4: "happy", 5: "sad", 6: "angry", 7: "neutral"}
# Two images of each code in each split; the level of an image is its code, in test plus 10.
ROWS = [(split, number, number % 7 + 1) for split in ("train", "test") for number in range(1, 15)]


def stem(split, number):
    return f"{split}_{number:05d}" if split == "train" else f"{split}_{number:04d}"


@pytest.fixture
def official(tmp_path, write_image):
    """The owner's tree: one list, all aligned images in one folder."""
    lines = [f"{stem(split, number)}.jpg {code}" for split, number, code in ROWS]
    (tmp_path / "basic" / "EmoLabel").mkdir(parents=True)
    (tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines) + "\n")
    for split, number, code in ROWS:
        image = tmp_path / "basic" / "Image" / "aligned" / f"{stem(split, number)}_aligned.jpg"
        write_image(image, code + 10 * (split == "test"), side=100)
    return tmp_path


def annotate(root, name, gender, race, age):
    """The owner's manual annotation of an image: five landmarks, then a code in each line."""
    path = root / "basic" / "Annotation" / "manual" / f"{name}_manu_attri.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    landmarks = "".join(f"{40 + x}.5\t{60 - x}\n" for x in range(5))
    path.write_text(f"{landmarks}{gender}\n{race}\n{age}\n")
    return path


@pytest.fixture
def repack(tmp_path, write_image):
    """The Kaggle re-pack: a folder per code, and two lists above."""
    lists = {"train": ["image,label"], "test": ["image,label"]}
    for split, number, code in ROWS:
        name = f"{stem(split, number)}_aligned.jpg"
        write_image(tmp_path / "DATASET" / split / str(code) / name, code + 10 * (split == "test"), side=100)
        lists[split].append(f"{name},{code}")
    for split, lines in lists.items():
        (tmp_path / f"{split}_labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def check(samples):
    assert samples.label_set.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert samples.bad == ()
    assert len(samples.frame) == len(ROWS)
    for row, (label, split) in enumerate(zip(samples.frame["label"], samples.frame["split"])):
        part, code = divmod(round(samples.reader.read(row).mean()), 10)
        assert samples.label_set.classes[label] == NAMES[code]
        assert split == ("train", "test")[part]
    assert sorted(samples.frame["id"])[:2] == ["test_0001", "test_0002"]


@pytest.mark.parametrize("root", ["", "basic"])
def test_reads_the_owners_release(official, make_data, root):
    samples = make_data(RAFDB, official / root).scan()
    check(samples)
    assert samples.release == "owner's release, aligned images"


@pytest.mark.parametrize("root", ["", "DATASET"])
def test_reads_the_repack(repack, make_data, root):
    samples = make_data(RAFDB, repack / root).scan()
    check(samples)
    assert samples.release == "Kaggle re-pack"


def test_reads_the_repack_without_its_lists(repack, make_data):
    for split in ("train", "test"):
        (repack / f"{split}_labels.csv").unlink()
    samples = make_data(RAFDB, repack).scan()
    check(samples)
    assert samples.release == "Kaggle re-pack, labels by folder"


def test_validation_is_carved_from_training(official, make_data):
    data = make_data(RAFDB, official)
    data.setup()
    assert data.protocol.counts == {"train": 7, "val": 7, "test": 14}
    assert data.protocol.test == "test"
    assert data.protocol.selection.startswith("carved")


def test_the_compound_subset_is_refused(official, make_data):
    labels = official / "basic" / "EmoLabel" / "list_patition_label.txt"
    labels.write_text(labels.read_text().replace("train_00002.jpg 3", "train_00002.jpg 11"))
    for policy in ("raise", "skip"):
        with pytest.raises(UserError, match=r"list_patition_label\.txt row 2: label 11 belongs to the compound subset"):
            make_data(RAFDB, official, on_bad_sample=policy).scan()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("train_00002.jpg 3", "train_00002.jpg 0", "row 2: label must be a code from 1 to 7; got '0'"),
        ("train_00002.jpg 3", "train_00002.jpg x", "row 2: label must be a code from 1 to 7; got 'x'"),
        ("train_00002.jpg 3", "train_99999.jpg 3", "row 2: there is no image .*train_99999_aligned.jpg"),
    ],
)
def test_bad_rows_are_named_and_skipped(official, make_data, old, new, message):
    labels = official / "basic" / "EmoLabel" / "list_patition_label.txt"
    labels.write_text(labels.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        make_data(RAFDB, official).scan()
    samples = make_data(RAFDB, official, on_bad_sample="skip").scan()
    assert (len(samples.frame), len(samples.bad)) == (len(ROWS) - 1, 1)


def test_a_list_that_contradicts_the_folders_is_named(repack, make_data):
    labels = repack / "test_labels.csv"
    labels.write_text(labels.read_text().replace("test_0003_aligned.jpg,4", "test_0003_aligned.jpg,5"))
    with pytest.raises(UserError, match=r"test_labels\.csv row 3: there is no image .*test/5/test_0003_aligned\.jpg"):
        make_data(RAFDB, repack).scan()


def test_a_list_without_its_columns_is_refused(repack, make_data):
    (repack / "test_labels.csv").write_text("name,code\nx,1\n")
    with pytest.raises(UserError, match=r"test_labels\.csv lacks the columns image and label"):
        make_data(RAFDB, repack).scan()


def test_an_image_that_belongs_to_no_split_is_named(official, make_data, write_image):
    labels = official / "basic" / "EmoLabel" / "list_patition_label.txt"
    labels.write_text(labels.read_text() + "val_0001.jpg 3\n")
    write_image(official / "basic" / "Image" / "aligned" / "val_0001_aligned.jpg")
    with pytest.raises(UserError, match=r"image val_0001_aligned\.jpg is neither train_\* nor test_\*"):
        make_data(RAFDB, official).scan()


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_a_corrupt_image_is_named(official, make_data, policy):
    (official / "basic" / "Image" / "aligned" / "train_00005_aligned.jpg").write_bytes(b"no image")
    data = make_data(RAFDB, official, on_bad_sample=policy)
    if policy == "raise":
        with pytest.raises(UserError, match=r"train_00005_aligned\.jpg: not a readable image"):
            data.setup()
    else:
        data.setup()
        assert len(data.frame) == len(ROWS) - 1
        assert len(data.bad) == 1


def test_an_empty_class_is_named(repack, make_data):
    for split in ("train", "test"):
        (repack / f"{split}_labels.csv").unlink()
    for path in (repack / "DATASET" / "test" / "2").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"class fear has no image in test"):
        make_data(RAFDB, repack).scan()


def test_missing_images_are_named(official, make_data):
    (official / "basic" / "Image" / "aligned").rename(official / "basic" / "Image" / "original")
    with pytest.raises(UserError, match=r"basic/Image/aligned is missing"):
        make_data(RAFDB, official).scan()


def test_missing_data_is_one_sentence(tmp_path, make_data):
    with pytest.raises(UserError) as told:
        make_data(RAFDB, tmp_path).scan()
    for part in ("No RAF-DB was found at data.root=", "list_patition_label.txt", "DATASET/{train,test}", "whdeng.cn"):
        assert part in str(told.value)


def test_official_counts_have_the_published_totals(official, make_data):
    assert {split: sum(counts) for split, counts in COUNTS.items()} == {"train": 12271, "test": 3068}
    expected = make_data(RAFDB, official).scan().expected
    assert expected["test"]["happy"] == 1185
    assert expected["train"]["surprise"] == 1290


def test_an_image_that_is_listed_twice_is_bad(official, make_data):
    labels = official / "basic" / "EmoLabel" / "list_patition_label.txt"
    labels.write_text(labels.read_text() + "train_00001.jpg 5\n")
    with pytest.raises(UserError, match=r"row 1: this image is listed twice, again with another label in .* row 29"):
        make_data(RAFDB, official).scan()
    samples = make_data(RAFDB, official, on_bad_sample="skip").scan()
    assert (len(samples.frame), len(samples.bad)) == (len(ROWS) - 1, 2)


def test_images_one_folder_deeper_are_missing_images(official, make_data):
    aligned = official / "basic" / "Image" / "aligned"
    aligned.rename(official / "moved")
    aligned.mkdir()
    (official / "moved").rename(aligned / "aligned")
    with pytest.raises(UserError, match=r"list_patition_label\.txt row 1: there is no image"):
        make_data(RAFDB, official).scan()


def test_reads_the_manual_annotation(official, make_data):
    codes = {"test_0001": (0, 0, 4), "test_0002": (1, 1, 0), "train_00001": (2, 2, 2)}
    for name, row in codes.items():
        annotate(official, name, *row)
    table = make_data(RAFDB, official).scan().attributes(list(codes))
    assert table["gender"].astype(object).fillna("unknown").to_dict() == {
        "test_0001": "male",
        "test_0002": "female",
        "train_00001": "unknown",
    }
    assert table["race"].tolist() == ["Caucasian", "African-American", "Asian"]
    assert table["age"].tolist() == ["70+", "0-3", "20-39"]
    assert list(table["age"].cat.categories) == ["0-3", "4-19", "20-39", "40-69", "70+"]


@pytest.mark.parametrize("change", ["missing", "0\n0\n", "0\n0\n5\n", "0\nx\n1\n"])
def test_annotations_that_cannot_be_used(official, make_data, change):
    annotate(official, "test_0002", 1, 1, 1)
    path = annotate(official, "test_0001", 0, 0, 0)
    if change == "missing":
        path.unlink()
    else:
        path.write_text(path.read_text().removesuffix("0\n0\n0\n") + change)
    ids = ["test_0001", "test_0002"]
    with pytest.raises(UserError, match=r"test_0001_manu_attri\.txt must hold five landmarks and the codes of gender"):
        make_data(RAFDB, official).scan().attributes(ids)
    table = make_data(RAFDB, official, on_bad_sample="skip").scan().attributes(ids)
    assert table.loc["test_0001"].isna().all() and table.loc["test_0002", "gender"] == "female"


def test_only_the_owners_release_has_attributes(official, repack, make_data):
    assert make_data(RAFDB, official / "basic").scan().attributes is None
    assert make_data(RAFDB, repack / "DATASET").scan().attributes is None
