"""Explanations of a prediction: Grad-CAM, SHAP, attention and feature maps, and how faithful they are.

- `Explanation`: all maps of a few faces for two classes each
- `GradCAMPanels`: callback that draws Grad-CAM during training
- `ShapMaps`: what each pixel adds to the logit of a class
- `attention_maps`: the attention of a network over the image
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
