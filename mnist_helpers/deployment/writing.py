"""A run's model becomes a file; ONNX is checked before it is written (12_deployment.ipynb)."""

import json
from pathlib import Path

import torch
from mnist_helpers.data import Mnist
from mnist_helpers.deployment.onnx_file import onnx_logits, onnx_model
from mnist_helpers.deployment.web_page import web_page
from mnist_helpers.evaluation import predict_logits
from mnist_helpers.files import ExportError, write_whole
from mnist_helpers.runs import Run
from torch import nn

TIE = 1e-3  # logits that differ by less are a tie: either digit may be the answer


def export_onnx(
    path: str | Path, model: nn.Module, run: Run, digits: Mnist, int8: bool = False
) -> str:
    """Write a run's model as an ONNX file; return a line about it.

    Before it is written, onnxruntime must give the same answers as torch on the test digits. With
    `int8`, which rounds, the line says how many answers differ.

    Args:
        path: a file that ends in `.onnx`; one that is there is replaced.
        model, run: from `load_run`.
        digits: to compare on; the training digits calibrate `int8`.

    Raises:
        ImportError: a package is missing.
        ExportError: the model can't be written in that form, or its answers differ.
        CheckpointError: the file can't be written.
    """
    check_ending(path, ".onnx")
    known = {"model": run.model, "recipe": json.dumps(run.recipe), **run.versions}
    if run.certainty is not None:
        known["temperature"] = str(run.certainty.temperature)
        known["threshold"] = str(run.certainty.threshold)
    content = onnx_model(model, known, digits.train.images if int8 else None)
    images = digits.test.images
    logits, theirs = predict_logits(model, images), onnx_logits(content, images)
    differ = (logits.argmax(dim=1) != theirs.argmax(dim=1)).sum().item()
    most = (logits - theirs).abs().max().item()
    first, second = logits.topk(2).values.T
    if not int8 and ((logits.argmax(1) != theirs.argmax(1)) & (first - second > TIE)).any():
        raise ExportError(f"onnxruntime gives {differ} other answers than torch: nothing written")
    write_whole(Path(path), content)
    return (
        f"{path}: {len(content) / 1000:,.0f} kB; {differ} of {len(images):,} test digits get "
        f"another answer than from torch, logits differ by {most:.1e} at most"
    )


def export_html(path: str | Path, model: nn.Module, run: Run) -> str:
    """Write a run's model as a web page with a pad; return a line about it.

    Raises:
        ExportError: the model has a layer that the page doesn't know.
        CheckpointError: the file can't be written.
    """
    check_ending(path, ".html")
    with torch.no_grad():
        page = web_page(model, run.certainty).encode()
    write_whole(Path(path), page)
    unsure = "" if run.certainty else '; the run has no temperature, so it never says "not sure"'
    return f"{path}: {len(page) / 1000:,.0f} kB; open it in a browser{unsure}"


def check_ending(path: str | Path, ending: str) -> None:
    """ExportError if the file has another ending."""
    if Path(path).suffix.lower() != ending:
        raise ExportError(f"{path}: name a file that ends in {ending}")
