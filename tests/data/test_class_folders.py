from __future__ import annotations

from fer_lightning.data.class_folders import image_names, read_class_folders, unused_files


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
