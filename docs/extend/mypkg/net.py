"""A network: any module from images to logits. It is called with the options of its config and `num_classes`."""

from __future__ import annotations

from torch import Tensor, nn


class MyNet(nn.Module):
    """Two convolutions, average pooling and a linear layer.

    Args:
        num_classes: Number K of classes, of the data set.
        in_channels: Number C of channels of the images.
        width: Channels of the second convolution, the size of the embedding.
        dropout: Dropout rate before the last layer.
    """

    def __init__(self, num_classes: int = 7, in_channels: int = 1, width: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(in_channels, width // 2, 3, stride=2, padding=1),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(width, num_classes)
        self.embed_dim = width  # of forward_features, for losses with an embedding and for Predictor.embed
        self.gradcam_layer = self.convolutions  # whose output Grad-CAM weighs; any layer `(B, D, h, w)`

    def forward_features(self, image: Tensor) -> Tensor:
        """Embedding `(B, width)` of images `(B, C, H, W)`."""
        return self.convolutions(image).mean(dim=(2, 3))

    def forward_head(self, features: Tensor) -> Tensor:
        """Logits `(B, K)` of embeddings `(B, width)`, for losses that see both, such as HAFEM's."""
        return self.classify(self.dropout(features))

    def forward(self, image: Tensor) -> Tensor:
        """Logits `(B, K)` of images `(B, C, H, W)`."""
        return self.forward_head(self.forward_features(image))
