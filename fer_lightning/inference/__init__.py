"""From an image or a video to faces with expressions.

- `Predictor`: finds the faces of an image and classifies their expressions
- `Prediction`: a face with its expression
- `Predictions`: the predictions of one picture
- `PredictionBatch`: the predictions of several pictures, also as a table
- `FaceFinder`: the face detector alone
- `FaceClassifier`: interface of a network that classifies face crops
- `open_classifier`: opens a checkpoint, a safetensors or an ONNX file as a `FaceClassifier`
- `VideoReading`: follows and classifies the faces of a video
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
