from .demo_page import DemoPage as DemoPage
from .hub import push as push
from .onnx import export_onnx as export_onnx
from .onnx import quantize as quantize
