from __future__ import annotations

import pytest

from fer_lightning.data.ckplus import SEQUENCES, CKPlus
from fer_lightning.errors import UserError

NAMES = {1: "angry", 2: "contempt", 3: "disgust", 4: "fear", 5: "happy", 6: "sad", 7: "surprise"}
REPACK_FOLDERS = {1: "anger", 2: "contempt", 3: "disgust", 4: "fear", 5: "happy", 6: "sadness", 7: "surprise"}
SUBJECTS = ("S005", "S010", "S011", "S014")
FRAMES = 6
OPTIONS = {"split": "subject_kfold", "frames": 3, "neutral": False}


def stem(subject, code, frame):
    return f"{subject}_{code:03d}_{frame:08d}"


@pytest.fixture
def official(tmp_path, write_image):
    """The owners' tree: every subject poses all expressions in 6 frames, and one sequence without a label.

    The level of an image is ten times the code plus the frame's number.
    """
    for subject in SUBJECTS:
        for code in (*NAMES, 9):
            images = tmp_path / "cohn-kanade-images" / subject / f"{code:03d}"
            for frame in range(1, FRAMES + 1):
                write_image(images / f"{stem(subject, code, frame)}.png", 10 * code + frame)
            (images / ".DS_Store").touch()
            label = tmp_path / "Emotion" / subject / f"{code:03d}"
            label.mkdir(parents=True)
            if code in NAMES:
                (label / f"{stem(subject, code, FRAMES)}_emotion.txt").write_text(f"   {code:.7e}\n")
    return tmp_path


@pytest.fixture
def repack(tmp_path, write_image):
    """CK+48: the last three frames of each sequence, a folder per expression."""
    for subject in SUBJECTS:
        for code, folder in REPACK_FOLDERS.items():
            for frame in range(FRAMES - 2, FRAMES + 1):
                write_image(
                    tmp_path / "CK+48" / folder / f"{stem(subject, code, frame)}.png", 10 * code + frame, side=48
                )
    return tmp_path


def check(samples, frames):
    assert samples.bad == ()
    told = sorted(
        (samples.frame["group"][row], samples.label_set.classes[label], int(samples.reader.read(row).mean()))
        for row, label in enumerate(samples.frame["label"])
    )
    assert told == sorted(
        (subject, name, 10 * code + frame)
        for subject in SUBJECTS
        for code, name in NAMES.items()
        for frame in range(FRAMES - frames + 1, FRAMES + 1)
    )


@pytest.mark.parametrize("frames", [1, 3])
def test_reads_the_last_frames_of_labelled_sequences(official, make_data, frames):
    samples = make_data(CKPlus, official, **{**OPTIONS, "frames": frames}).scan()
    check(samples, frames)
    assert samples.release == f"owners' release, last {frames} frames"
    assert "4 of 32 sequences have no label and are left out" in samples.notes
    assert samples.expected[""]["surprise"] == 83 * frames
    assert samples.frame["id"].is_unique


def test_finds_the_archives_where_they_were_unpacked(official, make_data):
    for above, name in (("extended-cohn-kanade-images", "cohn-kanade-images"), ("Emotion_labels", "Emotion")):
        (official / above).mkdir()
        (official / name).rename(official / above / name)
    check(make_data(CKPlus, official, **OPTIONS).scan(), 3)


def test_the_first_frame_is_neutral_by_option(official, make_data):
    samples = make_data(CKPlus, official, **{**OPTIONS, "neutral": True}).scan()
    assert samples.label_set.classes[6:] == ("neutral", "contempt")
    neutral = samples.frame.index[samples.frame["label"] == 6]
    levels = [int(samples.reader.read(row).mean()) for row in neutral]
    assert sorted(levels) == sorted(10 * code + 1 for code in NAMES for _ in SUBJECTS)
    assert samples.expected[""]["neutral"] == 327
    assert "first frames as neutral" in samples.label_rule


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("root", ["", "CK+48"])
def test_reads_the_repack(repack, make_data, frames, root):
    samples = make_data(CKPlus, repack / root, **{**OPTIONS, "frames": frames}).scan()
    check(samples, frames)
    assert samples.release == f"CK+48 re-pack, last {frames} frames"


def test_both_layouts_have_the_same_ids(official, repack, make_data):
    by_owner = make_data(CKPlus, official, **OPTIONS).scan()
    by_repack = make_data(CKPlus, repack / "CK+48", **OPTIONS).scan()
    columns = ["id", "label", "group"]
    assert (
        by_owner.frame[columns].sort_values("id").values.tolist()
        == by_repack.frame[columns].sort_values("id").values.tolist()
    )


def test_folds_have_disjoint_subjects(official, make_data):
    tested = []
    for fold in range(len(SUBJECTS)):
        data = make_data(CKPlus, official, **OPTIONS, fold=fold)
        data.setup()
        subjects = [set(data.frame["group"][data.frame["split"] == split]) for split in ("train", "val", "test")]
        assert sum(map(len, subjects)) == len(set.union(*subjects)) == len(SUBJECTS)
        assert data.protocol.split.startswith("subject-disjoint")
        tested += subjects[2]
    assert sorted(tested) == sorted(SUBJECTS)


def test_reads_the_csv_and_says_that_it_has_no_subjects(tmp_path, write_pixel_csv, make_data):
    rows = [(code, 10 * code, usage) for usage in ("Training", "PublicTest") for code in range(8) for _ in range(3)]
    write_pixel_csv(tmp_path / "ckextended.csv", rows)
    for neutral in (False, True):
        data = make_data(CKPlus, tmp_path, **{**OPTIONS, "neutral": neutral})
        data.setup()
        assert len(data.frame) == (48 if neutral else 42)
        classes = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
        for row, label in enumerate(data.samples.frame["label"]):
            assert data.label_set.classes[label] == classes[int(data.samples.reader.read(row).mean()) // 10]
        assert "subject independence is impossible" in data.samples.notes[0]
        assert "no subject ids" in data.protocol.release
        assert "without subject ids" in data.protocol.split


@pytest.mark.parametrize("content", ["8.0", "0.0", "happy", ""])
def test_a_bad_label_is_named_and_skipped(official, make_data, content):
    (official / "Emotion" / "S010" / "003" / "S010_003_00000006_emotion.txt").write_text(content)
    with pytest.raises(UserError, match=r"S010_003_00000006_emotion\.txt row 1: expected a code from 1 to 7"):
        make_data(CKPlus, official, **OPTIONS).scan()
    samples = make_data(CKPlus, official, **OPTIONS, on_bad_sample="skip").scan()
    assert (len(samples.frame), len(samples.bad)) == (3 * 27, 1)


def test_a_label_without_images_is_named(official, make_data):
    (official / "cohn-kanade-images" / "S010" / "003").rename(official / "elsewhere")
    with pytest.raises(UserError, match=r"S010_003_00000006_emotion\.txt: there are no images in .*S010/003"):
        make_data(CKPlus, official, **OPTIONS).scan()


def test_a_name_without_subject_is_bad(repack, write_image, make_data):
    write_image(repack / "CK+48" / "happy" / "smile.png")
    with pytest.raises(UserError, match=r"happy/smile\.png: expected a name like S010_004_00000017"):
        make_data(CKPlus, repack, **OPTIONS).scan()


def test_an_empty_class_is_named(repack, make_data):
    for path in (repack / "CK+48" / "contempt").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"CK\+48: class contempt has no image"):
        make_data(CKPlus, repack, **OPTIONS).scan()


def test_options_that_cannot_be_met_are_refused(repack, make_data):
    with pytest.raises(UserError, match=r"no neutral frames: use data\.neutral=false"):
        make_data(CKPlus, repack, **{**OPTIONS, "neutral": True}).scan()
    with pytest.raises(UserError, match=r"data\.frames must be at least 1; got 0"):
        make_data(CKPlus, repack, **{**OPTIONS, "frames": 0})
    with pytest.raises(UserError, match=r"data\.split must be one of subject_kfold.* for ckplus; got official"):
        make_data(CKPlus, repack, **{**OPTIONS, "split": "official"})


def test_missing_labels_are_named(official, make_data):
    (official / "Emotion").rename(official / "labels")
    with pytest.raises(UserError, match=r"Emotion is missing: unpack the owners' Emotion_labels\.zip"):
        make_data(CKPlus, official, **OPTIONS).scan()


def test_missing_data_is_one_sentence(tmp_path, make_data):
    with pytest.raises(UserError) as told:
        make_data(CKPlus, tmp_path, **OPTIONS).scan()
    for part in ("No CK+ was found", "cohn-kanade-images/S005/001", "CK+48", "ckextended.csv", "jeffcohn.net"):
        assert part in str(told.value)


def test_official_counts_have_the_published_totals(repack, make_data):
    assert sum(SEQUENCES.values()) == 327
    expected = make_data(CKPlus, repack, **OPTIONS).scan().expected[""]
    assert [expected[NAMES[code]] for code in NAMES] == [135, 54, 177, 75, 207, 84, 249]


@pytest.mark.parametrize("content", ["3.9", "inf", "nan", "1e400", "3.0\n5.0", "\uff13"])
def test_a_label_that_is_no_whole_code_is_bad(official, make_data, content):
    (official / "Emotion" / "S010" / "003" / "S010_003_00000006_emotion.txt").write_text(content)
    with pytest.raises(UserError, match=r"S010_003_00000006_emotion\.txt row 1: expected a code from 1 to 7"):
        make_data(CKPlus, official, **OPTIONS).scan()


def test_files_of_another_sequence_are_bad(official, make_data):
    folder = official / "Emotion" / "S010"
    (folder / "003" / "S010_003_00000006_emotion.txt").rename(folder / "003" / "S010_004_00000006_emotion.txt")
    with pytest.raises(UserError, match=r"expected a name that begins with S010_003_, as its folder"):
        make_data(CKPlus, official, **OPTIONS).scan()
