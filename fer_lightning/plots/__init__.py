"""Figures and terminal tables of data sets and results.

- `draw_comparison`: accuracies of runs and differences of pairs
- `draw_confusion`: confusion matrix
- `draw_curves`: loss and accuracy over epochs
- `draw_reliability`: accuracy against confidence
- `draw_roc`: ROC curves
- `draw_contact_sheet`: images in rows, each with a caption
- `draw_cross_dataset`: accuracy by training and test data set
- `draw_fairness`: accuracy and macro-F1 by group of people
- `draw_robustness`: accuracy over the severity of corruptions
- `save_figures`: writes figures as PNG files
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
