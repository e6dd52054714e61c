"""Losses of logits `(B, K)` against class indices `(B,)` or label distributions `(B, K)`.

- `CrossEntropy`: cross-entropy with label smoothing and class weights
- `DistributionAwareCrossEntropy`: label smoothing that follows the class distribution
- `Distillation`: the labels and the probabilities of a teacher, targets `(B, 2, K)`
- `CompoundLoss`: HAFEM's loss: smoothed cross-entropy, center loss and intra-class variation
- `CenterLoss`: distance of embeddings to the centers of their classes
- `IntraClassVariation`: variance of the embeddings of a class within a batch
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
