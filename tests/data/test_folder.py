from __future__ import annotations

import pytest

from fer_lightning.data.folder import Folder
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
    with pytest.raises(UserError, match=r"No images in class folders were found at data\.root=.*CLASS/\*\.jpg"):
        make_data(Folder, tmp_path).scan()
