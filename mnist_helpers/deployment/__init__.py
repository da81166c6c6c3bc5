"""A trained model outside of Python: ONNX, and a web page (12_deployment.ipynb)."""

from mnist_helpers.deployment.onnx_file import onnx_logits, onnx_model, onnx_session
from mnist_helpers.deployment.web_page import network_layers, web_page
from mnist_helpers.deployment.writing import check_ending, export_html, export_onnx
from mnist_helpers.files import ExportError
