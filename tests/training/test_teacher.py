from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fer_lightning.data.synthetic import Synthetic
from fer_lightning.errors import UserError
from fer_lightning.evaluation.scoring import Inference
from fer_lightning.models.resnet import ResNet
from fer_lightning.results.run_record import RunRecord
from fer_lightning.training.checkpoints import TrainedNet, load_net, save_net
from fer_lightning.training.classifier import hard
from fer_lightning.training.description import describe
from fer_lightning.training.mixup import Mixing
from fer_lightning.training.teacher import teach

CPU = torch.device("cpu")


@pytest.fixture
def student(tmp_path):
    data = Synthetic(size=70, image_size=32, cache_dir=str(tmp_path / "cache"))
    data.setup()
    return data


@pytest.fixture
def save(student, tmp_path):
    """Writes an untrained network as if it had been trained on the student's data, at its own image size."""

    def write(name: str, seed: int, data: Synthetic | None = None, **preprocessing: object) -> str:
        data = data or replace(student, **preprocessing)
        data.setup()
        torch.manual_seed(seed)
        net = ResNet(num_classes=7, widths=[8, 8, 8, 16]).eval()
        path = tmp_path / f"{name}.safetensors"
        save_net(TrainedNet(net, data.label_set.classes, 1, describe(net, data)), path, half=False)
        return str(path)

    return write


def expected(path: str, data: Synthetic, tta: str) -> np.ndarray:
    inference = Inference(load_net(path).net, tta=tta).eval()
    images, targets = data.dataset("train").__getitems__(range(len(data.dataset("train"))))
    with torch.no_grad():
        return inference.predict_step((images, targets), 0)[0].numpy()


def targets_of(data: Synthetic) -> np.ndarray:
    dataset = data.dataset("train")
    return dataset.__getitems__(range(len(dataset)))[1].numpy()


@pytest.mark.parametrize("tta", ["none", "crops"])
def test_targets_are_labels_and_the_mean_of_teachers_of_several_sizes(student, save, tta):
    labels = targets_of(student)
    small, large = save("small", 0), save("large", 1, image_size=48)
    teach(student, [small, large], tta, CPU)
    targets = targets_of(student)
    assert targets.shape == (len(labels), 2, 7) and targets.dtype == np.float32
    np.testing.assert_array_equal(targets[:, 0], np.eye(7)[labels])
    of_large = replace(student, image_size=48)
    of_large.setup()
    mean = (expected(small, student, tta) + expected(large, of_large, tta)) / 2
    np.testing.assert_allclose(targets[:, 1], mean, atol=1e-5)


def test_probabilities_are_computed_once_and_of_each_file(student, save, monkeypatch):
    path = save("net", 0)
    teach(student, [path], "none", CPU)
    first = targets_of(student)
    monkeypatch.setattr(Inference, "predict_step", None)  # a second prediction would fail
    teach(student, [path], "none", CPU)
    np.testing.assert_array_equal(targets_of(student), first)
    for changed in (
        lambda: teach(student, [path], "mirror", CPU),
        lambda: teach(student, [save("net", 1)], "none", CPU),
    ):
        with pytest.raises(TypeError, match="NoneType"):
            changed()


def test_a_teacher_that_may_have_seen_evaluation_images_is_refused(student, save):
    other = save("other", 0, replace(student, face_seed=1))
    with pytest.raises(UserError, match=r"must have the protocol of its student.* differs in .*fingerprint"):
        teach(student, [other], "none", CPU)


def test_mixing_treats_labels_and_teacher_alike():
    torch.manual_seed(0)
    image = torch.arange(6.0).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).clone()
    target = torch.stack([torch.eye(6), torch.eye(6).flip(1)], dim=1)
    mixed, labels = Mixing(1.0, 0.0, 1.0, 6)(image, target)
    assert labels.shape == (6, 2, 6)
    torch.testing.assert_close(labels[:, 0] @ torch.arange(6.0), mixed.mean(dim=(1, 2, 3)))
    torch.testing.assert_close(labels[:, 1], labels[:, 0].flip(1))
    assert hard(target).tolist() == list(range(6))


# Through the command line


def test_a_student_without_learning_rate_shows_the_loss_of_its_teacher(fer, tiny, trained_run, tmp_path):
    """Of a student that keeps its initial weights, the loss must be that of the stored probabilities."""
    folder, cache = tmp_path / "student", tmp_path / "cache"
    options = [*tiny, f"data.cache_dir={cache}", "loss=distillation", "loss.hard_weight=0", "loss.temperature=1"]
    still = ["augment=none", "optimizer=sgd", "optimizer.lr=1e-12", "trainer.max_epochs=1", "model.dropout=0"]
    run = [f"teacher={trained_run}", f"init={trained_run}", "teacher_tta=none", f"hydra.run.dir={folder}"]
    assert fer("train", *options, *still, *run) == 0
    (stored,) = cache.glob("teacher-*.npy")
    probabilities = np.load(stored)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    entropy = -(probabilities * np.log(probabilities)).sum(axis=1).mean()
    loss = RunRecord.read(folder).history["train/loss"].item()
    # Not the entropy itself: in training, batches are normalised by their own statistics.
    assert entropy - 1e-3 < loss < entropy + 0.5
    stored.unlink()  # a finished run needs its teacher no more
    assert fer("train", f"resume={folder}") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["loss=distillation"], "loss=distillation needs the run that it learns from"),
        (["teacher=fer2013"], "teacher=... needs a loss that learns from it: add loss=distillation"),
        (["teacher=fer2013", "loss=distillation", "procedure=gan"], "needs procedure=supervised"),
        (["teacher=nowhere", "loss=distillation"], "teacher=nowhere does not exist"),
        (["teacher=[fer2013,nowhere]", "loss=distillation"], "teacher=nowhere does not exist"),
        (["teacher=fer2013", "loss=distillation"], "must have the protocol of its student"),
    ],
)
def test_refusals(fer, tiny, capsys, options, message, tmp_path):
    assert fer("train", *tiny, *options, f"hydra.run.dir={tmp_path / 'run'}") == 2
    assert message in " ".join(capsys.readouterr().err.split())
