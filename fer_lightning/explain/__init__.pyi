from .attention import attention_maps as attention_maps
from .callback import GradCAMPanels as GradCAMPanels
from .explanation import Explanation as Explanation
from .shap_values import ShapMaps as ShapMaps
