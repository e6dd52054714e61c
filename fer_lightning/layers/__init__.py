"""Building blocks of the architectures: plain `nn.Module`s on images or maps `(B, C, H, W)`.

- `CBAM`: channel attention, then spatial attention
- `CNNBlock`: stages of convolutions, each ended by max pooling
- `FractalBlock`: texture descriptor and convolution (PsySFA-Net, eq. 1)
- `SpectralBlock`: band-pass in the DCT domain and convolution (PsySFA-Net, eq. 2)
- `PsychologicalAttention`: convolution with a wide kernel (PsySFA-Net, eq. 3)
- `DynamicFeatureFusion`: attention over the tokens of several maps (PsySFA-Net, eqs 4-6)
- `EmotionSuppression`: channel weights that suppress noise (PsySFA-Net, eqs 8-12)
- `LocalBinaryPattern`: codes of the eight neighbours of each pixel
- `GaborBank`: magnitudes of a bank of Gabor filters
- `TransformerBlock`: self-attention and MLP with pre-normalisation
- `MultiHeadAttention`: scaled dot-product attention in several heads
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
