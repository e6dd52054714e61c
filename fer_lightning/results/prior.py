"""Class priors: the probabilities of a network for other shares of the classes than those of its training.

A network learns how frequent a class is as well as what it looks like: where one training image in a hundred shows
contempt, it rarely answers contempt. Bayes' rule exchanges the shares, which adds to the calibrated logits

    tau * (log target share - log training share)

and changes neither the network nor its features. With tau = 1 the result is the exact posterior where the probabilities
are; tau is fitted on validation (`calibration.fit_tau`), because those of a network are not.

Source: Saerens et al., "Adjusting the outputs of a classifier to new a priori probabilities: a simple procedure",
Neural Computation 14 (2002), section 2, for known shares; factor tau: Menon et al., "Long-tail learning via logit
adjustment", ICLR 2021, post-hoc adjustment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax

from fer_lightning.errors import UserError
from fer_lightning.results.protocol import suggest_class

_FLOOR = np.finfo(np.float32).tiny
_NAMES = ("training", "balanced")
# Shares of the training labels of FER2013 and FERPlus, for networks of versions that did not store them.
_SEVEN = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
_KNOWN = {
    "fer2013, single label": (0.1392, 0.0151, 0.1427, 0.2512, 0.1679, 0.1110, 0.1730),
    "ferplus, FERPlus soft": (0.0867, 0.0101, 0.0310, 0.2651, 0.1414, 0.1227, 0.3328, 0.0102),
    "ferplus, FERPlus majority": (0.0834, 0.0047, 0.0215, 0.2913, 0.1210, 0.1260, 0.3475, 0.0046),
}
_OFFICIAL = re.compile(r"official(, validation carved from training by id)?(, without the .*)?")


@dataclass(frozen=True)
class PriorShift:
    """Change of a network's class prior; called with calibrated probabilities `(N, K)`, it returns the changed ones.

    Attributes:
        name: The prior, as in a protocol: `"training"`, `"balanced"`, or the shares by class.
        logits: Summand of the calibrated logits by class; empty for the prior of the training, which changes nothing.
        temperature: Divisor of the network's logits that calibrates them.

    Example:
        >>> card = {"protocol": {"classes": ["happy", "sad"]}, "training_prior": {"happy": 0.9, "sad": 0.1}}
        >>> shift = PriorShift.of("balanced", {**card, "temperature": 1.0, "source": "net"})
        >>> shift(np.array([[0.9, 0.1], [0.75, 0.25]])).round(2).tolist()
        [[0.5, 0.5], [0.25, 0.75]]
    """

    name: str = "training"
    logits: tuple[float, ...] = ()
    temperature: float = 1.0

    @classmethod
    def of(cls, prior: str | Mapping[str, float], card: Mapping[str, Any]) -> PriorShift:
        """Change from the prior of a network's training to another one.

        Args:
            prior: `"training"`; `"balanced"`, all classes equally likely; or the expected share of each class by name,
                positive numbers that are divided by their sum, so that they may also be counts or percentages.
            card: Card of the network (`inference.card`), with its `training_prior` and `tau` where they are known.

        Raises:
            UserError: The prior is not one of these, or the shares of the training are not known.
        """
        classes = card["protocol"]["classes"]
        target = _log_shares(prior, classes)
        if target is None:
            return cls()
        training = training_prior(card)
        if training is None:
            raise UserError(
                f"{card['source']} does not hold the shares of the classes in its training, which any other prior "
                "needs: use prior=training, or train the network again."
            )
        shares = ", ".join(f"{key} {share:.4g}" for key, share in zip(classes, np.exp(target)))
        name = prior if isinstance(prior, str) else shares
        shift = card.get("tau", 1.0) * (target - np.log([training[key] for key in classes]))
        return cls(name, tuple(shift.tolist()), card["temperature"])

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        if not self.logits:
            return probabilities
        shift = np.asarray(self.logits, probabilities.dtype)
        return softmax(np.log(np.maximum(probabilities, _FLOOR)) + shift, axis=1)


AS_TRAINED = PriorShift()


def training_prior(card: Mapping[str, Any]) -> dict[str, float] | None:
    """Share of each class in the training of a network, None where it is not known.

    Networks of versions that did not store it have that of FER2013 or FERPlus, if they were trained on the official
    training images as they are.

    Args:
        card: Card of the network.
    """
    protocol = card["protocol"]
    if "training_prior" in card:
        return dict(card["training_prior"]) if card["training_prior"].keys() == set(protocol["classes"]) else None
    shares = _KNOWN.get(f"{protocol['dataset']}, {protocol['label_rule']}", ())
    command = card.get("command") or ""
    if not _OFFICIAL.fullmatch(protocol["split"]) or "sampler=" in command or "class_weights=" in command:
        return None
    known = dict(zip((*_SEVEN, "contempt"), shares))
    return known if known.keys() == set(protocol["classes"]) else None


def _log_shares(prior: str | Mapping[str, float], classes: Sequence[str]) -> np.ndarray | None:
    """Logarithms `(K,)` of the shares of a prior, which sum to 1; None for that of the training."""
    if isinstance(prior, str) and prior in _NAMES:
        return None if prior == "training" else np.full(len(classes), -np.log(len(classes)))
    if not isinstance(prior, Mapping):
        example = ", ".join(f"{name}: {share}" for name, share in zip(classes, (3, 1, 1)))
        raise UserError(
            f"prior must be training, balanced, or a share for each class as in {{{example}, ...}}; got {prior!r}."
        )
    for name, share in prior.items():
        if name not in classes:
            hint = suggest_class(str(name), classes)
            raise UserError(f"prior names {name!r}, which is not a class of this network: {hint}")
        if isinstance(share, bool) or not isinstance(share, Real) or not 0 < share < math.inf:
            raise UserError(f"prior must give {name} a share above 0; got {share!r}.")
    if missing := [name for name in classes if name not in prior]:
        raise UserError(f"prior must give every class a share; {', '.join(missing)} is missing: add it.")
    return log_softmax(np.log([float(prior[name]) for name in classes]))
