"""corruptions.py: what all have in common, then each against slow code of another kind."""

import hashlib
import itertools
import math

import mnist_helpers as mh
import numpy as np
import pytest
import torch
from mnist_helpers.robustness import corruptions
from mnist_helpers.robustness.corruptions import CORRUPTIONS
from mnist_helpers.robustness.measure import corrupted, load_mnist_c
from scipy import ndimage, stats
from skimage.feature import canny
from skimage.filters import gaussian

# How the SHA-256 of rings(), corrupted with seed 0, begins. It may change with numpy's streams of
# random numbers and with scikit-image's Canny; a change of our code that leaves the result alone
# keeps it.
GOLDEN = {
    **{"shot_noise": "9ee8358a050d", "impulse_noise": "c3512c63e76d", "glass_blur": "1a560402c57b"},
    **{"motion_blur": "15cee4500285", "shear": "5fb832fe0b5f", "scale": "3e59ff388e1d"},
    **{"rotate": "064912cb1d8f", "brightness": "97341cd89a90", "translate": "25a1ab2c6e41"},
    **{"stripe": "42f9242a8c15", "fog": "c55ff00837d0", "spatter": "c0e62e66a945"},
    **{"dotted_line": "29b539e92e87", "zigzag": "12d71ca006fc", "canny_edges": "e72de8788178"},
}
FIXED = ("scale", "brightness", "stripe", "canny_edges")
every_one = pytest.mark.parametrize("name", GOLDEN)


def rings(count=20):
    """Tilted rings of many sizes and places, made with nothing that differs between machines."""
    number = np.arange(count)[:, None, None]
    row, column = np.mgrid[:28, :28]
    across = column - 13.5 + number % 5 * 0.83 - 1.7 + (row - 13.5) * (number % 7 * 0.11 - 0.3)
    down = row - 13.5 - number % 3 * 0.91 + 1.1
    radius = np.sqrt((across / (4 + number % 4)) ** 2 + (down / (6.3 + number % 6 * 0.5)) ** 2)
    ink = 255 * np.clip(2.3 - 5 * np.abs(radius - 1), 0, 1)
    return torch.from_numpy(np.rint(ink).astype(np.uint8)).unsqueeze(1)


def plain(level, count):
    """Images of one grey level."""
    return torch.full((count, 1, 28, 28), level, dtype=torch.uint8)


def pixels(images):
    """`[N, 28, 28]` in numbers that can be subtracted."""
    return images[:, 0].numpy().astype(int)


# All of them


def test_all_are_there_in_mnist_cs_order():
    assert list(CORRUPTIONS) == list(GOLDEN)
    for name, corrupt in CORRUPTIONS.items():
        assert corrupt is getattr(corruptions, name)
        assert corrupt.__name__ == name
        assert corrupt.__doc__


@every_one
def test_the_seed_decides_the_bytes_and_all_else_stays(name):
    images = rings()
    states = torch.get_rng_state(), repr(np.random.get_state())
    result = CORRUPTIONS[name](images)
    assert (result.dtype, result.shape) == (torch.uint8, (20, 1, 28, 28))
    assert hashlib.sha256(result.numpy().tobytes()).hexdigest().startswith(GOLDEN[name])
    assert torch.equal(CORRUPTIONS[name](images, seed=0), result)
    assert torch.equal(CORRUPTIONS[name](images, 6), result) == (name in FIXED)
    same = CORRUPTIONS[name](images[:1].expand(20, -1, -1, -1))
    assert (len({image.numpy().tobytes() for image in same}) == 1) == (name in FIXED)
    result.fill_(7)
    assert torch.equal(images, rings())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert repr(np.random.get_state()) == states[1]


@every_one
def test_images_after_it_and_the_layout_in_memory_do_not_matter(name, monkeypatch):
    corrupt, images = CORRUPTIONS[name], rings()
    result = corrupt(images, 3)
    for count in (0, 1, 7):
        assert torch.equal(corrupt(images[:count], 3), result[:count])
    turned_twice = images.transpose(2, 3).contiguous().transpose(2, 3)
    assert torch.equal(corrupt(turned_twice, 3), result)
    assert torch.equal(corrupt(images[::3]), corrupt(images[::3].clone()))
    monkeypatch.setattr(corruptions, "IMAGES_AT_ONCE", 6)
    assert torch.equal(corrupt(images, 3), result)


@every_one
def test_other_images_are_refused(name):
    for images in (
        torch.zeros(2, 1, 28, 28),
        torch.zeros(2, 1, 28, 28, dtype=torch.int64),
        torch.zeros(2, 28, 28, dtype=torch.uint8),
        torch.zeros(2, 3, 28, 28, dtype=torch.uint8),
        torch.zeros(2, 1, 32, 32, dtype=torch.uint8),
        np.zeros((2, 1, 28, 28), dtype=np.uint8),
    ):
        with pytest.raises(mh.DataError, match=r"must be torch.uint8 \[N, 1, 28, 28\]") as caught:
            CORRUPTIONS[name](images)
        assert str(images.dtype) in str(caught.value)
        assert "\n" not in str(caught.value)


@every_one
def test_a_gpus_images_give_the_same_there(name, gpu):
    there = CORRUPTIONS[name](rings().to(gpu), 2)
    assert there.is_cuda
    assert torch.equal(there.cpu(), CORRUPTIONS[name](rings(), 2))


# Each corruption


@pytest.mark.parametrize(("photons", "level"), [(3, 255), (5, 100), (1, 51)])
def test_shot_noise_is_a_poisson_count(photons, level):
    noisy = pixels(CORRUPTIONS["shot_noise"](plain(level, 30), 1, photons=photons))
    counts = np.rint(noisy * photons / 255).astype(int)
    assert np.abs(noisy - counts * 255 / photons).max() < 0.51
    law = stats.poisson(level / 255 * photons)
    expected = [*law.pmf(range(photons)), law.sf(photons - 1)]
    found = np.bincount(counts.ravel(), minlength=photons + 1)
    assert stats.chisquare(found, counts.size * np.array(expected)).pvalue > 0.001
    assert not CORRUPTIONS["shot_noise"](plain(0, 3), photons=photons).any()


@pytest.mark.parametrize("amount", [0, 0.17, 1])
def test_impulse_noise_is_as_much_salt_as_pepper_and_of_its_own_in_every_pixel(amount):
    noisy = pixels(CORRUPTIONS["impulse_noise"](plain(100, 400), 2, amount=amount))
    counts = np.array([(noisy == level).sum() for level in (0, 255, 100)])
    expected = np.array([amount / 2, amount / 2, 1 - amount]) * noisy.size
    assert (np.abs(counts - expected) <= 4 * np.sqrt(expected * (1 - expected / noisy.size))).all()
    hit = (noisy != 100).mean(axis=0)
    assert np.abs(hit - amount).max() < 0.1


# By hand, scipy or scikit-image: each takes float images [N, 28, 28] and the same draws.


def glass_blur(images, draws, sigma=0.7, rounds=2):
    """The blurs go down the columns; the swaps are made one after another."""
    blurred = ndimage.gaussian_filter1d(images, sigma, 1, mode="nearest") if sigma else images
    places = list(itertools.product(range(27, 1, -1), repeat=2)) * rounds
    result = np.rint(blurred)
    for image, moves in zip(
        result, draws.integers(8, size=(len(images), len(places))), strict=True
    ):
        for (row, column), move in zip(places, moves.tolist(), strict=True):
            up, left = {5: (0, 1), 6: (1, 0), 7: (1, 1)}.get(move, (0, 0))
            there = (row - up, column - left)
            image[row, column], image[there] = image[there], image[row, column]
    return ndimage.gaussian_filter1d(result, sigma, 1, mode="nearest") if sigma else result


def motion_blur(images, draws, radius=10, sigma=3.0):
    """Each step to the left is fainter by half a Gaussian; the border goes on outside."""
    weights = stats.norm.pdf(np.arange(2 * radius + 1), scale=sigma)
    for image, angle in zip(images, draws.uniform(-45, 45, len(images)), strict=True):
        around, result = np.pad(image, 2 * radius, mode="edge"), 0
        for step, weight in enumerate(weights / weights.sum()):
            down, right = (
                2 * radius + round(step * side(math.radians(angle)))
                for side in (math.sin, math.cos)
            )
            result = result + weight * around[down : down + 28, right : right + 28]
        yield result


def warped(image, matrix):
    """Bilinear, about the centre of the image, black outside."""
    centre, matrix = np.array([13.5, 13.5]), np.array(matrix)
    offset = centre - matrix @ centre
    return ndimage.affine_transform(image, matrix, offset, order=1, mode="grid-constant")


def shear(images, draws, angle=0.4):
    cos, sin = math.cos(angle), math.sin(angle)
    for image, way in zip(images, draws.choice([-1, 1], len(images)), strict=True):
        yield warped(image, [[cos, 0], [-way * sin, 1]])


def rotate(images, draws, angle=0.4):
    cos, sin = math.cos(angle), math.sin(angle)
    for image, way in zip(images, draws.choice([-1, 1], len(images)), strict=True):
        yield warped(image, [[cos, way * sin], [-way * sin, cos]])


def translate(images, draws, pixels=3):
    for image, move in zip(images, pixels * draws.choice([-1, 1], (len(images), 2)), strict=True):
        yield ndimage.shift(image, -move[::-1], order=0, prefilter=False)


def fog(images, draws, amount=3, decay=1.4):
    for image in images:
        ink, cloud = image.max() / 255, cloud_of(draws, decay)
        yield (image + 255 * amount * cloud) * ink / (ink + amount)


def cloud_of(draws, decay):
    """Diamond-square on a torus, point by point: the mean of the four around, and noise."""
    heights, size, step = {(0, 0): 0.0}, 1.0, 256
    while step > 1:
        half, count = step // 2, 256 // step
        noise = size * (2 * draws.random((3, count, count), np.float32) - 1)
        diagonal = [(-half, -half), (-half, half), (half, -half), (half, half)]
        straight = [(-half, 0), (half, 0), (0, -half), (0, half)]
        starts = [(half, half, diagonal), (0, half, straight), (half, 0, straight)]
        for (kind, down, right), draw in np.ndenumerate(noise):
            top, left, around = starts[kind]
            row, column = top + step * down, left + step * right
            near = [heights[(row + y) % 256, (column + x) % 256] for y, x in around]
            heights[row, column] = sum(near) / 4 + float(draw)
        size, step = size / decay**2, half
    low, high = min(heights.values()), max(heights.values())
    corner = [[heights[row, column] for column in range(28)] for row in range(28)]
    return (np.array(corner) - low) / (high - low)


def spatter(images, draws, threshold=0.65):
    for image, noise in zip(images, draws.normal(0.65, 0.3, images.shape), strict=True):
        mud = gaussian((gaussian(noise, 1) > threshold).astype(float), 1.5)
        yield np.where(mud < 0.8, image, image * (1 - mud) + 63 * mud)


def add_line(image, start, end, columns):
    """Draw a line between (column, row) points, column by column."""
    for column in columns:
        at = start[1] + (end[1] - start[1]) * (column - start[0]) / (end[0] - start[0])
        away = np.abs(np.arange(28) - at).clip(max=2.2)
        image[:, column] += 255 * (1 + np.log(1 - away / 2.3)).clip(min=0)


def dotted_line(images, draws):
    for image, (first, last) in zip(images, draws.integers(27, size=(len(images), 2)), strict=True):
        drawn = [2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26]
        add_line(image, (0, first), (27, last), drawn)
        yield image


def zigzag(images, draws):
    """Teeth of 4 by 2 along a line from column 2 to column 25."""
    choices = draws.integers([0, -5], [27, 5], (len(images), 2))
    for image, (row, drop) in zip(images, choices, strict=True):
        length = math.hypot(23, drop)
        steps = [(0, 0), (2, 2), (6, -2), (10, 2), (14, -2), (18, 2), (22, -2)]
        steps.append((length, -1 / (length - 20)))
        points = [complex(2, row) + complex(*step) * complex(23, drop) / length for step in steps]
        for start, end in itertools.pairwise((point.real, point.imag) for point in points):
            # Rounded: a sum that is whole on paper may lie a last bit beside it.
            columns = range(math.floor(round(start[0], 9)), math.ceil(round(end[0], 9)))
            add_line(image, start, end, columns)
        yield image


def scale(images, draws, factor=0.7):
    return [warped(image, np.eye(2) / factor) for image in images]


def brightness(images, draws, amount=0.5):
    return images + 255 * amount


def stripe(images, draws):
    return np.dstack([255 - images[:, :, :7], images[:, :, 7:21], 255 - images[:, :, 21:]])


def canny_edges(images, draws, sigma=1):
    return [255 * canny(image / 255, sigma=sigma) for image in images]


@pytest.mark.parametrize(
    ("by_hand", "strengths"),
    [
        (glass_blur, [{}, {"sigma": 1.2, "rounds": 0}, {"sigma": 0, "rounds": 3}]),
        (motion_blur, [{}, {"radius": 4, "sigma": 5.0}, {"sigma": 0.1}]),
        (shear, [{}, {"angle": 0.9}, {"angle": 0}]),
        (scale, [{}, {"factor": 1.3}, {"factor": 1}]),
        (rotate, [{}, {"angle": 0.9}, {"angle": 0}]),
        (brightness, [{}, {"amount": -0.2}, {"amount": 0}]),
        (translate, [{}, {"pixels": 8}]),
        (stripe, [{}]),
        (fog, [{}, {"amount": 0.5, "decay": 1.0}]),
        (spatter, [{}, {"threshold": 0.75}, {"threshold": -2}, {"threshold": 2}]),
        (dotted_line, [{}]),
        (zigzag, [{}]),
        (canny_edges, [{}, {"sigma": 2}]),
    ],
)
def test_a_corruption_is_what_it_is_by_hand(by_hand, strengths):
    noise = torch.randint(256, (1, 1, 28, 28), generator=torch.Generator().manual_seed(0)).byte()
    images = torch.cat([rings(2), rings(1) // 3, noise, plain(0, 1)])
    for strength in strengths:
        draws = np.random.default_rng(7)
        expected = np.array(list(by_hand(pixels(images).astype(float), draws, **strength)))
        found = pixels(CORRUPTIONS[by_hand.__name__](images, 7, **strength))
        assert np.abs(expected.clip(0, 255) - found).max() < 0.51


# Sets of digits


@pytest.mark.parametrize(
    ("before", "after"),
    [("mnist/test", "mnist/test+fog"), ("my own", "my own/fog"), ("a/b/c", "a/b/c+fog")],
)
def test_corrupted_digits_keep_their_labels_and_source(make_digits, before, after):
    digits = make_digits(5, name=before)
    foggy = corrupted(digits, "fog", seed=4)
    assert torch.equal(foggy.images, CORRUPTIONS["fog"](digits.images, 4))
    assert torch.equal(corrupted(digits, "fog").images, CORRUPTIONS["fog"](digits.images, 0))
    assert torch.equal(foggy.labels, digits.labels)
    assert foggy.name == after


def test_an_unknown_corruption_is_refused_with_the_choices(make_digits):
    with pytest.raises(mh.DataError, match=r"'smoke'.*shot_noise, .*, canny_edges") as caught:
        corrupted(make_digits(), "smoke")
    assert "\n" not in str(caught.value)


def mnist_c(folder, images=None, labels=None, part="test"):
    """Write files as MNIST-C has them; bytes are written as they are."""
    images = rings(12).permute(0, 2, 3, 1).numpy() if images is None else images
    labels = np.arange(12) % 10 if labels is None else labels
    (folder / "fog").mkdir()
    for kind, content in (("images", images), ("labels", labels)):
        path = folder / "fog" / f"{part}_{kind}.npy"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.save(path, content, allow_pickle=True)


@pytest.mark.parametrize(("part", "dtype"), [("test", np.int64), ("train", np.uint8)])
def test_mnist_c_is_read(tmp_path, part, dtype):
    mnist_c(tmp_path, labels=(np.arange(12) % 10).astype(dtype), part=part)
    for given in (tmp_path, str(tmp_path)):
        digits = load_mnist_c(given, "fog", *([part] if part != "test" else []))
        assert torch.equal(digits.images, rings(12))
        assert digits.labels.tolist() == [*range(10), 0, 1]
        assert digits.name == f"mnist-c/{part}+fog"
        assert digits.images.is_contiguous()


def refused(folder, message):
    with pytest.raises(mh.DataError, match=message) as caught:
        load_mnist_c(folder, "fog")
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "zenodo.org" in str(caught.value)


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_a_missing_file_or_folder_of_mnist_c_is_named(tmp_path, kind):
    refused(tmp_path / "nowhere", "missing")
    mnist_c(tmp_path)
    path = tmp_path / "fog" / f"test_{kind}.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    refused(tmp_path, "damaged")
    path.unlink()
    refused(tmp_path, f"test_{kind}.npy is missing")


@pytest.mark.parametrize(
    "files",
    [
        {"images": b""},
        {"labels": b"no array"},
        {"images": b"\x93NUMPY\x01\x00"},
        {"labels": b"PK\x03\x04 no zip"},
        {"images": np.zeros((12, 28, 28), np.uint8)},
        {"images": np.zeros((12, 28, 28, 3), np.uint8)},
        {"images": np.zeros((12, 28, 28, 1), np.float32)},
        {"images": np.zeros((11, 28, 28, 1), np.uint8)},
        {"images": np.uint8(3)},
        {"labels": np.arange(12) % 10 + 0.5},
        {"labels": np.arange(12)},
        {"labels": np.array(["seven"] * 12)},
    ],
    ids=str,
)
def test_a_damaged_file_of_mnist_c_or_one_of_another_form_is_refused(tmp_path, files):
    mnist_c(tmp_path, **files)
    refused(tmp_path, "damaged or not MNIST-C")


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_a_pickle_in_place_of_mnist_c_is_not_run(tmp_path, bomb, kind):
    mnist_c(tmp_path, **{kind: np.array([bomb] * 12, dtype=object)})
    refused(tmp_path, "damaged")
    assert not bomb.marker.exists()
