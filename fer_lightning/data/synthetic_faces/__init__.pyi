from .parameters import FaceParameters as FaceParameters
from .render import draw_face as draw_face
from .sampling import sample_face as sample_face
