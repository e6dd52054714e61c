from .classifier import FaceClassifier as FaceClassifier
from .classifier import open_classifier as open_classifier
from .face_detector import FaceFinder as FaceFinder
from .predictions import Prediction as Prediction
from .predictions import PredictionBatch as PredictionBatch
from .predictions import Predictions as Predictions
from .predictor import Predictor as Predictor
from .tracking import VideoReading as VideoReading
