"""Digits drawn from strokes, on paper that a script makes (09_handwriting.ipynb).

No photograph comes with this project: paper, light and camera are made here.
"""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw
from scipy.interpolate import make_interp_spline
from scipy.ndimage import gaussian_filter

Stroke = Sequence[Sequence[float]] | np.ndarray
SMOOTH = 4  # drawn this many times as large, then averaged, so that edges are smooth


def draw_strokes(strokes: Sequence[Stroke], size: int = 280, thickness: float = 22) -> np.ndarray:
    """Strokes of a round pen as uint8 `[size, size]`: ink 255 on 0.

    Args:
        strokes: each a list of points `(x, y)`, 0 to 1 from the left and from the top.
        size: width and height in pixels. thickness: of the pen, in pixels.
    """
    image = Image.new("L", (size * SMOOTH, size * SMOOTH))
    draw, radius = ImageDraw.Draw(image), thickness * SMOOTH / 2
    for stroke in strokes:
        points = [(x * size * SMOOTH, y * size * SMOOTH) for x, y in stroke]
        draw.line(points, fill=255, width=round(2 * radius))
        for x, y in points:  # round joints and ends
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.array(image.reduce(SMOOTH))


def photographed(
    ink: np.ndarray,
    rng: Generator,
    dark_on_bright: bool = True,
    gradient: float = 0.4,
    noise: float = 0.03,
    texture: float = 0.04,
    shadow: float = 0.0,
) -> np.ndarray:
    """What a camera makes of ink on paper: uint8 `[H, W]`.

    Args:
        ink: `[H, W]`, 0 (paper) to 1 (ink).
        rng: draws the paper, the direction of the light and the noise.
        dark_on_bright: a pen on paper; else chalk on a blackboard.
        gradient: how much of the light is lost from one side to the other, 0 to 1.
        noise: standard deviation of the camera's noise, as a part of white.
        texture: standard deviation of the paper's own brightness.
        shadow: how much of the light a shadow takes from one side of the page, 0 to 1.
    """
    height, width = ink.shape
    paper, pen = rng.uniform(0.8, 0.95), rng.uniform(0.1, 0.3)
    if not dark_on_bright:
        paper, pen = 1 - paper, 1 - pen
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x / width - 0.5, y / height - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    across = (x * np.cos(angle) + y * np.sin(angle)) / (abs(np.cos(angle)) + abs(np.sin(angle)))
    light = 1 - gradient * (across + 0.5)
    angle, place = rng.uniform(0, 2 * np.pi), rng.uniform(-0.2, 0.2)
    beyond = (x * np.cos(angle) + y * np.sin(angle) - place) * 40
    light *= 1 - shadow / (1 + np.exp(-beyond))
    grain = gaussian_filter(rng.standard_normal(ink.shape, dtype=np.float32), 1.5)
    reflected = (paper + (pen - paper) * ink) * (1 + texture * grain / grain.std())
    seen = light * reflected + noise * rng.standard_normal(ink.shape, dtype=np.float32)
    return (seen.clip(0, 1) * 255).round().astype(np.uint8)


def pasted(image: np.ndarray, rng: Generator, width: int = 640, height: int = 480) -> np.ndarray:
    """A digit, uint8 `[28, 28]`, enlarged 8 to 10 times at a random place: ink 0 to 1."""
    side = round(28 * rng.uniform(8, 10))
    large = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    ink = np.zeros((height, width), dtype=np.float32)
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    ink[top : top + side, left : left + side] = np.asarray(large, dtype=np.float32) / 255
    return ink


# A digit is one stroke or two: points that a smooth line goes through, in a box of 1 by 1.
_POINTS = {
    0: ("50,8 24,26 20,55 32,86 55,91 76,70 79,40 66,12 47,9",),
    1: ("36,26 54,8", "54,8 52,50 50,92"),
    2: ("24,28 38,10 62,9 74,26 64,50 42,72 24,90", "24,90 50,87 78,90"),
    3: ("26,16 46,7 68,14 68,34 44,46", "44,46 70,54 75,74 56,91 36,91 23,80"),
    4: ("48,8 36,36 22,62", "22,62 50,61 80,60", "62,36 61,64 58,93"),
    5: ("74,10 54,9 34,12", "34,12 31,28 28,45", "28,45 48,39 70,50 74,72 58,90 38,91 24,82"),
    6: ("64,8 42,24 28,52 28,78 46,92 67,84 71,66 56,53 38,59 28,72",),
    7: ("22,13 50,11 78,12", "78,12 62,40 50,66 42,93"),
    8: ("68,20 52,8 33,16 36,36 56,50 71,70 60,89 40,90 29,76 36,58 56,44 69,30 68,20",),
    9: ("72,30 56,44 36,44 28,28 38,11 58,8 70,22 72,32", "72,32 69,62 60,92"),
}


def digit_strokes(digit: int, rng: Generator | None = None) -> list[np.ndarray]:
    """The strokes of a digit, each `[30, 2]` points `(x, y)` in 0 to 1; with `rng` unsteady."""
    strokes = []
    for text in _POINTS[digit]:
        points = np.array([pair.split(",") for pair in text.split()], dtype=float) / 100
        if rng is not None:
            points += rng.normal(0, 0.02, points.shape)
        along = np.cumsum([0, *np.hypot(*np.diff(points, axis=0).T)])
        spline = make_interp_spline(along, points, k=min(3, len(points) - 1))
        strokes.append(spline(np.linspace(0, along[-1], 30)))
    return strokes


def page(
    digits: Sequence[int],
    rng: Generator,
    ruling: str = "plain",
    turned: float = 0.0,
    width: int = 960,
    height: int = 720,
    size: float = 0.2,
    thickness: float = 0.08,
) -> np.ndarray:
    """Digits written in a row on a page: how much ink, float32 `[H, W]`, 0 to 1.

    Args:
        digits: what to write; all must fit side by side.
        rng: makes the hand unsteady.
        ruling: `plain`, `ruled` or `squared`; the lines are paler and thinner than the pen.
        turned: the whole page, in degrees, anticlockwise.
        size: of a digit, as a part of the height. thickness: of the pen, as a part of a digit.
    """
    side = round(size * height)
    ink = np.zeros((height, width), dtype=np.float32)
    gap = width / (len(digits) + 1)
    for place, digit in enumerate(digits, start=1):
        drawn = draw_strokes(digit_strokes(digit, rng), side, thickness * side) / 255
        left = round(place * gap - side / 2 + rng.uniform(-0.1, 0.1) * gap)
        top = round(height / 2 - side / 2 + rng.uniform(-0.3, 0.3) * side)
        part = ink[top : top + side, left : left + side]
        np.maximum(part, drawn, out=part)
    lines = np.zeros_like(ink)
    if ruling != "plain":
        lines[:: round(0.4 * side)] = 1
    if ruling == "squared":
        lines[:, :: round(0.4 * side)] = 1
    for _ in range(max(1, round(0.015 * side))):
        lines = np.maximum(lines, np.roll(lines, 1, axis=(0, 1)))
    ink = np.maximum(ink, 0.4 * lines)
    turn = Image.fromarray(ink).rotate(turned, Image.Resampling.BICUBIC)
    return np.asarray(turn).clip(0, 1)
