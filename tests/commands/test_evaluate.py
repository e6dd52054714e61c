from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from fer_lightning.errors import UserError
from fer_lightning.results.naming import run_title
from fer_lightning.results.protocol import Protocol
from fer_lightning.results.run_record import RunRecord
from fer_lightning.results.significance import compare

COMMON = ["trainer=cpu", "trainer.precision=32-true", "trainer.enable_progress_bar=false"]


@pytest.fixture
def evaluate(fer, tmp_path):
    """`evaluate(*options)` runs the command and returns its record."""

    def run(*options: object) -> RunRecord:
        folder = tmp_path / "evaluation"
        assert fer("evaluate", *COMMON, f"hydra.run.dir={folder}", *options) == 0
        return RunRecord.read(folder)

    return run


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory):
    """Two of the trained classes and one the net has never heard of, without split folders."""
    root = tmp_path_factory.mktemp("other")
    rng = np.random.default_rng(1)
    for name, count in {"sadness": 12, "happy": 15, "contempt": 18}.items():
        (root / name).mkdir()
        for number in range(count):
            assert cv2.imwrite(str(root / name / f"{number}.png"), rng.integers(0, 256, (40, 40), np.uint8))
    return root


@pytest.mark.parametrize("split", ["test", "val"])
def test_repeats_what_training_reported(evaluate, trained_run, split):
    trained = RunRecord.read(trained_run)
    again = evaluate(f"checkpoint={trained_run}", f"split={split}")
    assert again.metrics["splits"] == {split: trained.metrics["splits"][split]}
    assert again.metrics["protocol"] == again.metrics["trained_under"] == trained.metrics["protocol"]
    before = trained.predictions.query("split == @split").reset_index(drop=True)
    pd.testing.assert_frame_equal(again.predictions, before)


@pytest.mark.parametrize("tta", ["none", "crops"])
def test_it_is_named_as_the_run_is(evaluate, trained_run, capsys, tta):
    metrics = evaluate(f"checkpoint={trained_run}", f"tta={tta}").metrics
    run = json.loads((trained_run / "metrics.json").read_text())
    name = run_title({**run, "variant": {**run["variant"], **({"tta": tta} if tta != "none" else {})}})
    assert run_title(metrics) == name and name.startswith("resnet, ") and name.endswith(" on folder, seed 0")
    assert " ".join(name.split()) in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("option", "tta"), [("tta=mirror", "mirror"), ("flip=true", "mirror"), ("tta=crops", "crops")])
def test_views_are_averaged_and_belong_to_the_protocol(evaluate, trained_run, option, tta):
    plain = evaluate(f"checkpoint={trained_run}").predictions
    flipped = evaluate(f"checkpoint={trained_run}", option)
    assert flipped.metrics["protocol"] == {**RunRecord.read(trained_run).metrics["protocol"], "tta": tta}
    assert not np.allclose(plain["prob_happy"], flipped.predictions["prob_happy"], atol=1e-5)
    np.testing.assert_allclose(flipped.predictions.filter(like="prob_").sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("option", "name", "shares"),
    [
        ("prior=balanced", "balanced", [1, 1, 1]),
        ("prior={surprise: 1, happy: 6, sad: 3}", "happy 0.6, sad 0.3, surprise 0.1", [6, 3, 1]),
    ],
)
def test_another_prior_changes_calibrated_predictions_and_belongs_to_the_protocol(
    evaluate, trained_run, tmp_path, option, name, shares
):
    run = RunRecord.read(trained_run)
    calibration = run.metrics["calibration"]
    shifted = evaluate(f"checkpoint={trained_run}", option)
    assert shifted.metrics["protocol"] == {**run.metrics["protocol"], "prior": name}
    assert shifted.metrics["variant"]["prior"] == name
    # The training split has equally many images of each class.
    columns = [f"prob_{name}" for name in ("happy", "sad", "surprise")]
    plain = run.predictions.query("split == 'test'")[columns].to_numpy()
    expected = plain ** (1 / calibration["temperature"]) * np.array(shares) ** calibration["tau"]
    np.testing.assert_allclose(shifted.predictions[columns], expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
    [pair] = compare(trained_run, tmp_path / "evaluation").itertuples()
    assert pair.second == f"{pair.first}, prior={name}"
    with pytest.raises(UserError, match="cannot be compared \\(prior: 'training' and "):
        Protocol.from_dict(run.metrics["protocol"]).require_same(Protocol.from_dict(shifted.metrics["protocol"]))


def test_other_classes_are_matched_by_name(evaluate, trained_run, other_folder, tmp_path):
    data = ["data=folder", f"data.root={other_folder}", f"data.cache_dir={tmp_path}"]
    record = evaluate(f"checkpoint={trained_run}", *data, "split=train")
    assert record.metrics["protocol"]["classes"] == ["happy", "sad"]
    assert list(record.metrics["left_out"]) == ["contempt"]
    assert record.metrics["never_right"] == ["surprise"]
    assert record.metrics["trained_under"]["classes"] == ["happy", "sad", "surprise"]
    assert list(record.predictions) == ["id", "split", "target", "prob_happy", "prob_sad"]
    named = record.predictions["id"].str.startswith("sadness").astype(int)
    assert record.predictions["target"].tolist() == named.tolist()


def test_the_net_keeps_its_own_preprocessing_and_says_so(evaluate, trained_run, other_folder, tmp_path, capsys):
    options = ["data=folder", f"data.root={other_folder}", f"data.cache_dir={tmp_path}", "data.image_size=64"]
    record = evaluate(f"checkpoint={trained_run}", *options, "data.channels=3")
    assert record.metrics["splits"]["test"]["n"] > 0
    assert any("32px1" in path.name for path in tmp_path.iterdir())
    told = " ".join(capsys.readouterr().out.split())
    assert "data.image_size=64 is ignored: the network was trained with 32" in told and "data.channels=3" in told
    assert record.metrics["preprocessing"]["image_size"] == 32


def test_data_that_has_moved(evaluate, trained_run, tiny_folder, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(tiny_folder, moved)
    record = evaluate(f"checkpoint={trained_run}", f"data.root={moved}", f"data.cache_dir={tmp_path / 'cache'}")
    trained = RunRecord.read(trained_run).metrics
    assert record.metrics["protocol"]["fingerprint"] == trained["protocol"]["fingerprint"]
    assert record.metrics["splits"]["test"] == trained["splits"]["test"]
    assert (tmp_path / "cache").is_dir()


def test_warns_of_rows_the_net_may_have_seen(fer, trained_run, tmp_path, capsys):
    options = [f"checkpoint={trained_run}", "data.root=null", *COMMON, f"hydra.run.dir={tmp_path / 'a'}"]
    assert fer("evaluate", *options) == 0
    assert "trained on another split" not in " ".join(capsys.readouterr().out.split())
    description = json.loads((trained_run / "metrics.json").read_text())["protocol"]
    root = torch.load(trained_run / "checkpoints" / "best.ckpt", weights_only=True)["description"]["data"]["root"]
    options = [*COMMON, "data=folder", f"data.root={root}", "data.split=paper_70_30", f"data.cache_dir={tmp_path}"]
    assert fer("evaluate", f"checkpoint={trained_run}", *options, f"hydra.run.dir={tmp_path / 'b'}") == 0
    assert f"trained on another split or copy of {description['dataset']}" in " ".join(capsys.readouterr().out.split())


def test_a_checkpoint_cannot_name_any_class_as_its_data(fer, trained_run, tmp_path, capsys):
    checkpoint = torch.load(trained_run / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["description"]["data"] = {"_target_": "subprocess.Popen", "args": ["true"]}
    torch.save(checkpoint, tmp_path / "odd.ckpt")
    assert fer("evaluate", f"checkpoint={tmp_path / 'odd.ckpt'}", *COMMON, f"hydra.run.dir={tmp_path}") == 2
    assert "odd.ckpt names 'subprocess.Popen' as its data, which is not part" in capsys.readouterr().err


def test_a_checkpoint_with_an_option_of_another_version(fer, trained_run, tmp_path, capsys):
    checkpoint = torch.load(trained_run / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["description"]["data"]["option_of_another_version"] = 1
    torch.save(checkpoint, tmp_path / "old.ckpt")
    assert fer("evaluate", *COMMON, f"checkpoint={tmp_path / 'old.ckpt'}", f"hydra.run.dir={tmp_path / 'out'}") == 2
    assert "old.ckpt was written by another version, whose data had other options" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "checkpoint=... is missing"),
        (["checkpoint=/nowhere/best.ckpt"], "checkpoint=/nowhere/best.ckpt does not exist"),
        (["checkpoint={run}", "prior=[1,2]"], "prior must be text or a group of options; got the list [1, 2]"),
        (["checkpoint={run}", "prior=even"], "prior must be training, balanced, or a share for each class"),
        (
            ["checkpoint={run}", "prior={{happi: 1}}"],
            "prior names 'happi', which is not a class of this network: did you",
        ),
        (["checkpoint={run}", "split=validation"], "split=validation is unknown: use one of train, val, test"),
    ],
)
def test_mistakes_are_told_in_a_sentence(fer, trained_run, tmp_path, capsys, options, told):
    options = [option.format(run=trained_run) for option in options]
    assert fer("evaluate", *options, f"hydra.run.dir={tmp_path}") == 2
    error = capsys.readouterr().err
    assert told in error and error.startswith("fer evaluate: ") and "Traceback" not in error


def test_evaluations_are_compared_with_runs_under_the_same_protocol(evaluate, trained_run, other_folder, tmp_path):
    evaluate(f"checkpoint={trained_run}", "tta=mirror")
    [pair] = compare(trained_run, tmp_path / "evaluation").itertuples()
    assert pair.second == f"{pair.first}, tta=mirror" and pair.images == 15
    flipped = RunRecord.read(tmp_path / "evaluation").metrics["splits"]["test"]["accuracy"]
    assert (pair.accuracy_second, pair.difference) == pytest.approx((flipped, flipped - pair.accuracy_first))
    with pytest.raises(UserError, match="holds no predictions of split=val: use split=test"):
        compare(trained_run, tmp_path / "evaluation", split="val")
    shutil.rmtree(tmp_path / "evaluation")
    evaluate(f"checkpoint={trained_run}", "data=folder", f"data.root={other_folder}")
    with pytest.raises(UserError, match="follow different protocols and cannot be compared"):
        compare(trained_run, tmp_path / "evaluation")


def test_scores_by_group_of_people(evaluate, trained_run, trees, tmp_path, capsys):
    data = ["data=rafdb", f"data.root={trees / 'rafdb'}", f"data.cache_dir={tmp_path}", "data.val_fraction=0.34"]
    record = evaluate(f"checkpoint={trained_run}", *data, "groups=all")
    fairness = record.metrics["fairness"]
    assert list(fairness) == ["gender", "race", "age"]
    # Images are numbered through both splits; those of the three classes that the network has are scored.
    number = record.predictions["id"].str.removeprefix("test_").astype(int) + 20
    answers = record.predictions.filter(like="prob_").to_numpy().argmax(axis=1)
    for name, code in {"male": 0, "female": 1}.items():
        chosen = (number % 2 == code).to_numpy()
        right = (answers == record.predictions["target"])[chosen]
        assert fairness["gender"]["groups"][name]["n"] == chosen.sum() > 0
        assert fairness["gender"]["groups"][name]["accuracy"] == pytest.approx(right.mean())
    assert sum(group["n"] for group in fairness["age"]["groups"].values()) == len(record.predictions)
    assert fairness["race"]["too_few"] and fairness["race"]["gap"] == {}
    folder = tmp_path / "evaluation"
    table = pd.read_csv(folder / "fairness.csv").set_index(["attribute", "group"])
    assert table.loc[("gender", "male"), "n"] == fairness["gender"]["groups"]["male"]["n"]
    assert (folder / "figures" / "fairness.png").is_file()
    assert "By gender, test" in capsys.readouterr().out


def test_groups_of_a_table_travel_by_image(evaluate, trained_run, tmp_path):
    plain = evaluate(f"checkpoint={trained_run}")
    assert "fairness" not in plain.metrics
    shuffled = plain.predictions.sample(frac=1, random_state=0)
    rows = [
        f"{image},{'even' if target % 2 == 0 else 'odd'}" for image, target in shuffled[["id", "target"]].to_numpy()
    ]
    (tmp_path / "people.csv").write_text("\n".join(["image,team", *rows]))
    grouped = evaluate(f"checkpoint={trained_run}", f"attributes={tmp_path / 'people.csv'}")
    counts = {name: group["n"] for name, group in grouped.metrics["fairness"]["team"]["groups"].items()}
    assert counts == {"even": 10, "odd": 5}
    assert grouped.metrics["splits"] == plain.metrics["splits"]


def test_data_without_attributes_of_people(fer, trained_run, tmp_path, capsys):
    assert fer("evaluate", f"checkpoint={trained_run}", "groups=gender", f"hydra.run.dir={tmp_path}") == 2
    error = capsys.readouterr().err
    assert "groups=gender: the release (class folders by split) has no attributes of the people" in error
    assert "Traceback" not in error
