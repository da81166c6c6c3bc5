"""From an image to a digit: probabilities, image files, lines of text (05_prediction.ipynb)."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mnist_helpers.data import DataError
from mnist_helpers.evaluation import predict_logits


def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Probabilities, float32 `[N, 10]` on the CPU; each row sums to 1.

    Args:
        model: gives logits.
        images: uint8 0 to 255, or float in [0, 1], `[N, 1, 28, 28]`: bright digits on black.

    Raises:
        DataError: the images have another shape, type or range.
    """
    if images.dim() != 4 or images.shape[1:] != (1, 28, 28):
        raise DataError(f"images are {list(images.shape)}; they must be [N, 1, 28, 28]")
    if images.is_floating_point():
        if images.numel() and not 0 <= images.min() <= images.max() <= 1:
            raise DataError("float images must lie in [0, 1]: divide by 255, or give uint8")
    elif images.dtype != torch.uint8:
        raise DataError(f"images are {images.dtype}; give uint8 0..255 or float in [0, 1]")
    return predict_logits(model, images).softmax(dim=1)


def load_image(path: str | Path) -> Tensor:
    """An image file in MNIST's own form as uint8 `[1, 28, 28]`: a bright digit on black.

    Colour becomes grey, transparency black; a larger square is scaled down, anti-aliased.

    Raises:
        DataError: no image, not square, or under 28x28 pixels.
    """
    from PIL import Image  # here: only this function needs it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                image = _as_grey(file)
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there: check its name") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder: name the image files in it") from error
    except Exception as error:  # Pillow's readers fail in a dozen ways
        raise DataError(
            f"{path} is not a readable image ({error}): give a PNG or JPEG file"
        ) from error
    width, height = image.size
    if width != height or width < 28:
        raise DataError(f"{path} is {width}x{height} pixels: give a square of at least 28x28")
    if width > 28:
        image = image.resize((28, 28), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).unsqueeze(0)


def _as_grey(file):  # type: ignore[no-untyped-def]  # Pillow is imported inside load_image
    """The open image file as 8-bit grey, over black where it is transparent."""
    from PIL import Image

    if file.mode.startswith("I;16") or file.mode == "I":
        return Image.fromarray((np.array(file) // 257).astype(np.uint8))
    if "A" in file.getbands() or "transparency" in file.info:
        coloured = file.convert("RGBA")
        black = Image.new("RGBA", coloured.size, "black")
        return Image.alpha_composite(black, coloured).convert("L")
    return file.convert("L")


def looks_inverted(image: Tensor) -> bool:
    """Whether a uint8 image is dark on bright, which no model here was trained on."""
    edge = torch.cat([image[..., 0, :], image[..., -1, :], image[..., 0], image[..., -1]], dim=-1)
    return bool(edge.float().mean() > 127)


def prediction_lines(labels: Tensor, probabilities: Tensor) -> list[str]:
    """A line for each image, such as `True: 7 | Predicted: 7`.

    Args:
        labels: int64 `[N]`. probabilities: `[N, 10]`.
    """
    pairs = zip(labels.tolist(), probabilities.argmax(dim=1).tolist(), strict=True)
    return [f"True: {true} | Predicted: {predicted}" for true, predicted in pairs]
