"""Data sets as Lightning data modules: one class a data set, which `setup` scans, packs and splits.

- `AffectNet`: AffectNet, seven or eight classes, in its old and its new release
- `CKPlus`: CK+, the CK+48 re-pack or `ckextended.csv`, split by subjects
- `FER2013`: FER2013 as CSV files or image folders
- `FERPlus`: FERPlus with majority labels or label distributions
- `Folder`: any images in class folders
- `RAFDB`: RAF-DB as its owners distribute it, or its Kaggle re-pack
- `Synthetic`: the embedded data set, which needs no download
- `ExpressionDataModule`: base class of all data sets: splits, protocol and loaders
- `ExpressionDataset`: the images and targets of one split
- `Augmentation`: albumentations transforms whose draws depend on seed, epoch and row alone
- `BatchTransforms`: augmentation of a whole batch on its device, with draws of the same kind
- `LabelSet`: the classes of a task, in the order of the logits
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
