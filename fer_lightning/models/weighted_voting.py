"""Weighted voting: the weighted mean of the class probabilities of several trained networks.

Source: the linear opinion pool, M. Stone, The opinion pool (1961).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fer_lightning.errors import UserError, require_known
from fer_lightning.models.architecture import Architecture

TTA = ("none", "mirror", "crops")


def views(image: Tensor, tta: str) -> Iterator[Tensor]:
    """Views of images whose predictions are averaged at test time.

    Args:
        image: Images `(B, C, H, W)`.
        tta: `"none"`: the images alone; `"mirror"`: their mirror images too; `"crops"`: both, and both of four diagonal
            translations by a sixteenth of the width, ten views like the crops of Krizhevsky et al. (2012). Edge pixels
            are repeated outside the image.

    Yields:
        Images `(B, C, H, W)`.
    """
    height, width = image.shape[-2:]
    shift = round(width / 16) if tta == "crops" else 0
    padded = pad(image, (shift,) * 4, mode="replicate") if shift else image
    signs = ((0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)) if shift else ((0, 0),)
    for down, right in signs:
        top, left = shift * (1 + down), shift * (1 + right)
        view = padded[..., top : top + height, left : left + width]
        yield view
        if tta != "none":
            yield view.flip(-1)


class WeightedVoting(Architecture):
    """Ensemble whose members' class probabilities are averaged with learned weights.

    The members are frozen and stay in evaluation mode. The buffer `weights` (M,) starts with equal weights that sum to
    one; `procedure=vote` fits them on the validation split.

    Args:
        num_classes: Number K of classes, the same for all members.
        members: The M networks; each maps images (B, C, H, W) to logits (B, K).
        tta: Each member votes with the mean of its probabilities for these views of an image, see `views`.
        mirror: Former name of `tta="mirror"`.

    Shape:
        | stage                           | shape        |
        |---------------------------------|--------------|
        | image                           | (B, C, H, W) |
        | log-probabilities of members    | (B, M, K)    |
        | log of their weighted mean      | (B, K)       |

    Readings:
        - The row "Weighted Voting" of Tables 10-12 of PsySFA-Net has no citation there. Its section 2.5 calls the
          method of reference 27 (Shah et al. 2023) a weighted voting inspired by the prisoner's dilemma; the abstract
          of that paper is about recognising persons by three-way decisions and mentions no weights. Neither the members
          nor the rule of that row are known: this is the plain form of a weighted vote, not the authors' baseline.
        - Soft votes: probabilities are averaged, so an uncertain member counts less, and the vote is a distribution.
        - One weight per member for all classes: weights per class are K times as many values to fit on rare classes,
          and their vote no longer sums to one.
        - All views of an image share the weight of their member: separate weights could only distinguish left from
          right, or one side of the face.

    Raises:
        UserError: `members` is empty.
    """

    weights: Tensor

    def __init__(
        self, *, num_classes: int, members: Sequence[nn.Module], tta: str = "none", mirror: bool = False
    ) -> None:
        super().__init__()
        require_known("model.tta", tta, TTA)
        if not members:
            raise UserError(
                "model.checkpoints must name the finished runs that vote, as in "
                "'model.checkpoints=[outputs/a,outputs/b]'; got an empty list."
            )
        self.num_classes = num_classes
        self.tta = "mirror" if mirror and tta == "none" else tta
        self.members = nn.ModuleList(members).requires_grad_(False)
        self.register_buffer("weights", torch.full((len(members),), 1 / len(members)))
        self.train()

    def train(self, mode: bool = True) -> WeightedVoting:
        """Sets the mode of this module but not of its members, which stay in evaluation mode."""
        super().train(mode)
        self.members.eval()
        return self

    def member_log_probabilities(self, image: Tensor) -> Tensor:
        """Log-probabilities (B, M, K) of the members for images (B, C, H, W)."""
        return torch.stack([self._log_probabilities(member, image) for member in self.members], dim=1)

    def _log_probabilities(self, member: nn.Module, image: Tensor) -> Tensor:
        votes = torch.stack([member(view).float().log_softmax(dim=1) for view in views(image, self.tta)])
        return votes.logsumexp(dim=0) - math.log(len(votes))

    def vote(self, log_probabilities: Tensor) -> Tensor:
        """Log of the weighted mean (B, K) of the members' probabilities, given as logs (B, M, K)."""
        return (log_probabilities + self.weights.log()[:, None]).logsumexp(dim=1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W), whose softmax is the vote."""
        return self.vote(self.member_log_probabilities(image))
