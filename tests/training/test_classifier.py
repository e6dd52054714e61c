from __future__ import annotations

import functools
import shutil

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fer_lightning.errors import UserError
from fer_lightning.losses.compound import CompoundLoss
from fer_lightning.models.resnet import ResNet
from fer_lightning.training.classifier import ExpressionClassifier
from fer_lightning.training.mixup import Mixing
from fer_lightning.training.schedulers import one_cycle

CLASSES = 3


def make_classifier(scheduler=None, lr: float = 0.1, weight_decay: float = 0.5) -> ExpressionClassifier:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, CLASSES))
    return ExpressionClassifier(
        net=net,
        loss=nn.CrossEntropyLoss(),
        num_classes=CLASSES,
        optimizer=functools.partial(torch.optim.AdamW, lr=lr, weight_decay=weight_decay),
        scheduler=scheduler,
        mixing=Mixing(0.0, 0.0, 1.0, CLASSES),
        channels_last=True,
        description={"classes": ["a", "b", "c"]},
    )


def loader(count: int = 20) -> DataLoader:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 1, 8, 8, generator=generator)
    return DataLoader(TensorDataset(images, torch.randint(CLASSES, (count,), generator=generator)), batch_size=8)


def fit(classifier: ExpressionClassifier, **options: object) -> pl.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(accelerator="cpu", enable_model_summary=False, num_sanity_val_steps=0, **quiet, **options)
    trainer.fit(classifier, loader(), loader(19))
    return trainer


def test_biases_and_norms_are_not_decayed():
    classifier = make_classifier()
    decayed, plain = classifier.configure_optimizers()["optimizer"].param_groups
    net = classifier.net
    assert [id(parameter) for parameter in decayed["params"]] == [id(net[0].weight), id(net[3].weight)]
    assert {id(parameter) for parameter in plain["params"]} == {
        id(parameter) for parameter in (net[0].bias, net[1].weight, net[1].bias, net[3].bias)
    }
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.5, 0.0)


def test_frozen_parameters_are_left_out():
    classifier = make_classifier()
    classifier.net[0].requires_grad_(False)
    groups = classifier.configure_optimizers()["optimizer"].param_groups
    assert sum(len(group["params"]) for group in groups) == 4


def test_the_schedule_gets_the_steps_of_the_whole_training():
    asked = []

    def scheduler(optimizer, steps, steps_per_epoch):
        asked.append((steps, steps_per_epoch))
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)

    fit(make_classifier(scheduler), max_epochs=4, accumulate_grad_batches=2)
    assert asked == [(8, 2)]  # 20 images make 3 batches, which make 2 steps


def test_a_schedule_needs_an_end():
    with pytest.raises(UserError, match=r"needs trainer\.max_epochs or trainer\.max_steps"):
        fit(make_classifier(lambda *_: None), max_epochs=-1)


def test_a_bad_learning_rate_is_a_sentence():
    with pytest.raises(UserError, match="Invalid learning rate: -1"):
        make_classifier(lr=-1.0).configure_optimizers()


def test_validation_scores_the_whole_split_whatever_the_batches():
    classifier = make_classifier()
    logged = fit(classifier, max_epochs=1).callback_metrics
    images, target = loader(19).dataset.tensors
    classifier.eval()
    with torch.no_grad():
        logits = classifier(images)
    assert float(logged["val/accuracy"]) == pytest.approx(float((logits.argmax(dim=1) == target).float().mean()))
    assert float(logged["val/loss"]) == pytest.approx(float(nn.functional.cross_entropy(logits, target)), abs=1e-5)


def test_label_distributions_count_as_their_largest_share():
    classifier = make_classifier()
    image = torch.randn(4, 1, 8, 8)
    soft = torch.tensor([[0.2, 0.5, 0.3]] * 4)
    classifier.log_dict = lambda values, **_: logged.update(values)  # type: ignore[assignment]
    logged: dict[str, torch.Tensor] = {}
    loss = classifier.training_step((image, soft), 0)
    logits = classifier.train()(image)
    assert float(loss.detach()) == pytest.approx(float(nn.functional.cross_entropy(logits, soft).detach()))
    assert float(logged["train/accuracy"]) == float((logits.argmax(dim=1) == 1).float().mean())


def test_the_description_travels_in_the_checkpoint():
    checkpoint: dict[str, object] = {}
    make_classifier().on_save_checkpoint(checkpoint)
    assert checkpoint == {"description": {"classes": ["a", "b", "c"]}}


class TwoParts(nn.Module):
    """A net with an embedding, which takes a side vector as well."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = nn.Linear(4, CLASSES)

    def forward_features(self, image, side):
        return image.mean(dim=(2, 3)) + side

    def forward_head(self, features):
        return self.classify(features)

    def forward(self, image, side):
        return self.forward_head(self.forward_features(image, side))


class Judge(nn.Module):
    needs_features = True

    def forward(self, logits, target, features):
        self.seen = (logits, target, features)
        return features.sum() + logits.sum()


def test_losses_that_judge_embeddings_get_them_and_side_vectors_reach_the_net(monkeypatch):
    classifier = make_classifier()
    classifier.net, classifier.loss = TwoParts(), Judge()
    monkeypatch.setattr(classifier, "log_dict", lambda *_, **__: None)
    image, side, target = torch.randn(2, 4, 8, 8), torch.randn(2, 4), torch.tensor([0, 2])
    loss = classifier.training_step((image, side, target), 0)

    logits, told, features = classifier.loss.seen
    torch.testing.assert_close(features, image.mean(dim=(2, 3)) + side)
    torch.testing.assert_close(logits, classifier.net.classify(features))
    assert told is target
    torch.testing.assert_close(loss, features.sum() + logits.sum())
    torch.testing.assert_close(classifier(image, side), logits)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
@pytest.mark.parametrize("judged", [False, True])
def test_a_compiled_net_learns_the_same(judged):
    def train(compile_net: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        net = ResNet(num_classes=CLASSES, widths=[4, 4, 4, 4])
        loss = CompoundLoss([9, 5, 6], net.embed_dim) if judged else None
        classifier = ExpressionClassifier(net, loss, scheduler=None, description={"a": 1}, compile_net=compile_net)
        fit(classifier, max_epochs=2)
        assert all(name.startswith(("net.", "loss.")) for name, _ in classifier.named_parameters())
        return dict(net.state_dict())

    eager, compiled = train(False), train(True)
    for name, value in eager.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-3, atol=1e-4)


def test_an_ordinary_trainer_tests_and_resumes(tmp_path):
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    classifier = make_classifier(one_cycle)
    trainer = pl.Trainer(max_epochs=2, default_root_dir=tmp_path, **options)
    trainer.fit(classifier, loader(), loader(12))
    [scores] = trainer.test(classifier, loader(12), verbose=False)
    expected = trainer.validate(classifier, loader(12), verbose=False)[0]
    assert scores == {name.replace("val/", "test/"): value for name, value in expected.items()} and len(scores) > 5
    path = trainer.checkpoint_callback.best_model_path
    again = pl.Trainer(max_epochs=2, **options, enable_checkpointing=False)
    again.fit(resumed := make_classifier(one_cycle), loader(), loader(12), ckpt_path=path)
    assert all(torch.equal(*pair) for pair in zip(resumed.parameters(), classifier.parameters()))
    longer = pl.Trainer(max_epochs=3, **options, enable_checkpointing=False)
    with pytest.raises(UserError, match="resume with the max_epochs that the run began with"):
        longer.fit(make_classifier(one_cycle), loader(), loader(12), ckpt_path=path)
