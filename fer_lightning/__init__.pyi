from .data.affectnet import AffectNet as AffectNet
from .data.ckplus import CKPlus as CKPlus
from .data.fer2013 import FER2013 as FER2013
from .data.ferplus import FERPlus as FERPlus
from .data.folder import Folder as Folder
from .data.rafdb import RAFDB as RAFDB
from .data.synthetic import Synthetic as Synthetic
from .inference.predictor import Predictor as Predictor
from .models.architecture import create_model as create_model
from .models.architecture import list_models as list_models
from .models.hafem import HAFEM as HAFEM
from .models.psysfa_net import PsySFANet as PsySFANet
from .models.resnet import ResNet as ResNet
from .results.significance import compare as compare
from .training.checkpoints import load as load
from .training.classifier import ExpressionClassifier as ExpressionClassifier

__version__: str
