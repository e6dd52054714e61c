"""Images and targets of one split, augmented and normalised batch by batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fer_lightning.data.augmentation import Augmentation
from fer_lightning.data.auxiliary import SideVectors, mirror
from fer_lightning.data.store import Images


class ExpressionDataset(Dataset):
    """One split of a dataset.

    Whole batches are fetched at once (`__getitems__`), which costs one gather from the store and one normalisation for
    the batch instead of one each for every image.

    Args:
        images: Store of the images.
        rows: Row numbers of this split in the store `(N,)`.
        targets: Class indices `(N,)` int64 or label distributions `(N, K)` float32.
        augmentation: What happens to training images; None for evaluation.
        mean: Mean of the pixel values in 0..1, one value or one a channel.
        std: Standard deviation of the pixel values in 0..1, one value or one a channel.
        side: Side vectors of the rows; None where the network takes images alone.
    """

    def __init__(
        self,
        images: Images,
        rows: np.ndarray,
        targets: np.ndarray,
        augmentation: Augmentation | None,
        mean: Sequence[float],
        std: Sequence[float],
        side: SideVectors | None = None,
    ) -> None:
        self.images = images
        self.rows = rows
        self.targets = torch.from_numpy(targets)
        self.augmentation = augmentation
        self.side = side
        self._mean = torch.tensor(mean, dtype=torch.float32).mul(255).view(1, -1, 1, 1)
        self._scale = torch.tensor(std, dtype=torch.float32).mul(255).reciprocal().view(1, -1, 1, 1)

    def __len__(self) -> int:
        return len(self.rows)

    def pixels(self, indices: Sequence[int]) -> np.ndarray:
        """Images after augmentation, uint8 `(B, H, W, C)`."""
        rows = self.rows[np.asarray(indices)]
        batch = self.images.batch(rows)
        return batch if self.augmentation is None else self.augmentation(batch, rows)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(part[0] for part in self.__getitems__([index]))

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """Returns the batch `(image (B, C, H, W) float32, target)`, or `(image, side (B, S) float32, target)`."""
        targets = self.targets[torch.as_tensor(indices)]
        if self.side is None:
            return self._normalised(self.pixels(indices)), targets
        rows = self.rows[np.asarray(indices)]
        pixels, vectors = self.images.batch(rows), self.side.vectors[rows]
        if self.augmentation is not None:
            pixels, mirrored = self.augmentation.track_mirroring(pixels, rows)
            vectors = np.where(mirrored[:, None], mirror(vectors, self.side.kind), vectors)
        return self._normalised(pixels), torch.from_numpy(vectors), targets

    def _normalised(self, pixels: np.ndarray) -> Tensor:
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().sub_(self._mean).mul_(self._scale)
