"""Architectures: plain `nn.Module`s from images `(B, C, H, W)` to logits `(B, K)`.

- `Architecture`: base class, which remembers the options of a network for its checkpoint
- `create_model`: builds a network by its name
- `list_models`: names of the networks
- `AffectHead`, `add_affect_head`, `classes_and_affect`: valence and arousal as a second output
- `ConcordanceLoss`: `1 - CCC` of that output
- `AttentionCNN`: CNN after a spatial transformer, after Deep-Emotion
- `AttentionTransformer`: CNN stem, then a transformer over local and global tokens
- `DAN`: residual network with heads of spatial and channel attention
- `HAFEM`: pretrained backbone, CBAM and transformer
- `MultimodalFusion`: appearance and landmarks or blendshapes, fused by a gate
- `PsySFANet`: fractal, spectral and attention blocks, fused, then a CNN with emotion suppression
- `ResNet`: residual network with a stem for small images
- `TimmNet`: any network of timm
- `TwoStage`: CNN, patch attention, then self-attention among channels
- `ViT`: Vision Transformer for small images
- `WeightedVoting`: weighted mean of the probabilities of trained networks
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
