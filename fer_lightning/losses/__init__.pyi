from .center import CenterLoss as CenterLoss
from .center import IntraClassVariation as IntraClassVariation
from .compound import CompoundLoss as CompoundLoss
from .cross_entropy import CrossEntropy as CrossEntropy
from .distillation import Distillation as Distillation
from .label_smoothing import DistributionAwareCrossEntropy as DistributionAwareCrossEntropy
