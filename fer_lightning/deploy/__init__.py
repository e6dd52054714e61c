"""Export of trained networks, and the demo page.

- `export_onnx`: writes a network as ONNX
- `quantize`: quantises an ONNX file to int8
- `push`: uploads an export to the Hugging Face Hub
- `DemoPage`: the Gradio page
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
