from __future__ import annotations

import numpy as np
import pytest
import torch

from fer_lightning.data.affectnet import NEW_VAL_COUNTS, TRAIN_COUNTS, AffectNet
from fer_lightning.errors import UserError

NAMES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"


def old_line(image, code):
    return f"{image},134,134,899,899,181.64;530.91;188.32;627.82,{code},-0.5,0.25"


@pytest.fixture
def old_release(tmp_path, write_image):
    """File lists (validation.csv without a header) and images in numbered folders; two images a code, 0 to 10."""
    lists = tmp_path / "Manually_Annotated_file_lists"
    lists.mkdir()
    for part, name in enumerate(("training", "validation")):
        lines = [HEADER] if name == "training" else []
        for number in range(22):
            code, image = number % 11, f"{100 * part + number}/{number:02x}c0ffee.jpg"
            write_image(tmp_path / "Manually_Annotated_Images" / image, code + 20 * part)
            lines.append(old_line(image, code))
        (lists / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def new_release(tmp_path, write_image):
    """A file for each annotation of each image."""
    for part, name in enumerate(("train_set", "val_set")):
        (tmp_path / name / "annotations").mkdir(parents=True)
        for number in range(22):
            code = number % 11
            write_image(tmp_path / name / "images" / f"{number}.jpg", code + 20 * part)
            annotations = {"exp": str(code), "val": "-0.5", "aro": "0.25", "lnd": np.zeros(136)}
            for kind, value in annotations.items():
                np.save(tmp_path / name / "annotations" / f"{number}_{kind}.npy", value)
    return tmp_path


@pytest.mark.parametrize("layout", ["old_release", "new_release"])
@pytest.mark.parametrize("classes", [7, 8])
def test_reads_both_releases(request, make_data, layout, classes):
    samples = make_data(AffectNet, request.getfixturevalue(layout), classes=classes).scan()
    assert samples.release.startswith(layout.split("_")[0])
    assert samples.label_rule == f"single label, {classes} classes"
    assert len(samples.label_set) == classes
    assert ("contempt" in samples.label_set.classes) == (classes == 8)
    assert samples.frame["split"].value_counts().to_dict() == {"train": 2 * classes, "test": 2 * classes}
    for row, (label, split) in enumerate(zip(samples.frame["label"], samples.frame["split"])):
        part, code = divmod(round(samples.reader.read(row).mean()), 20)
        assert samples.label_set.classes[label] == NAMES[code]
        assert split == ("train", "test")[part]
    assert samples.bad == ()
    assert samples.frame["id"].is_unique
    assert "by convention" in samples.notes[0]


def test_selection_is_carved_from_training(new_release, make_data):
    data = make_data(AffectNet, new_release, classes=8)
    data.setup()
    assert data.protocol.counts == {"train": 8, "val": 8, "test": 16}
    assert data.protocol.test == "val_set"


@pytest.mark.parametrize("place", ["Manually_Annotated/Manually_Annotated_Images", "Manually_Annotated"])
def test_finds_the_images_of_the_old_release(old_release, make_data, place):
    (old_release / "Manually_Annotated").mkdir()
    (old_release / "Manually_Annotated_Images").rename(old_release / "moved")
    target = old_release / place
    if target.exists():
        target.rmdir()
    (old_release / "moved").rename(target)
    assert len(make_data(AffectNet, old_release, classes=7).scan().frame) == 28


def test_reads_annotations_that_are_numbers(new_release, make_data):
    np.save(new_release / "train_set" / "annotations" / "3_exp.npy", np.int64(3))
    assert len(make_data(AffectNet, new_release, classes=7).scan().frame) == 28


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (old_line("3/03c0ffee.jpg", 11), "training.csv row 4: expression must be a code from 0 to 10; got '11'"),
        (old_line("3/03c0ffee.jpg", "sad"), "training.csv row 4: expression must be a code from 0 to 10; got 'sad'"),
        (old_line("3/missing.jpg", 3), "training.csv row 4: there is no image .*3/missing.jpg"),
        ("3/03c0ffee.jpg,3", "training.csv row 4: 2 fields, expected 9"),
    ],
)
def test_bad_rows_of_the_old_release_are_named_and_skipped(old_release, make_data, line, message):
    path = old_release / "Manually_Annotated_file_lists" / "training.csv"
    lines = path.read_text().splitlines()
    lines[4] = line
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=message):
        make_data(AffectNet, old_release, classes=7).scan()
    samples = make_data(AffectNet, old_release, classes=7, on_bad_sample="skip").scan()
    assert (len(samples.frame), len(samples.bad)) == (27, 1)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("code", r"3_exp\.npy: expression must be a code from 0 to 10; got '42'"),
        ("file", r"3_exp\.npy: expression must be a code from 0 to 10; got 'unreadable'"),
        ("annotation", r"images/3\.jpg: there is no annotation 3_exp\.npy"),
        ("image", r"3_exp\.npy: there is no image of this number"),
    ],
)
def test_bad_files_of_the_new_release_are_named_and_skipped(new_release, make_data, damage, message):
    annotation = new_release / "val_set" / "annotations" / "3_exp.npy"
    if damage == "code":
        np.save(annotation, "42")
    elif damage == "file":
        annotation.write_bytes(b"")
    elif damage == "annotation":
        annotation.unlink()
    else:
        (new_release / "val_set" / "images" / "3.jpg").unlink()
    with pytest.raises(UserError, match=message):
        make_data(AffectNet, new_release, classes=7).scan()
    samples = make_data(AffectNet, new_release, classes=7, on_bad_sample="skip").scan()
    assert (len(samples.frame), len(samples.bad)) == (27, 1)


def test_an_empty_class_is_named(new_release, make_data):
    for number in (5, 16):
        (new_release / "val_set" / "images" / f"{number}.jpg").unlink()
        (new_release / "val_set" / "annotations" / f"{number}_exp.npy").unlink()
    with pytest.raises(UserError, match=r"class disgust has no image in val_set"):
        make_data(AffectNet, new_release, classes=7).scan()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("Manually_Annotated_file_lists/validation.csv", r"validation\.csv is missing"),
        ("Manually_Annotated_Images", r"Manually_Annotated_Images is missing.*holds 0/00c0ffee\.jpg"),
    ],
)
def test_missing_parts_of_the_old_release_are_named(old_release, make_data, path, message):
    (old_release / path).rename(old_release / "elsewhere")
    with pytest.raises(UserError, match=message):
        make_data(AffectNet, old_release, classes=7).scan()


def test_the_kaggle_repack_is_refused(tmp_path, write_image, make_data):
    (tmp_path / "labels.csv").write_text(",pth,label,relFCs\n0,anger/image0000006.jpg,surprise,0.87\n")
    write_image(tmp_path / "anger" / "image0000006.jpg", side=96)
    with pytest.raises(UserError, match=r"must not be reported as AffectNet.*data=folder"):
        make_data(AffectNet, tmp_path, classes=8).scan()


def test_other_numbers_of_classes_are_refused(new_release, make_data):
    with pytest.raises(UserError, match=r"data\.classes must be one of 7, 8.* for affectnet; got 6"):
        make_data(AffectNet, new_release, classes=6)


def test_missing_data_is_one_sentence(tmp_path, make_data):
    with pytest.raises(UserError) as told:
        make_data(AffectNet, tmp_path, classes=7).scan()
    for part in (
        "No AffectNet was found",
        "Manually_Annotated_file_lists",
        "annotations/N_exp.npy",
        "mohammadmahoor.com",
    ):
        assert part in str(told.value)


def test_official_counts_have_the_published_totals():
    assert (sum(TRAIN_COUNTS), sum(TRAIN_COUNTS[:7])) == (287651, 283901)
    assert (sum(NEW_VAL_COUNTS), sum(NEW_VAL_COUNTS[:7])) == (3999, 3500)


def test_an_image_that_is_listed_twice_or_lies_outside_is_bad(old_release, make_data):
    path = old_release / "Manually_Annotated_file_lists" / "training.csv"
    whole = path.read_text()
    for line, told in (
        (old_line("./3/03C0FFEE.jpg", 4), "this image is listed twice, again with another label"),
        (old_line("../secret.jpg", 4), "row 23: the image '../secret.jpg' must lie inside"),
    ):
        path.write_text(f"{whole}{line}\n")
        with pytest.raises(UserError, match=told):
            make_data(AffectNet, old_release, classes=7).scan()


def test_an_annotation_that_pickles_or_is_huge_is_unreadable(new_release, make_data):
    path = new_release / "val_set" / "annotations" / "3_exp.npy"
    header = str({"descr": "<i8", "fortran_order": False, "shape": (10**15,)}).encode()
    for write in (
        lambda: np.save(path, np.array({}, object), allow_pickle=True),
        lambda: path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header),
        lambda: np.save(path, np.array([3, 3])),
    ):
        write()
        with pytest.raises(UserError, match=r"3_exp\.npy: expression must be .*; got 'unreadable'"):
            make_data(AffectNet, new_release, classes=7).scan()


def test_valence_and_arousal_are_read_on_request(old_release, make_data):
    assert "valence" not in make_data(AffectNet, old_release).scan().frame
    path = old_release / "Manually_Annotated_file_lists" / "training.csv"
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace("-0.5,0.25", "-2,-2")
    path.write_text("\n".join(lines))
    data = make_data(AffectNet, old_release, affect=True, batch_size=32)
    frame = data.scan().frame
    assert frame.loc[0, ["valence", "arousal"]].isna().all()
    assert (frame.loc[1:, "valence"] == -0.5).all() and (frame.loc[1:, "arousal"] == 0.25).all()
    plain = make_data(AffectNet, old_release)
    data.setup()
    plain.setup()
    assert data.protocol == plain.protocol
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        image, (label, affect) = next(iter(loader))
        assert affect.shape == (len(image), 2) and affect.dtype == torch.float32 and label.dtype == torch.int64
    image, (label, affect) = next(iter(data.test_dataloader()))
    frame = data.frame[data.frame["split"] == "test"]
    np.testing.assert_allclose(affect, frame[["valence", "arousal"]])
    _, target = next(iter(data.eval_dataloader("test")))  # of evaluations, whose targets are in the frame
    assert target.equal(label)


@pytest.mark.parametrize("value", ["-0.5", -0.5, np.float32(-0.5)])
def test_valence_and_arousal_of_the_new_release(new_release, make_data, value):
    folder = new_release / "val_set" / "annotations"
    np.save(folder / "1_val.npy", value)
    np.save(folder / "2_aro.npy", "-2")
    frame = make_data(AffectNet, new_release, affect=True).scan().frame.set_index("id")
    assert frame.loc["val_set/images/1.jpg", "valence"] == -0.5
    assert frame.loc["val_set/images/2.jpg", ["valence", "arousal"]].isna().all()


@pytest.mark.parametrize("value", ["1.5", "nan", "happy", np.zeros(3)])
def test_bad_valence_is_named_and_skipped(new_release, make_data, value):
    np.save(new_release / "train_set" / "annotations" / "3_val.npy", value)
    message = r"3_val\.npy and 3_aro\.npy: valence and arousal must be numbers from -1 to 1, or -2 where not annotated"
    with pytest.raises(UserError, match=message):
        make_data(AffectNet, new_release, affect=True).scan()
    samples = make_data(AffectNet, new_release, affect=True, on_bad_sample="skip").scan()
    assert (len(samples.frame), len(samples.bad)) == (27, 1)
    assert len(make_data(AffectNet, new_release).scan().frame) == 28


@pytest.mark.parametrize("text", ["-0.5,1.01", "x,0.25", "nan,0"])
def test_bad_arousal_of_the_old_release(old_release, make_data, text):
    path = old_release / "Manually_Annotated_file_lists" / "training.csv"
    path.write_text(path.read_text().replace("-0.5,0.25", text, 1))
    with pytest.raises(UserError, match=r"training\.csv row 1: valence and arousal must be numbers from -1 to 1"):
        make_data(AffectNet, old_release, affect=True).scan()
