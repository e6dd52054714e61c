"""Run records and the statistics that are computed from them, without PyTorch.

- `RunRecord`: metrics, predictions and history of a finished run
- `Protocol`: data, classes, labels and splits that a score belongs to
- `collect_runs`: all finished runs below a folder as a table
- `accuracy_interval`: Wilson score interval of an accuracy
- `mean_over_seeds`: mean over seeds with Student's t interval
- `compare`: compares finished runs in pairs, image by image
- `compare_images`: McNemar's test of two networks on the same images
- `compare_seeds`: paired test of the scores of two networks over seeds
- `adjust_p_values`: Holm-adjusted p-values of a table
- `CriticalDifference`: mean ranks of several networks over data sets or seeds
- `score_by_group`: accuracy and macro-F1 by group of people, and the difference between the best and the worst
- `calibrate`: temperature and tau fitted on validation, and their effect on test
- `PriorShift`: probabilities under other class shares than those of the training
- `confusion_counts`: confusion matrix
- `roc_curves`: ROC curves of the classes
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
