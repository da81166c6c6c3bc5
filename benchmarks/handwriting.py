"""How well are digits read that do not look like MNIST's: enlarged ones on made paper, those of
scikit-learn; how often letters, scribbles and blank paper are flagged; and how long it takes.

python benchmarks/handwriting.py
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.interpolate import make_interp_spline
from sklearn.datasets import load_digits

import mnist_helpers as mh

MODEL, SEEDS, COUNT = "fast_994", 5, 1_000
FONTS = ("Sans", "Sans-Bold", "Sans-Oblique", "Serif", "SansMono")
LETTERS = "ACEFHKLMNPRTUVWXYacdefhkmnprtuvwxy"  # those that look like digits are left out


def photos(digits: mh.DigitSet) -> list[np.ndarray]:
    """Each digit 8 to 10 times as large, somewhere on 640x480 of paper, dark or bright."""
    rng = np.random.default_rng(0)
    images = digits.images[:, 0].numpy()
    return [
        mh.photographed(mh.pasted(image, rng), rng, dark_on_bright=bool(rng.integers(2)))
        for image in images
    ]


def naively(picture: np.ndarray) -> torch.Tensor:
    """What most scripts do: bright on black, and smaller."""
    if np.median(picture) > 127:
        picture = 255 - picture
    small = Image.fromarray(picture).resize((28, 28), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(small))[None]


def found(pictures: Iterable[np.ndarray]) -> torch.Tensor:
    """The digit in each picture; nothing but zeros where there is none."""
    images = []
    for picture in pictures:
        try:
            images.append(mh.digit_from_image(picture).image)
        except mh.DigitNotFound:
            images.append(torch.zeros(1, 28, 28, dtype=torch.uint8))
    return torch.stack(images)


def coarse(digits: mh.DigitSet) -> np.ndarray:
    """The 20x20 pixels around each middle, averaged to 8x8: float32 `[N, 8, 8]`, 0 to 1."""
    inner = digits.images[:, :, 4:24, 4:24].float() / 255
    return torch.nn.functional.interpolate(inner, (8, 8), mode="area").squeeze(1).numpy()


def letters() -> list[np.ndarray]:
    """Printed letters, dark on bright, 280x280."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    pictures = []
    for name in FONTS:
        font = ImageFont.truetype(folder / f"DejaVu{name}.ttf", 200)
        for letter in LETTERS:
            image = Image.new("L", (280, 280), 255)
            ImageDraw.Draw(image).text((140, 140), letter, font=font, fill=0, anchor="mm")
            pictures.append(np.array(image))
    return pictures


def scribbles(count: int) -> list[np.ndarray]:
    """Smooth lines through eight random points, dark on bright, 280x280."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        points = make_interp_spline(range(8), rng.uniform(0.1, 0.9, (8, 2)))(np.linspace(0, 7, 99))
        pictures.append(255 - mh.draw_strokes([points.clip(0.05, 0.95)], 280, rng.uniform(10, 30)))
    return pictures


def blank(count: int) -> list[np.ndarray]:
    """Paper with light, texture, noise, half of it with a shadow, and nothing on it."""
    rng = np.random.default_rng(0)
    empty = np.zeros((480, 640), dtype=np.float32)
    return [
        mh.photographed(empty, rng, bool(i % 2), *rng.uniform(0, [0.6, 0.06, 0.06, i % 4 // 2 / 2]))
        for i in range(count)
    ]


def accuracy(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The part of right answers, in per cent."""
    return 100 * (mh.predict(model, images).argmax(dim=1) == labels).float().mean().item()


def flagged(
    model: torch.nn.Module, certainty: mh.Certainty, pictures: Iterable[np.ndarray]
) -> float:
    """The part, in per cent, that is not read, or not with certainty."""
    sure = []
    for picture in pictures:
        try:
            sure.append(bool(mh.read_digits(model, picture, certainty)[0].sure))
        except mh.DigitNotFound:
            sure.append(False)
    return 100 * (1 - statistics.mean(sure))


def line(name: str, values: list[float]) -> str:
    """Mean and standard deviation over the seeds."""
    return f"{name:<52}{statistics.mean(values):6.2f} ± {statistics.stdev(values):.2f} %"


def read_all(model: torch.nn.Module, paths: Iterable[Path]) -> None:
    """Read files one after the other, and keep nothing."""
    for path in paths:
        mh.read_digits(model, path)


def milliseconds(work: Callable[[], object], count: int) -> float:
    """The median of three rounds, for each of `count`."""
    rounds = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        rounds.append(time.perf_counter() - start)
    return 1_000 * statistics.median(rounds) / count


def main() -> None:
    """Print all figures: means over the seeds of the model, which learned MNIST only."""
    torch.set_num_threads(1)
    digits = mh.load_mnist(source="mnist")
    train, validation = digits.train.split(1 / 12, seed=0)
    some = digits.test.select(torch.arange(COUNT))
    pictures = photos(some)
    through = found(digits.test.images[:, 0].numpy())
    photographed, naive = found(pictures), torch.stack([naively(one) for one in pictures])
    others = load_digits()
    foreign = found((others.images / 16).astype(np.float32))
    targets = torch.from_numpy(others.target).long()
    shrunk = found(coarse(some))
    strange = {"letters": letters(), "scribbles": scribbles(200), "blank paper": blank(200)}
    scores: dict[str, list[float]] = {}
    confused = torch.zeros(10, 10, dtype=torch.int64)
    for seed in range(SEEDS):
        entry = mh.ZOO[MODEL]
        model = entry.build(seed=seed)
        mh.fit(model, train, validation, entry.recipe, device="cpu", verbose=False)
        certainty = mh.fit_certainty(model, validation)
        plain = accuracy(model, digits.test.images, digits.test.labels)
        moved = accuracy(model, through, digits.test.labels)
        results = {
            "10,000 test digits as they are": plain,
            "... through digit_from_image": moved,
            "... the difference": moved - plain,
            f"{COUNT:,} on paper, through digit_from_image": accuracy(
                model, photographed, some.labels
            ),
            f"{COUNT:,} on paper, resized naively": accuracy(model, naive, some.labels),
            "the same as they are": accuracy(model, some.images, some.labels),
            "scikit-learn's 1,797 digits of 8x8": accuracy(model, foreign, targets),
            f"{COUNT:,} test digits averaged to 8x8": accuracy(model, shrunk, some.labels),
            "not sure: test digits on paper": flagged(model, certainty, pictures),
            "not sure: scikit-learn's digits": flagged(
                model, certainty, (others.images / 16).astype(np.float32)
            ),
            **{f"not sure: {n}": flagged(model, certainty, p) for n, p in strange.items()},
        }
        confused += mh.report_on(mh.predict(model, foreign), targets, "8x8").confusion
        for name, value in results.items():
            scores.setdefault(name, []).append(value)
    print(f"{MODEL}, {SEEDS} seeds, mean ± sd")
    for name, values in scores.items():
        print(line(name, values))
    confused.fill_diagonal_(0)
    order = confused.flatten().argsort(descending=True).tolist()
    pairs = [f"{i // 10} as {i % 10} ({int(confused.flatten()[i])})" for i in order[:6]]
    print(f"scikit-learn's digits, most frequent mistakes of {SEEDS} models: {', '.join(pairs)}")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index:04}.png" for index in range(COUNT)]
        for path, picture in zip(paths, pictures, strict=True):
            Image.fromarray(picture).save(path)
        arrays = milliseconds(lambda: found(pictures[:200]), 200)
        files = milliseconds(lambda: read_all(model, paths), 1)
    print(f"one image of 640x480, one thread: {arrays:.1f} ms")
    print(f"{COUNT:,} PNG files of 640x480, read and predicted: {files / 1_000:.1f} s")


if __name__ == "__main__":
    main()
