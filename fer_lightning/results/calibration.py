"""Calibration error, temperature scaling, and the factor of a change of prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax
from sklearn.metrics import f1_score, recall_score

from fer_lightning.results.prior import PriorShift
from fer_lightning.results.run_record import predicted_arrays

BINS = 15  # number of bins of all calibration errors and reliability diagrams
LEAST, MOST = 0.05, 20.0  # temperatures
MOST_TAU = 3.0
_TAU_SPREAD = 0.5  # standard deviation of tau around 1 before validation is seen
_NEAR = 1e-3  # tolerance of the log temperature: minimize_scalar stops just before a bound
_FLOOR = 1e-12  # smallest probability, as in the recorded loss


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy in bins of equal width.

    Attributes:
        edges: Edges of the M bins, `(M + 1,)`; a bin includes its upper edge.
        counts: Images per bin, `(M,)`.
        confidence: Mean confidence per bin, `(M,)`; NaN in an empty bin.
        accuracy: Share of correct images per bin, `(M,)`; NaN in an empty bin.
        error: Expected calibration error in 0..1; NaN without images.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def reliability(targets: np.ndarray, probabilities: np.ndarray, bins: int) -> Reliability:
    """Confidence and accuracy by bins of the probability of the predicted class.

    Args:
        targets: Class indices `(N,)`.
        probabilities: `(N, K)`.
        bins: Number M of bins over 0..1.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017, equations 2, 3 and 5.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == targets
    edges = np.linspace(0, 1, bins + 1)
    # Probabilities that exceed 1 by rounding belong to the last bin.
    position = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(position, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(position, weights=confidence, minlength=bins) / counts
        accuracy = np.bincount(position, weights=correct, minlength=bins) / counts
        error = np.nansum(counts * np.abs(accuracy - mean_confidence)) / np.float64(counts.sum())
    return Reliability(edges, counts, mean_confidence, accuracy, float(error))


def fit_temperature(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Temperature that maximises the likelihood of predictions.

    Args:
        targets: Class indices `(N,)` of validation images, N at least 1.
        probabilities: `(N, K)`.

    Returns:
        T in `LEAST`..`MOST`; above 1 if the network is overconfident, below 1 if underconfident.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017, section 4.2, equation 9.

    Readings:
        - The paper divides logits. Log probabilities differ from them by a constant in each row, which softmax ignores.
          They are used here because records hold no logits, nor do means of several softmaxes (mirror images, votes).
        - T is bounded: if all predictions are correct, the likelihood rises without limit as T falls.
    """
    logits = _logits(probabilities)
    of_target = logits[np.arange(len(targets)), targets]

    def negative_log_likelihood(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float(np.mean(logsumexp(logits * inverse, axis=1) - of_target * inverse))

    # Convex in 1 / T, hence with one minimum.
    optimum = minimize_scalar(negative_log_likelihood, bounds=(np.log(LEAST), np.log(MOST)), method="bounded")
    return float(np.exp(optimum.x))


def bound_note(temperature: float) -> str:
    """Note on a temperature that is a bound of the fit; empty for an optimum."""
    for bound, name in ((LEAST, "lower"), (MOST, "upper")):
        if abs(np.log(temperature / bound)) < _NEAR:
            return f" (the {name} bound of the fit: no temperature calibrates this net)"
    return ""


def scale_probabilities(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities `(N, K)` scaled by a temperature."""
    return softmax(_logits(probabilities) / temperature, axis=1)


def fit_tau(targets: np.ndarray, probabilities: np.ndarray, shares: np.ndarray) -> float:
    """Factor of a change of prior that maximises the likelihood of predictions if all classes are equally likely.

    Args:
        targets: Class indices `(N,)` of validation images, N at least 1.
        probabilities: `(N, K)`, calibrated by a temperature.
        shares: Shares of the classes in training `(K,)`.

    Returns:
        tau in 0..`MOST_TAU`; 1 if the probabilities are the true posteriors under these shares.

    Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, which chooses tau on held-out images.

    Readings:
        - An image counts as much as its class is rare in validation, so that the classes which have images are equally
          likely. Unlike balanced accuracy, this likelihood is smooth and convex in tau, and keeps confidences honest.
        - One tau serves every target prior: it corrects how much of its prior the network has learned, and label
          smoothing, averaged weights and early stopping change that.
        - Where the shares are almost equal, the likelihood says nothing about tau. A normal distribution around 1 with
          standard deviation 0.5 is therefore part of the maximum; 100 images with unequal shares outweigh it.
    """
    logits, log_shares = _logits(probabilities), np.log(shares)
    weights = 1 / np.bincount(targets)[targets]
    weights *= weights.sum() / (weights @ weights)  # their sum is the number of images of equal weight that say as much
    of_target = logits[np.arange(len(targets)), targets]

    def negative_log_posterior(tau: float) -> float:
        losses = logsumexp(logits - tau * log_shares, axis=1) - (of_target - tau * log_shares[targets])
        return float(weights @ losses + ((tau - 1) / _TAU_SPREAD) ** 2 / 2)

    return float(minimize_scalar(negative_log_posterior, bounds=(0, MOST_TAU), method="bounded").x)


def calibrate(
    predictions: pd.DataFrame, classes: Sequence[str], training: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Fits a temperature and tau on the validation predictions and evaluates them on the test predictions.

    Args:
        predictions: Columns `split`, `target` and `prob_<class>`, with rows of the split `val`.
        classes: The K class names.
        training: Share of each class in training, see `PriorShift`; None where it is not known.

    Returns:
        `temperature`, `fitted_on` (`"val"`), `tau` with `training`, and if there are test rows, `test`: expected
        calibration error `ece` and mean negative log-likelihood `loss` in nats, and both with the temperature as
        `ece_scaled` and `loss_scaled`; with `training` also `balanced`: `accuracy`, `balanced_accuracy` and `macro_f1`
        with `prior="balanced"`.
    """
    targets, probabilities = predicted_arrays(predictions, classes, "val")
    temperature = fit_temperature(targets, probabilities)
    calibration: dict[str, Any] = {"temperature": temperature, "fitted_on": "val"}
    if training is not None:
        shares = np.array([training[name] for name in classes])
        calibration["tau"] = fit_tau(targets, scale_probabilities(probabilities, temperature), shares)
    targets, probabilities = predicted_arrays(predictions, classes, "test")
    if len(targets):
        scaled = scale_probabilities(probabilities, temperature)
        calibration["test"] = {
            "ece": reliability(targets, probabilities, BINS).error,
            "ece_scaled": reliability(targets, scaled, BINS).error,
            "loss": _loss(targets, probabilities),
            "loss_scaled": _loss(targets, scaled),
        }
    if len(targets) and training is not None:
        card = {**calibration, "training_prior": training, "protocol": {"classes": classes}}
        predicted = PriorShift.of("balanced", card)(scaled).argmax(axis=1)
        present = np.unique(targets)
        calibration["balanced"] = {
            "accuracy": float(np.mean(predicted == targets)),
            "balanced_accuracy": float(recall_score(targets, predicted, labels=present, average="macro")),
            "macro_f1": float(f1_score(targets, predicted, average="macro")),
        }
    return calibration


def _logits(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, _FLOOR))


def _loss(targets: np.ndarray, probabilities: np.ndarray) -> float:
    return float(-_logits(probabilities)[np.arange(len(targets)), targets].mean())
