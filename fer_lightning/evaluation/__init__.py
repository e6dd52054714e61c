"""Scores of trained networks: predictions of a split, metrics, robustness, other data sets, cost.

- `Inference`: LightningModule that predicts with a network
- `predict_split`: probabilities of every image of a split as a table
- `score`: all metrics of a table of predictions
- `build_metrics`: the metrics as a TorchMetrics collection
- `score_corruptions`: scores of a split under corruptions
- `score_other_data`: scores on the test split of another data set
- `multiply_adds`: multiply-adds of one forward pass
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
