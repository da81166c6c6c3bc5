"""A trained model as one web page that reads digits, without a network or a server
(12_deployment.ipynb).
"""

import base64
import json
import zlib
from pathlib import Path
from string import Template
from typing import Any

import torch
from mnist_helpers.certainty import Certainty
from mnist_helpers.files import ExportError
from mnist_helpers.models import Crop, FlattenPixels, Normalize
from mnist_helpers.runs import model_name
from torch import Tensor, nn

HERE = Path(__file__).parent
SCRIPTS = HERE / "network.js", HERE / "digits.js", HERE.parent / "handwriting" / "pad.js"
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}


def web_page(model: nn.Module, certainty: Certainty | None = None) -> str:
    """An HTML page with a pad to draw on and the model in it, in JavaScript.

    The factors of convolutions and linear layers and the directions of the certainty are stored
    as bfloat16, its centres in 8 bits, all else as float32.

    Args:
        model: a sequence of layers that `network.js` knows, from images `[N, 1, 28, 28]` to logits
            `[N, 10]`.
        certainty: its temperature and limits; None: always sure.

    Raises:
        ExportError: it has another layer, or one with settings that the page doesn't know; or
            it doesn't begin with `Normalize` (after a `Crop`, perhaps).
    """
    certainty = certainty or Certainty(1.0, 0.0)
    layers, numbers = network_layers(model)
    kinds = [layer["kind"] for layer in layers if layer["kind"] != "crop"]
    if kinds[:1] != ["normalize"] or "normalize" in kinds[1:]:
        raise ExportError(f"{model_name(model)} must begin with Normalize, and have no other")
    network: dict[str, Any] = {
        "name": model_name(model),
        "layers": layers,
        "temperature": certainty.temperature,
        "threshold": certainty.threshold,
        "farthest": min(certainty.farthest, 2.0),  # JSON knows no infinity; 2 is the largest
        "no_digit": min(certainty.no_digit, 2.0),
    }
    if certainty.centres is not None:
        network["largest"] = largest = certainty.centres.abs().max().item() or 1.0
        whole = (127 / largest * certainty.centres.float()).round()
        network["centres"] = _stored(whole, "int8", numbers)
    if certainty.within is not None:
        network["within"] = _stored(certainty.within, "bfloat16", numbers)
    packed = base64.b64encode(zlib.compress(bytes(4) + b"".join(numbers), 9)).decode()
    data = f'const NETWORK = {json.dumps(network)};\nconst WEIGHTS = "{packed}";\n'
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    script = scripts + data.replace("<", "\\u003c") + (HERE / "page.js").read_text(encoding="utf-8")
    page = Template((HERE / "page.html").read_text(encoding="utf-8"))
    return page.substitute(name=model_name(model).replace("<", "&lt;"), script=script)


def network_layers(model: nn.Module) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The layers for `network.js`, and the bytes of their tensors, weight before bias.

    Raises:
        ExportError: as for `web_page`.
    """
    layers: list[dict[str, Any]] = []
    numbers: list[bytes] = []
    if not isinstance(model, nn.Sequential) or type(model).forward is not nn.Sequential.forward:
        raise ExportError(
            f"{model_name(model)} is no plain nn.Sequential: the page can't follow it"
        )
    for module in model:
        if isinstance(module, nn.Dropout):  # does nothing outside training
            continue
        layer, weight, bias = _layer(module)
        flat = any("flatten" in before["kind"] for before in layers)
        if layer["kind"] == "linear" and not flat:
            raise ExportError(f"{module} comes before a flattening layer: the page can't do that")
        for name, tensor in (("weight", weight), ("bias", bias)):
            if tensor is not None:
                kind = "bfloat16" if tensor.ndim > 1 else "float32"
                layer[name] = _stored(tensor, kind, numbers)
        layers.append(layer)
    return layers, numbers


def _stored(tensor: Tensor, kind: str, numbers: list[bytes]) -> dict[str, Any]:
    """What the page must know of a tensor, whose bytes are added to the numbers."""
    values = tensor.detach().cpu().to(TYPES[kind]).contiguous()
    numbers.append(values.flatten().view(torch.uint8).numpy().tobytes())
    return {"shape": list(tensor.shape), "type": kind}


def _layer(module: nn.Module) -> tuple[dict[str, Any], Tensor | None, Tensor | None]:
    """Kind and settings of a layer, its weight and its bias."""
    match module:
        case nn.Conv2d() if _is_plain(module):
            settings = {
                "stride": module.stride[0], "padding": module.padding[0], "groups": module.groups
            }  # fmt: skip
            return {"kind": "convolution", **settings}, module.weight, module.bias
        case nn.Linear():
            return {"kind": "linear"}, module.weight, module.bias
        case nn.BatchNorm1d() | nn.BatchNorm2d() if module.affine and module.track_running_stats:
            assert module.running_mean is not None
            assert module.running_var is not None
            weight = module.weight / (module.running_var + module.eps).sqrt()
            return {"kind": "scale"}, weight, module.bias - module.running_mean * weight
        case nn.MaxPool2d(kernel_size=int(size), padding=0, dilation=1, ceil_mode=False) if (
            module.stride == size and not module.return_indices
        ):
            return {"kind": "pool", "size": size}, None, None
        case Crop(margin=margin):
            return {"kind": "crop", "margin": margin}, None, None
        case Normalize():
            numbers = {"mean": module.mean.item(), "std": module.std.item()}
            return {"kind": "normalize", **numbers}, None, None
        case nn.ReLU():
            return {"kind": "relu"}, None, None
        case nn.Flatten(start_dim=1, end_dim=-1):
            return {"kind": "flatten"}, None, None
        case FlattenPixels():
            return {"kind": "flattenPixels"}, None, None
    raise ExportError(f"the page has no layer for {module}: add one to network.js and web_page.py")


def _is_plain(layer: nn.Conv2d) -> bool:
    """The same in both directions, zeros around, nothing left out."""
    pairs = (layer.kernel_size, layer.stride, layer.padding)
    alike = all(isinstance(pair, tuple) and len(set(pair)) == 1 for pair in pairs)
    return alike and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
