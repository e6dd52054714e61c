from __future__ import annotations

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from fer_lightning.data.fer2013 import CODES, COUNTS
from fer_lightning.data.ferplus import MAJORITY_COUNTS
from fer_lightning.data.ferplus_votes import EMOTIONS
from fer_lightning.errors import UserError
from fer_lightning.results.prior import AS_TRAINED, PriorShift, training_prior

CLASSES = ["happy", "sad", "contempt"]
SHARES = np.array([0.7, 0.25, 0.05])


def card_of(shares=SHARES, **fields):
    protocol = {"dataset": "rafdb", "label_rule": "single label", "split": "official", "classes": CLASSES}
    card = {"protocol": protocol, "source": "net.onnx", "temperature": 1.5}
    return {**card, "training_prior": dict(zip(CLASSES, map(float, shares))), **fields}


def mixture(count: int = 3000) -> tuple[GaussianNB, np.ndarray, np.ndarray]:
    """Points and labels of three Gaussians with the shares `SHARES`, and the classifier of these Gaussians."""
    random = np.random.default_rng(0)
    labels = random.choice(3, count, p=SHARES)
    points = random.normal(np.array([[0.0, 0.0], [1.5, 0.5], [1.0, 2.0]])[labels], 1.0)
    return exact(SHARES, points, labels), points, labels


def exact(shares, points, labels) -> GaussianNB:
    """The same Gaussians with other shares; scikit-learn computes their posterior by Bayes' rule."""
    return GaussianNB(priors=np.asarray(shares) / np.sum(shares)).fit(points, labels)


@pytest.mark.parametrize(
    ("prior", "shares"),
    [
        ("balanced", [1, 1, 1]),
        ({"contempt": 1, "happy": 3, "sad": 6}, [3, 6, 1]),  # counts, in any order
        ({"happy": 0.7, "sad": 0.25, "contempt": 0.05}, SHARES),
        ({"happy": 1e-300, "sad": 1e300, "contempt": 1e300}, [1e-300, 1, 1]),
    ],
    ids=["balanced", "counts", "as in training", "extreme"],
)
def test_shifted_posteriors_are_the_exact_ones_under_the_other_prior(prior, shares):
    net, points, labels = mixture()
    shifted = PriorShift.of(prior, card_of())(net.predict_proba(points))
    np.testing.assert_allclose(shifted, exact(shares, points, labels).predict_proba(points), atol=1e-9)


def test_the_training_prior_changes_nothing():
    probabilities = mixture()[0].predict_proba(mixture()[1]).astype(np.float32)
    assert PriorShift.of("training", card_of()) == AS_TRAINED
    assert AS_TRAINED(probabilities) is probabilities
    assert PriorShift.of("training", {"protocol": {"classes": CLASSES}}) == AS_TRAINED  # needs no known shares


def test_tau_scales_the_shift_and_the_temperature_is_passed_on():
    shift = PriorShift.of("balanced", card_of(tau=0.5))
    assert shift.logits == pytest.approx(0.5 * (np.log(1 / 3) - np.log(SHARES)))
    assert (shift.name, shift.temperature) == ("balanced", 1.5)


def test_probabilities_that_are_zero_stay_finite_and_float32():
    shifted = PriorShift.of("balanced", card_of([1 - 2e-9, 1e-9, 1e-9], tau=3.0))(
        np.array([[1, 0, 0], [0, 0, 1]], np.float32)
    )
    assert shifted.dtype == np.float32 and np.isfinite(shifted).all()
    np.testing.assert_allclose(shifted.sum(axis=1), 1, rtol=1e-6)
    assert PriorShift.of("balanced", card_of())(np.zeros((0, 3), np.float32)).shape == (0, 3)


def test_shares_are_the_name_in_a_protocol():
    name = PriorShift.of({"sad": 1, "happy": 2, "contempt": 5}, card_of()).name
    assert name == "happy 0.25, sad 0.125, contempt 0.625"


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("uniform", "prior must be training, balanced, or a share for each class as in {happy: 3, sad: 1, .*'uniform'"),
        (0.5, "prior must be training, balanced, .*; got 0.5"),
        ({"hapy": 1, "sad": 1, "contempt": 1}, "'hapy', which is not a class of this network: did you mean happy?"),
        ({"rain": 1, "sad": 1}, "'rain', which is not a class of this network: the classes are happy, sad, contempt"),
        ({"happy": 1}, "prior must give every class a share; sad, contempt is missing: add it"),
        ({"happy": 0, "sad": 1, "contempt": 1}, "prior must give happy a share above 0; got 0"),
        ({"happy": 1, "sad": -1, "contempt": 1}, "prior must give sad a share above 0; got -1"),
        ({"happy": 1, "sad": float("nan"), "contempt": 1}, "sad a share above 0; got nan"),
        ({"happy": 1, "sad": 1, "contempt": float("inf")}, "contempt a share above 0; got inf"),
        ({"happy": 1, "sad": "much", "contempt": 1}, "sad a share above 0; got 'much'"),
        ({"happy": True, "sad": 1, "contempt": 1}, "happy a share above 0; got True"),
    ],
)
def test_mistakes_are_named(prior, message):
    with pytest.raises(UserError, match=message):
        PriorShift.of(prior, card_of())


@pytest.mark.parametrize("training", [None, {"happy": 0.5, "sad": 0.5}], ids=["not stored", "of other classes"])
def test_unknown_shares_of_the_training_are_an_error(training):
    card = {**card_of(), "training_prior": training} if training else card_of()
    if training is None:
        del card["training_prior"]
    with pytest.raises(UserError, match=r"net\.onnx does not hold the shares of the classes in its training"):
        PriorShift.of("balanced", card)


def old_card(dataset="fer2013", rule="single label", split="official", classes=CODES, command=None):
    """Card of a version that stored no shares."""
    protocol = {"dataset": dataset, "label_rule": rule, "split": split, "classes": list(classes)}
    return {"protocol": protocol, "command": command}


def test_networks_of_earlier_versions_have_the_shares_of_the_official_labels():
    counts = np.array(COUNTS["Training"])
    for split in ("official", "official, validation carved from training by id", "official, without the 9 rows"):
        known = training_prior(old_card(split=split, command="fer train data=fer2013"))
        assert list(known) == list(CODES)
        np.testing.assert_allclose(list(known.values()), counts / counts.sum(), atol=2e-3)
    counts = np.array(MAJORITY_COUNTS["Training"])
    known = training_prior(old_card("ferplus", "FERPlus majority", classes=(*CODES, "contempt")))
    np.testing.assert_allclose([known[name] for name in EMOTIONS], counts / counts.sum(), atol=2e-3)
    soft = training_prior(old_card("ferplus", "FERPlus soft", classes=(*CODES, "contempt")))
    assert sum(soft.values()) == pytest.approx(1, abs=1e-3) and max(soft, key=soft.get) == "neutral"


@pytest.mark.parametrize(
    "fields",
    [
        {"dataset": "rafdb"},
        {"rule": "FERPlus soft"},
        {"split": "paper_70_30"},
        {"split": "official, 700 of the training rows"},
        {"classes": CODES[:6]},
        {"command": "fer train data.sampler=balanced"},
        {"command": "fer train loss.class_weights=inverse"},
    ],
)
def test_other_networks_of_earlier_versions_have_none(fields):
    assert training_prior(old_card(**fields)) is None
