from .detection import detect_landmarks as detect_landmarks
from .landmarker import Landmarker as Landmarker
from .warp import AlignedReader as AlignedReader
