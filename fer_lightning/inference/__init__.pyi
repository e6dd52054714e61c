from .classifier import FaceClassifier as FaceClassifier
from .classifier import open_classifier as open_classifier
from .face_detector import FaceFinder as FaceFinder
from .predictor import Prediction as Prediction
from .predictor import PredictionBatch as PredictionBatch
from .predictor import Predictions as Predictions
from .predictor import Predictor as Predictor
from .tracking import VideoReading as VideoReading
