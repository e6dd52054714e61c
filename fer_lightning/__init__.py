"""Facial expression recognition experiments whose numbers can be trusted."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations calls home when it is imported

__version__ = "0.1.0"
