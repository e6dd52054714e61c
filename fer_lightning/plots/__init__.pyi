from .contact_sheet import draw_contact_sheet as draw_contact_sheet
from .cross_dataset import draw_cross_dataset as draw_cross_dataset
from .predictions import draw_confusion as draw_confusion
from .predictions import draw_curves as draw_curves
from .predictions import draw_reliability as draw_reliability
from .predictions import draw_roc as draw_roc
from .robustness import draw_robustness as draw_robustness
from .style import save_figures as save_figures
