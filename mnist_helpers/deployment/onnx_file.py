"""A trained model as an ONNX file, for other programs and languages (12_deployment.ipynb)."""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mnist_helpers.evaluation import evaluating
from mnist_helpers.files import ExportError
from torch import Tensor, nn

if TYPE_CHECKING:
    import onnxruntime

IMAGES, LOGITS = "images", "logits"
MOST_CALIBRATED = 1_000  # digits that show which range the values between the layers have
NEEDED = "needs more packages: run `pip install --upgrade onnx onnxscript onnxruntime`"


def onnx_model(
    model: nn.Module, metadata: Mapping[str, str], calibration: Tensor | None = None
) -> bytes:
    """The content of an ONNX file: uint8 `images` `[N, 1, 28, 28]` to float32 `logits` `[N, 10]`.

    The normalisation is a part of the model; N is open.

    Args:
        model: takes uint8 images, 0 to 255.
        metadata: names and values that are stored in the file.
        calibration: training images, uint8 `[M, 1, 28, 28]`: with them weights and values are
            stored in 8 bits (static quantisation), and scaled by the range that they have on the
            first 1,000 of these.

    Raises:
        ImportError: a package is missing. ExportError: the model can't be written.
    """
    with _exporters():
        import onnx

        content = _exported(model)
        if calibration is not None and not len(calibration):
            raise ExportError("no digits to calibrate the 8 bits on: give training images")
        if calibration is not None:
            content = _quantized(content, calibration[:MOST_CALIBRATED].cpu().numpy())
        proto = onnx.load_from_string(content)
        onnx.helper.set_model_props(proto, dict(metadata))
        onnx.checker.check_model(proto, full_check=True)
        return bytes(proto.SerializeToString())


def onnx_logits(content: bytes | Path, images: Tensor, batch_size: int = 500) -> Tensor:
    """What onnxruntime makes of uint8 images `[N, 1, 28, 28]`, on the CPU: float32 `[N, 10]`.

    Args:
        content: of an ONNX file, or its path.

    Raises:
        ImportError: a package is missing. ExportError: it is no ONNX file, or a damaged one.
    """
    session = onnx_session(content)
    parts = (part.cpu().numpy() for part in images.split(batch_size))
    return torch.from_numpy(np.concatenate([session.run([LOGITS], {IMAGES: p})[0] for p in parts]))


def onnx_session(content: bytes | Path, threads: int = 0) -> "onnxruntime.InferenceSession":
    """An ONNX file, ready to run on the CPU; 0 threads: as many as there are cores.

    Raises:
        ImportError: a package is missing. ExportError: it is no ONNX file, or a damaged one.
    """
    with _exporters():
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    given = content if isinstance(content, bytes) else str(content)
    try:
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own have no common name
        raise ExportError(f"onnxruntime can't read it: {str(error).splitlines()[0]}") from error


@contextmanager
def _exporters() -> Iterator[None]:
    """Import them, or say what to install; they talk a lot, and are not heard."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ModuleNotFoundError as error:
        raise ImportError(f"ONNX {NEEDED} ({error.name} is missing)") from error
    finally:
        logging.disable(level)


def _exported(model: nn.Module) -> bytes:
    """By torch's exporter; the example has two images, since one would be taken for a constant."""
    import onnxscript  # noqa: F401  (torch needs it, and says so in many lines)

    device = next((weight.device for weight in model.parameters()), None)
    example = torch.zeros(2, 1, 28, 28, dtype=torch.uint8, device=device)
    try:
        with evaluating(model):
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=[IMAGES],
                output_names=[LOGITS],
                dynamic_shapes=({0: torch.export.Dim("N")},),
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ExportError(f"torch can't write this model as ONNX: {reason}") from error
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def _quantized(content: bytes, images: np.ndarray) -> bytes:
    """Weights and values in 8 bits; onnxruntime wants files, so it gets some for a moment."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Digits(CalibrationDataReader):
        parts = iter(np.array_split(images, -(-len(images) // 100)))

        def get_next(self) -> dict[str, Any] | None:
            part = next(self.parts, None)
            return None if part is None else {IMAGES: part}

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(content)
        quantize_static(before, after, Digits(), weight_type=QuantType.QInt8)
        return after.read_bytes()
