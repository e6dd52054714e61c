from .cross_dataset import score_other_data as score_other_data
from .efficiency import multiply_adds as multiply_adds
from .metrics import build_metrics as build_metrics
from .robustness import score_corruptions as score_corruptions
from .scoring import Inference as Inference
from .scoring import predict_split as predict_split
from .scoring import score as score
