"""Any image (a file, a Pillow image, an array) as upright pixels from 0 to 1, of a workable size
(09_handwriting.ipynb).

What cannot be read is refused in one line that says why; a large image never takes much memory.
"""

import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from mnist_helpers.mnist_files import DataError
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

WORKING_PIXELS = 1_280 * 960  # an area, not a side: a long strip of digits stays readable
MAX_PIXELS = 64_000_000  # more than most cameras give; 256 MB when decoded
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")  # others have slow, odd readers
HEIF_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"heim", b"heis")
EXIF_TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
    6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip


class Picture(NamedTuple):
    """An image, ready to be searched for digits.

    Attributes:
        pixels: float32 `[H, W]` (grey) or `[H, W, 3]` (colour), 0 to 1, upright.
        scale: the width of the image as given, upright, divided by the width of `pixels`.
        size: width and height of the image as given, upright.
    """

    pixels: np.ndarray
    scale: float
    size: tuple[int, int]


def read_picture(image: Any) -> Picture:
    """The image, turned as its EXIF tag asks, over white or black where it is transparent.

    Grey in three channels becomes one channel; over `WORKING_PIXELS` it is scaled down,
    anti-aliased. Values of 16 bits that use only 8, 10 or 12 of them count as such.

    Args:
        image: a path, a Pillow image, or an array or tensor `[H, W]`, `[1, H, W]`, `[H, W, 1]`,
            `[H, W, 3]`, `[H, W, 4]` (a tensor also `[3, H, W]`, `[4, H, W]`): bool, whole
            numbers from 0, or float in [0, 1].

    Raises:
        DataError: it is no image, cannot be read, is too large or an animation.
    """
    if isinstance(image, str | os.PathLike):
        with _open_image(image) as file:
            given = file.size
            drafted = file.draft(None, _working_size(*given))  # JPEG decodes smaller, and faster
            file.load()
            return _from_pillow(file, given if drafted else file.size)  # a TIFF turns itself
    if isinstance(image, np.ndarray | Tensor):
        with _clear_errors("the array"):
            return _from_array(image)
    if isinstance(image, Image.Image):
        with _clear_errors("the Pillow image"):
            _check_size(*image.size)
            image.load()  # a TIFF turns itself
            return _from_pillow(image, image.size)
    raise DataError(f"{type(image).__name__} is no image: give a path, a Pillow image or an array")


def file_name(path: str | os.PathLike) -> str:
    """The path on one line, for messages."""
    name = os.fsdecode(path)
    return (name if name and name.isprintable() else ascii(name))[:400]


@contextmanager
def _open_image(path: str | os.PathLike) -> Iterator[Any]:
    """The image file, opened by Pillow, not yet decoded; errors of Pillow inside are DataErrors."""
    with _clear_errors(file_name(path)):
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise DataError("is a folder: name the image files in it")
        if not stat.S_ISREG(status.st_mode):  # to open a pipe can take for ever
            raise DataError("is a pipe or a device: name an image file")
        if not status.st_size:
            raise ValueError("it is empty")
        with (
            open(path, "rb") as handle,
            Image.open(handle, formats=[*FORMATS, *_phone_formats(handle)]) as file,
        ):
            _check_size(*file.size)
            if file.format != "MPO" and getattr(file, "is_animated", False):
                # the pages of a damaged TIFF can take for ever to count
                count = "several" if file.format == "TIFF" else getattr(file, "n_frames", 2)
                raise DataError(f"is an animation of {count} pictures: save one of them")
            yield file


def _phone_formats(handle: BinaryIO) -> list[str]:
    """HEIF, which phones write, if the file is one; DataError where nothing can read it."""
    start = handle.read(12)
    handle.seek(0)
    if start[4:8] != b"ftyp" or start[8:12] not in HEIF_BRANDS:
        return []
    try:
        from pillow_heif import register_heif_opener  # here: not everybody has it
    except ImportError:
        raise DataError("is a HEIC photo: pip install pillow-heif, or save it as JPEG") from None
    register_heif_opener(thumbnails=False)
    return ["HEIF"]


@contextmanager
def _clear_errors(name: str) -> Iterator[None]:
    """Turn every error into a DataError of one line that begins with `name`; silence warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except Exception as error:  # Pillow's readers fail in a dozen ways
        raise DataError(f"{name} {_fault(error)}") from error


def _fault(error: Exception) -> str:
    """What is wrong with an image, and the mend."""
    if isinstance(error, DataError):
        return str(error)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "is not there: check its name"
    if isinstance(error, PermissionError):
        return "cannot be opened: permission denied; give yourself the right to read it"
    words = " ".join((getattr(error, "strerror", None) or str(error)).split())
    if isinstance(error, UnidentifiedImageError):  # its words name an object in memory
        words = "of no known kind"
    if bomb := re.search(r"\((\d+) pixels\).* bomb", words):
        return f"is too large ({int(bomb[1]):,} pixels): make it smaller"
    return f"is not a readable image ({words[:80] or type(error).__name__}): give a PNG or a JPEG"


def _check_size(width: int, height: int) -> None:
    size = f"{width}x{height}"
    if not width * height:
        raise DataError(f"is {size}, without a pixel: give another image")
    if width * height > MAX_PIXELS:
        raise DataError(f"is too large ({size}, over {MAX_PIXELS:,} pixels): make it smaller")


def _working_size(width: int, height: int) -> tuple[int, int]:
    """Width and height in the same proportion, at most `WORKING_PIXELS` in all."""
    shrink = max(1.0, (width * height / WORKING_PIXELS) ** 0.5)
    width, height = max(1, int(width / shrink)), max(1, int(height / shrink))
    return min(width, WORKING_PIXELS), min(height, WORKING_PIXELS)


def _from_pillow(image: Any, given: tuple[int, int]) -> Picture:
    """The picture in a Pillow image, which may be smaller already than it was given."""
    _check_size(*image.size)
    turn = None
    with suppress(Exception):  # a damaged tag does not make the image unreadable
        turn = EXIF_TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    small = _shrunk(image)
    small = small.transpose(Image.Transpose[turn]) if turn else small
    values = np.asarray(small)
    if small.mode == "F":
        values = values / np.float32(_white(values, whole=image.mode != "F"))
    across = turn in ("TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
    return _finished(values, given[::-1] if across else given)


def _shrunk(image: Any) -> Any:
    """The Pillow image in mode L, LA, RGB, RGBA or F, of at most `WORKING_PIXELS`.

    It is converted band by band: as a whole, it could take four times its memory.
    """
    (width, height), target = image.size, _working_size(*image.size)
    grey = image.mode in ("1", "L", "LA", "La")
    mode = ("L" if grey else "RGB") + ("A" if image.has_transparency_data else "")
    mode = "F" if image.mode[0] in "IF" else mode
    across, down = width // target[0], height // target[1]
    if across == down == 1:
        small = image if image.mode == mode else image.convert(mode)
    else:
        small = Image.new(mode, (-(-width // across), -(-height // down)))
        rows = down * max(1, WORKING_PIXELS // (width * down))
        for top in range(0, height, rows):
            band = image.crop((0, top, width, min(top + rows, height)))
            band = band if band.mode == mode else band.convert(mode)
            small.paste(band.reduce((across, down)), (0, top // down))
    # HAMMING, unlike LANCZOS, leaves no ghosts beside a line of ink
    return small if small.size == target else small.resize(target, Image.Resampling.HAMMING)


def _white(values: np.ndarray, whole: bool) -> float:
    """The value of white among whole numbers, or among floats, which may go to 1 or to 255."""
    low, high = float(values.min()), float(values.max())
    for white in (255, 1_023, 4_095, 65_535) if whole else (1, 255):
        if low >= 0 and high < white * 1.000_01:  # averages are rounded
            return max(white, high)
    raise DataError(f"has values from {low:g} to {high:g}: give 0 to 255")


def _from_array(image: np.ndarray | Tensor) -> Picture:
    """The picture in an array or a tensor."""
    values = _channels_last(image)
    given, kind = (values.shape[1], values.shape[0]), values.dtype.kind
    _check_size(*given)
    if kind == "b" or values.dtype == np.uint8:
        values = values * np.uint8(255) if kind == "b" else np.ascontiguousarray(values)
        return _from_pillow(Image.fromarray(values), given)
    if kind not in "fiu":
        raise DataError(f"is of {values.dtype}: give uint8, or float in [0, 1]")
    if kind == "f" and not (values.min() >= 0 and values.max() <= 1):  # NaN is refused too
        raise DataError(
            "is no image: float pixels must lie in [0, 1]: divide by 255, or give uint8"
        )
    picture = _finished(values if kind == "f" else values / _white(values, whole=True), given)
    if given == _working_size(*given):
        return picture
    channels = np.ascontiguousarray(np.atleast_3d(picture.pixels).transpose(2, 0, 1))
    small = [np.asarray(_shrunk(Image.fromarray(channel))) for channel in channels]
    return _finished(np.stack(small, axis=-1), given)


def _channels_last(image: np.ndarray | Tensor) -> np.ndarray:
    """The array as `[H, W]`, `[H, W, 3]` or `[H, W, 4]`."""
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        values = (image.float() if image.is_floating_point() else image).numpy()
        if values.ndim == 3 and len(values) in (1, 3, 4):
            values = values.transpose(1, 2, 0)
    else:
        values = np.asarray(image)
        if values.ndim == 3 and len(values) == 1 and values.shape[2] not in (1, 3, 4):
            values = values[0]
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))):
        raise DataError(f"is {list(image.shape)}: give one image, [H, W] or [H, W, 3]")
    return values


def _finished(values: np.ndarray, given: tuple[int, int]) -> Picture:
    """The picture of `[H, W]` or `[H, W, 2 to 4]`: uint8, or floats from 0 to 1."""
    pixels = values.astype(np.float32)
    if values.dtype == np.uint8:
        pixels /= 255
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = _on_paper(pixels)
    if pixels.ndim == 3 and (pixels[..., 1:] == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    return Picture(np.ascontiguousarray(pixels), given[0] / pixels.shape[1], given)


def _on_paper(pixels: np.ndarray) -> np.ndarray:
    """`[H, W, C + 1]` on white if what can be seen of it is dark, else on black: `[H, W, C]`."""
    colours, alpha = pixels[..., :-1], pixels[..., -1:]
    if alpha.min() == 1:
        return colours
    weights = [0.299, 0.587, 0.114, 0] if colours.shape[2] == 3 else [1, 0]  # ITU-R BT.601
    seen = (pixels @ np.array(weights, np.float32) * alpha[..., 0]).sum()
    paper = np.float32(seen < 0.5 * alpha.sum())
    return alpha * colours + (1 - alpha) * paper
