"""Conditional GAN for small faces.

The nets are those of A. Radford et al., Unsupervised representation learning with deep convolutional generative
adversarial networks (DCGAN, 2016), https://arxiv.org/abs/1511.06434. The generator is conditioned on the class by
conditional batch normalisation (V. Dumoulin et al., A learned representation for artistic style, 2017,
https://arxiv.org/abs/1610.07629, eq. 5, for instance normalisation and styles), the discriminator by a projection
(T. Miyato, M. Koyama, cGANs with projection discriminator, 2018, https://arxiv.org/abs/1802.05637). All weights of the
discriminator are spectrally normalised (T. Miyato et al., Spectral normalization for generative adversarial networks,
2018, https://arxiv.org/abs/1802.05957).
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from fer_lightning.errors import UserError
from fer_lightning.layers.precision import without_autocast

_HALVINGS = 4


class Generator(nn.Module):
    """Generator of a face from noise and a class.

    Args:
        num_classes: Number K of classes.
        channels: Channels C of the images.
        image_size: Height and width S of the images in pixels, a multiple of 16 in 32..96.
        latent_dim: Length L of the noise.
        width: Channels w of the largest map; each smaller one has twice as many.

    Shape:
        | stage                                                  | shape                  |
        |--------------------------------------------------------|------------------------|
        | latent, label                                          | (B, L), (B,)           |
        | linear, conditional batch normalisation, ReLU          | (B, 8w, S / 16, S / 16)|
        | 3 transposed 4x4 convolutions with stride 2, each with | (B, w, S / 2, S / 2)   |
        | conditional batch normalisation and ReLU               |                        |
        | transposed 4x4 convolution with stride 2, tanh         | (B, C, S, S) in -1..1  |

    Readings:
        - DCGAN starts at 4x4 and makes 64 pixels; here the first map is S / 16, 3x3 for 48 pixels.
        - DCGAN has no classes. Conditional batch normalisation, as in Miyato and Koyama, follows the linear layer and
          every transposed convolution but the last.
        - Weights are drawn from a normal distribution with standard deviation 0.02, as DCGAN's.

    Raises:
        UserError: `image_size` is none of these.
    """

    def __init__(
        self, *, num_classes: int, channels: int = 1, image_size: int = 48, latent_dim: int = 64, width: int = 48
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self._side = _smallest_side(image_size)
        widths = [8 * width, 4 * width, 2 * width, width]
        self.project = nn.Linear(latent_dim, widths[0] * self._side**2)
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 4, 2, 1, bias=False)
            for coarse, fine in zip(widths, [*widths[1:], channels])
        )
        self.norms = nn.ModuleList(ConditionalBatchNorm(count, num_classes) for count in widths)
        for layer in (self.project, *self.grow):
            nn.init.normal_(layer.weight, std=0.02)

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        """Faces (B, C, S, S) between -1 and 1, of noise (B, L) and class indices (B,)."""
        features = self.project(latent).unflatten(1, (-1, self._side, self._side))
        for norm, grow in zip(self.norms, self.grow):
            features = grow(F.relu(norm(features, label)))
        return features.float().tanh()


class Discriminator(nn.Module):
    """Projection discriminator: `f(x, y) = w . phi(x) + b + v_y . phi(x)`, higher for real images.

    This is eq. 8 of Miyato and Koyama with a linear psi; v_y is an embedding of the class.

    Args:
        num_classes: Number K of classes.
        channels: Channels C of the images.
        image_size: Height and width S of the images in pixels, a multiple of 16 in 32..96.
        width: Channels w of the first map; each smaller one has twice as many.

    Shape:
        | stage                                                          | shape                   |
        |----------------------------------------------------------------|-------------------------|
        | image, label                                                   | (B, C, S, S), (B,)      |
        | 4 convolutions 4x4 with stride 2, each with leaky ReLU         | (B, 8w, S / 16, S / 16) |
        | sum over all places, phi                                       | (B, 8w)                 |
        | w . phi(x) + b + v_y . phi(x)                                  | (B,)                    |

    Readings:
        - The convolutions are DCGAN's without batch normalisation, which would let the score of an image depend on the
          others of its batch. Miyato and Koyama use residual blocks, which cost several times as much.
        - Leaky ReLU has slope 0.1, as in the paper on spectral normalisation; DCGAN's is 0.2.
        - Weights start with Xavier's distribution; their scale is normalised away.
        - Spectral norms are computed in fp32 under autocast, because one step of the power iteration is too inaccurate
          from rounded vectors.

    Raises:
        UserError: `image_size` is none of these.
    """

    def __init__(self, *, num_classes: int, channels: int = 1, image_size: int = 48, width: int = 32) -> None:
        super().__init__()
        _smallest_side(image_size)
        widths = [channels, width, 2 * width, 4 * width, 8 * width]
        convs = [nn.Conv2d(fine, coarse, 4, 2, 1) for fine, coarse in pairwise(widths)]
        head, embedding = nn.Linear(widths[-1], 1), nn.Embedding(num_classes, widths[-1])
        for weight in (*(conv.weight for conv in convs), head.weight, embedding.weight):
            nn.init.xavier_uniform_(weight)
        self.convs = nn.ModuleList(spectral_norm(conv) for conv in convs)
        self.head, self.embedding = spectral_norm(head), spectral_norm(embedding)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        """Scores (B,) of images (B, C, S, S) between -1 and 1 and class indices (B,); high is real."""
        with parametrize.cached():
            with without_autocast(image.device):
                for conv in self.convs:
                    conv.weight  # noqa: B018  # fills the cache that the forward pass below reads
            features = image
            for conv in self.convs:
                features = F.leaky_relu(conv(features), 0.1)
            with without_autocast(image.device):
                features = features.float().sum((2, 3))
                return self.head(features).squeeze(1) + (self.embedding(label) * features).sum(1)


def _smallest_side(image_size: int) -> int:
    if image_size not in range(32, 97, 2**_HALVINGS):
        raise UserError(f"data.image_size must be 32, 48, 64, 80 or 96 for procedure=gan; got {image_size}.")
    return image_size // 2**_HALVINGS


class ConditionalBatchNorm(nn.Module):
    """`scale[y] * (x - mean) / sd + shift[y]`: statistics of the batch, scale and shift of the class y.

    Args:
        channels: Channels C of the map.
        num_classes: Number K of classes.

    Shape:
        Maps (B, C, H, W) and class indices (B,) to (B, C, H, W).
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Parameter(torch.ones(num_classes, channels))
        self.shift = nn.Parameter(torch.zeros(num_classes, channels))

    def forward(self, features: Tensor, label: Tensor) -> Tensor:
        normal = self.norm(features)
        scale, shift = (table[label].to(normal.dtype)[..., None, None] for table in (self.scale, self.shift))
        return torch.addcmul(shift, normal, scale)
