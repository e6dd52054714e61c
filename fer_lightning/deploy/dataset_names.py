"""Datasets as their owners write them."""

from __future__ import annotations

DATASET_NAMES = {
    "fer2013": "FER2013",
    "ferplus": "FERPlus",
    "rafdb": "RAF-DB",
    "affectnet": "AffectNet",
    "ckplus": "CK+",
    "synthetic": "drawn faces",
}
