from __future__ import annotations

import pytest

from fer_lightning.data.folder import Folder, image_names, read_class_folders, unused_files
from fer_lightning.errors import UserError


@pytest.fixture
def write_tree(tmp_path, write_image):
    """Writes four images of each class under each split."""

    def write(splits, classes=("Happiness", "bored", "angry"), root="."):
        for part, split in enumerate(splits):
            for code, name in enumerate(classes):
                for number in range(4):
                    write_image(tmp_path / root / split / name / f"{number}.png", 10 * code + part)
        return tmp_path

    return write


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Validation"])
def test_reads_splits_and_classes_by_name(write_tree, make_data, validation):
    samples = make_data(Folder, write_tree(["train", validation, "test"])).scan()
    assert samples.label_set.classes == ("angry", "happy", "bored")
    assert samples.release == "class folders by split"
    by_code = ["happy", "bored", "angry"]
    for row, (label, split, official) in enumerate(samples.frame[["label", "split", "official"]].values):
        code, part = divmod(int(samples.reader.read(row).mean()), 10)
        assert samples.label_set.classes[label] == by_code[code]
        assert split == ("train", "val", "test")[part]
        assert official == ("train", validation, "test")[part]
    assert "train/Happiness/0.png" in set(samples.frame["id"])


@pytest.mark.parametrize("root", [".", "images"])
def test_reads_classes_without_splits(write_tree, make_data, root):
    data = make_data(Folder, write_tree([""], root=root))
    data.setup()
    assert data.samples.release == "class folders without splits"
    assert data.protocol.split.startswith("carved")
    assert sum(data.protocol.counts.values()) == 12
    assert all(data.protocol.counts.values())


def test_reads_a_tree_one_folder_down(write_tree, make_data):
    samples = make_data(Folder, write_tree(["train", "test"], root="download")).scan()
    assert samples.frame["split"].value_counts().to_dict() == {"train": 12, "test": 12}


def test_a_missing_split_is_carved(write_tree, make_data):
    data = make_data(Folder, write_tree(["train", "test"]))
    data.setup()
    assert data.protocol.counts == {"train": 6, "val": 6, "test": 12}


@pytest.mark.parametrize("folder", ["left empty", "missing"])
def test_an_empty_class_is_named(write_tree, make_data, folder):
    root = write_tree(["train", "test"])
    for path in (root / "test" / "bored").iterdir():
        path.unlink()
    if folder == "missing":
        (root / "test" / "bored").rmdir()
    with pytest.raises(UserError, match=r"class bored has no image in test"):
        make_data(Folder, root).scan()
    samples = make_data(Folder, root, on_bad_sample="skip").scan()
    assert len(samples.bad) == 1


def test_missing_images_are_one_sentence(tmp_path, make_data):
    (tmp_path / "train" / "happy").mkdir(parents=True)
    with pytest.raises(UserError, match=r"No folder of images was found at data\.root=.*CLASS/\*\.jpg"):
        make_data(Folder, tmp_path).scan()


def test_maps_folders_by_name_in_sorted_order(tmp_path, write_image):
    for path in ("train/Happiness/b.jpg", "train/Happiness/a.PNG", "train/angry/c.jpg", "test/angry/d.png"):
        write_image(tmp_path / path)
    tree = read_class_folders(tmp_path, ("train", "test"), None)
    assert tree.frame.values.tolist() == [
        ["train/Happiness/a.PNG", "train", "happy"],
        ["train/Happiness/b.jpg", "train", "happy"],
        ["train/angry/c.jpg", "train", "angry"],
        ["test/angry/d.png", "test", "angry"],
    ]
    assert tree.classes == ("angry", "happy")
    assert tree.bad == ()


def test_reads_a_tree_without_splits(tmp_path, write_image):
    write_image(tmp_path / "sad" / "a.jpg")
    assert read_class_folders(tmp_path, (), None).frame.values.tolist() == [["sad/a.jpg", "", "sad"]]


def test_an_unknown_class_is_reported_and_left_out(tmp_path, write_image):
    write_image(tmp_path / "train" / "1" / "a.jpg")
    write_image(tmp_path / "train" / "9" / "b.jpg")
    tree = read_class_folders(tmp_path, ("train",), {"1": "surprise"})
    assert tree.frame["class_name"].tolist() == ["surprise"]
    assert tree.bad == (f"{tmp_path / 'train' / '9'}: 1 images of an unknown class, expected 1",)


def test_an_empty_folder_is_still_a_class(tmp_path):
    (tmp_path / "fear").mkdir()
    tree = read_class_folders(tmp_path, (), None)
    assert tree.classes == ("fear",)
    assert tree.frame.empty


def test_hidden_and_other_files_are_no_images(tmp_path, write_image):
    write_image(tmp_path / "a.jpg")
    for name in ("._a.jpg", "Thumbs.db", "notes.txt"):
        (tmp_path / name).touch()
    assert image_names(tmp_path) == ["a.jpg"]


def test_what_is_not_read_is_counted(tmp_path, write_image):
    for path in ("train/sad/a.jpg", "train/sad/deeper/b.jpg", "holdout/sad/c.jpg", "d.jpg", "train/._e.jpg"):
        write_image(tmp_path / path)
    for path in ("train/sad/f.HEIC", "train/g.HEIC", "README.md", "train/Thumbs.db"):
        (tmp_path / path).touch()
    (note,) = unused_files(tmp_path, ["train/sad/a.jpg"])
    assert note.startswith("5 files are not part of this layout and are left out: ")
    for told in ("1 images in {}/train/sad/deeper", "1 images in {}/holdout/sad", "2 files *.heic in {}"):
        assert told.format(tmp_path) in note
    assert unused_files(tmp_path / "train" / "sad" / "deeper", ["b.jpg"]) == ()


def test_a_name_that_is_not_utf8_is_bad(tmp_path, write_image):
    write_image(tmp_path / "sad" / "a.jpg")
    (tmp_path / "sad" / "b\udcff.jpg").write_bytes(b"")
    tree = read_class_folders(tmp_path, (), None)
    assert tree.frame["path"].tolist() == ["sad/a.jpg"]
    assert len(tree.bad) == 1 and "is not UTF-8: rename it" in tree.bad[0]
