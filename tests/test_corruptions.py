"""corruptions.py: each against slow code of another kind, then what all have in common."""

import hashlib
import itertools
import math
import random

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from skimage.feature import canny
from skimage.filters import gaussian

import mnist_helpers as mh
from mnist_helpers import corruptions
from mnist_helpers.corruptions import CORRUPTIONS, corrupted, load_mnist_c

NAMES = [
    *("shot_noise", "impulse_noise", "glass_blur", "motion_blur", "shear", "scale", "rotate"),
    *("brightness", "translate", "stripe", "fog", "spatter", "dotted_line", "zigzag"),
    "canny_edges",
]
FIXED = ("scale", "brightness", "stripe", "canny_edges")
RANDOM = [name for name in NAMES if name not in FIXED]

# SHA-256 of the bytes of rings(20), seed 0. They may change with numpy's streams of random numbers
# and with scikit-image's Canny; a change of our code that leaves the result alone keeps them.
GOLDEN = {
    "shot_noise": "9ee8358a050d0398bd83b406b41d18386b4aec7c90fc593c2532df1135cfb547",
    "impulse_noise": "c3512c63e76db89b3b1aad0cc451ffea9e70b1da9777599242a8086060c31364",
    "glass_blur": "1a560402c57b8c698246a066f3693db232965701c8bff2bbd8c7d2cb08de53be",
    "motion_blur": "15cee45002854606a35f0e6495a6ac17b9665e7f4db75757a3abd9d7bfa8de2f",
    "shear": "5fb832fe0b5f8ebbb42a33a34359ed58d4b5277e26b9640c448e568bf76a0798",
    "scale": "3e59ff388e1de93d1efb23875cd3f75fc5c1530f06c0c965c6604893023c8197",
    "rotate": "064912cb1d8f458706a8a7fac71495f457f064969a9ab6edbe00c15ffd02ffe5",
    "brightness": "97341cd89a9098e7e285dc30bfb8689fe4d558668419f0fa1583c21bcab0605f",
    "translate": "25a1ab2c6e4171661e0532d78ca2009b5c9bc82c1c2e6fda3f17cbd53a25389f",
    "stripe": "42f9242a8c156b01a3546a2964ca5b512931fc29064406976f9e80c37e836648",
    "fog": "c55ff00837d0ac4d3a53f774c8a52ee2d378bfd0642ffded40640a0dfe44f80f",
    "spatter": "c0e62e66a945f21f72a18c2e61f6575879b64fd871b7d1e1dc5ecb946f51b0c3",
    "dotted_line": "29b539e92e8722fe6da79295adf2f8be9da72843ab9840d9eb87bdbc80dd537c",
    "zigzag": "12d71ca006fc26b903fa6f9bd6b47c97d2068fb46b3fc58d8e2d95f9bf48eda0",
    "canny_edges": "e72de8788178be2da7f4208c4471ca95bba6f959b49d81631ff5c31498b9804b",
}


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


def dots(count, row=14, column=14):
    """Images of one bright pixel."""
    images = plain(0, count)
    images[:, 0, row, column] = 255
    return images


def pixels(images):
    """`[N, 28, 28]` in numbers that can be subtracted."""
    return images[:, 0].numpy().astype(int)


def close(first, second):
    """Equal up to a rounding."""
    return np.abs(np.asarray(first) - second).max() <= 1


# Each corruption


@pytest.mark.parametrize(("photons", "level"), [(3, 255), (3, 100), (5, 255), (1, 51)])
def test_shot_noise_is_a_poisson_count(photons, level):
    noisy = pixels(CORRUPTIONS["shot_noise"](plain(level, 30), 1, photons=photons))
    counts = np.rint(noisy * photons / 255).astype(int)
    assert close(noisy, counts * 255 / photons)
    law = stats.poisson(level / 255 * photons)
    expected = [*law.pmf(range(photons)), law.sf(photons - 1)]
    found = np.bincount(counts.ravel(), minlength=photons + 1)
    assert stats.chisquare(found, counts.size * np.array(expected)).pvalue > 0.001


def test_shot_noise_leaves_paper_alone_and_fades_with_more_light():
    assert not CORRUPTIONS["shot_noise"](plain(0, 3)).any()
    spread = [
        pixels(CORRUPTIONS["shot_noise"](plain(128, 20), photons=photons)).std()
        for photons in (10, 1_000)
    ]
    assert spread == pytest.approx([255 * math.sqrt(0.5 / n) for n in (10, 1_000)], rel=0.05)


@pytest.mark.parametrize("amount", [0.17, 0.5, 1])
def test_impulse_noise_is_as_much_salt_as_pepper(amount):
    noisy = pixels(CORRUPTIONS["impulse_noise"](plain(100, 50), 2, amount=amount))
    counts = [(noisy == level).sum() for level in (0, 255, 100)]
    assert sum(counts) == noisy.size
    expected = np.array([amount / 2, amount / 2, 1 - amount]) * noisy.size
    possible = expected > 0
    assert not np.array(counts)[~possible].any()
    assert stats.chisquare(np.array(counts)[possible], expected[possible]).pvalue > 0.001


def test_impulse_noise_hits_every_pixel_and_image_on_its_own():
    assert (CORRUPTIONS["impulse_noise"](plain(100, 5), amount=0) == 100).all()
    hit = pixels(CORRUPTIONS["impulse_noise"](plain(100, 400), 3)) != 100
    assert hit.mean(axis=0).min() > 0.08
    assert hit.mean(axis=0).max() < 0.27
    assert hit[0].tolist() != hit[1].tolist()


def test_glass_blur_without_swaps_is_two_blurs_down_the_columns():
    images = rings()
    for image, result in zip(
        pixels(images), pixels(CORRUPTIONS["glass_blur"](images, rounds=0, sigma=1.2)), strict=True
    ):
        once = np.rint(ndimage.gaussian_filter1d(image.astype(float), 1.2, 0, mode="nearest"))
        assert close(ndimage.gaussian_filter1d(once, 1.2, 0, mode="nearest"), result)


def test_glass_blur_without_the_blurs_moves_pixels_only():
    images = torch.randint(0, 256, (50, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8)
    before, after = pixels(images), pixels(CORRUPTIONS["glass_blur"](images, sigma=0, rounds=3))
    assert (np.sort(before.reshape(50, -1)) == np.sort(after.reshape(50, -1))).all()
    assert (before != after)[:, 1:, 1:].any(axis=0).all()
    assert (before[:, 0] == after[:, 0]).all()
    assert (before[:, :, 0] == after[:, :, 0]).all()


def glass_by_hand(row, column, draws):
    """Where a bright pixel ends after one round of swaps, one pixel after another."""
    for here in itertools.product(range(27, 1, -1), repeat=2):
        if draws.random() < 0.5:
            there = (here[0] - draws.randrange(2), here[1] - draws.randrange(2))
            if (row, column) == here:
                row, column = there
            elif (row, column) == there:
                row, column = here
    return row, column


def test_glass_blur_moves_pixels_as_far_as_swaps_by_hand():
    draws = random.Random(0)
    expected = [glass_by_hand(14, 14, draws) for _ in range(1_000)]
    moved = pixels(CORRUPTIONS["glass_blur"](dots(4_000), 4, sigma=0, rounds=1))
    found = list(zip(*[axis.tolist() for axis in moved.nonzero()[1:]], strict=True))
    assert max(max(place) for place in found) == 15
    kinds = [place for place in set(expected) if expected.count(place) > 20]
    assert len(kinds) > 5
    table = [[places.count(kind) for kind in kinds] for places in (expected, found)]
    table = [[*row, total - sum(row)] for row, total in zip(table, (1_000, 4_000), strict=True)]
    assert stats.chi2_contingency(table).pvalue > 0.001


def dot_in_motion(degrees, radius=10, sigma=3.0):
    """A bright pixel in the middle, drawn out step by step."""
    picture, angle = np.zeros((28, 28)), math.radians(degrees)
    weights = [math.exp(-(step**2) / (2 * sigma**2)) for step in range(2 * radius + 1)]
    for step, weight in enumerate(weights):
        row, column = 14 - round(step * math.sin(angle)), 14 - round(step * math.cos(angle))
        if 0 <= row < 28 and column >= 0:
            picture[row, column] += 255 * weight / sum(weights)
    return picture


def test_motion_blur_draws_ink_out_along_a_line_to_the_left():
    angles = np.arange(-45, 45.01, 0.1)
    pictures = np.array([dot_in_motion(angle) for angle in angles])
    found = []
    for result in pixels(CORRUPTIONS["motion_blur"](dots(100), 5)):
        assert abs(result.sum() - 255) < 10
        fits = angles[np.abs(pictures - result).max(axis=(1, 2)) <= 0.51]
        assert len(fits)
        found.append((fits.mean() + 45) / 90)
    assert stats.kstest(found, "uniform").pvalue > 0.001
    assert min(found) < 0.1
    assert max(found) > 0.9


def test_motion_blur_has_the_strength_that_was_asked_for():
    wide = pixels(CORRUPTIONS["motion_blur"](dots(20), 5, radius=2, sigma=50))
    assert ((wide > 0).sum(axis=(1, 2)) <= 5).all()
    assert wide[:, 14, 14].tolist() == [51] * 20
    assert (pixels(CORRUPTIONS["motion_blur"](dots(3), sigma=0.1)) == pixels(dots(3))).all()


def test_motion_blur_goes_on_outside_as_at_the_border():
    images = plain(200, 5)
    assert torch.equal(CORRUPTIONS["motion_blur"](images), images)
    images = plain(0, 20)
    images[..., 27] = 255
    assert (CORRUPTIONS["motion_blur"](images)[..., 27] == 255).all()
    images = plain(0, 20)
    images[:, :, [0, 27]] = 255
    kept = (CORRUPTIONS["motion_blur"](images)[:, 0, [0, 27]] == 255).all(dim=2)
    assert (kept.sum(dim=1) == 1).all()


def turned(angle):
    return [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]


def slanted(angle):
    return [[math.cos(angle), 0], [-math.sin(angle), 1]]


def warp_by_scipy(image, matrix):
    """Bilinear, about the centre of the image, black outside."""
    centre = np.array([13.5, 13.5])
    offset = centre - np.array(matrix) @ centre
    return ndimage.affine_transform(
        image.astype(float), np.array(matrix), offset, order=1, mode="grid-constant"
    )


@pytest.mark.parametrize("strength", [{}, {"angle": 0.9}, {"angle": 0}])
@pytest.mark.parametrize(("name", "matrix"), [("rotate", turned), ("shear", slanted)])
def test_rotate_and_shear_are_scipys_to_either_side(name, matrix, strength):
    images, angle = rings(60), strength.get("angle", 0.4)
    positive = 0
    for image, result in zip(
        pixels(images), pixels(CORRUPTIONS[name](images, 6, **strength)), strict=True
    ):
        fits = [close(warp_by_scipy(image, matrix(sign * angle)), result) for sign in (1, -1)]
        assert sum(fits) == (2 if angle == 0 else 1)
        positive += fits[0]
    assert angle == 0 or 15 < positive < 45


@pytest.mark.parametrize("factor", [0.7, 0.5, 1.3, 1])
def test_scale_is_scipys(factor):
    images = rings()
    scaled = pixels(CORRUPTIONS["scale"](images, factor=factor))
    for image, result in zip(pixels(images), scaled, strict=True):
        assert close(warp_by_scipy(image, np.eye(2) / factor), result)
    assert scaled.sum() == pytest.approx(pixels(images).sum() * factor**2, rel=0.05)


@pytest.mark.parametrize("moved", [3, 1, 8])
def test_translate_moves_to_each_diagonal(moved):
    images = rings(200)
    padded = np.pad(pixels(images), [(0, 0), (moved, moved), (moved, moved)])
    starts = list(itertools.product((0, 2 * moved), repeat=2))
    results = pixels(CORRUPTIONS["translate"](images, 7, pixels=moved))
    corners = [
        [(padded[i, top : top + 28, left : left + 28] == result).all() for top, left in starts]
        for i, result in enumerate(results)
    ]
    assert (np.sum(corners, axis=1) == 1).all()
    assert stats.chisquare(np.sum(corners, axis=0)).pvalue > 0.001


@pytest.mark.parametrize(("amount", "added"), [(0.5, 128), (0.2, 51), (-0.2, -51), (0, 0)])
def test_brightness_adds_and_clips(amount, added):
    images = rings()
    expected = np.clip(pixels(images) + added, 0, 255)
    assert (pixels(CORRUPTIONS["brightness"](images, amount=amount)) == expected).all()


def test_stripe_inverts_the_outer_quarters():
    images = rings()
    before, after = pixels(images), pixels(CORRUPTIONS["stripe"](images))
    assert (after[:, :, 7:21] == before[:, :, 7:21]).all()
    for columns in (slice(0, 7), slice(21, 28)):
        assert (after[:, :, columns] == 255 - before[:, :, columns]).all()


def test_fog_is_added_to_the_digit_whose_contrast_goes_down():
    images = rings()
    images[:, 0, 0, 0] = 255
    foggy = pixels(CORRUPTIONS["fog"](images, 8))
    clear = pixels(CORRUPTIONS["fog"](dots(20, 0, 0), 8))
    assert np.abs(foggy - clear - (pixels(images) - pixels(dots(20, 0, 0))) / 4).max() <= 1
    faint = pixels(CORRUPTIONS["fog"](images // 3, 8))
    clear = pixels(CORRUPTIONS["fog"](dots(20, 0, 0) // 3, 8))
    assert np.abs(faint - clear - pixels(images // 3 - dots(20, 0, 0) // 3) / 10).max() <= 1
    thin = pixels(CORRUPTIONS["fog"](images, 8, amount=0.01))
    assert np.abs(thin - pixels(images)).max() <= 4
    assert not CORRUPTIONS["fog"](plain(0, 2)).any()


def clouds(count, seed, **strength):
    """Fog alone, 0 to 1: the digit is a pixel that is left out."""
    foggy = pixels(CORRUPTIONS["fog"](dots(count, 27, 27), seed, amount=1e6, **strength))
    return foggy[:, :27, :27] / 255


def cloud_by_hand(decay, draws):
    """Diamond-square, point by point, on a torus of 256 by 256."""
    heights, size, step = {(0, 0): 0.0}, 1.0, 256
    while step > 1:
        half = step // 2
        diagonal = [(-half, -half), (-half, half), (half, -half), (half, half)]
        straight = [(-half, 0), (half, 0), (0, -half), (0, half)]
        for first, around in (
            ((half, half), diagonal),
            ((0, half), straight),
            ((half, 0), straight),
        ):
            for row in range(first[0], 256, step):
                for column in range(first[1], 256, step):
                    near = [heights[(row + y) % 256, (column + x) % 256] for y, x in around]
                    heights[row, column] = sum(near) / 4 + size * draws.uniform(-1, 1)
        size, step = size / decay**2, half
    low, high = min(heights.values()), max(heights.values())
    corner = np.array([[heights[row, column] for column in range(27)] for row in range(27)])
    return (corner - low) / (high - low)


@pytest.mark.parametrize("decay", [1.4, 1.0])
def test_fog_is_as_rough_as_clouds_by_hand(decay):
    draws = random.Random(1)
    hand = np.array([cloud_by_hand(decay, draws) for _ in range(8)])
    ours = clouds(150, 9, decay=decay)
    for axis, step in itertools.product((1, 2), (1, 4)):
        expected, found = (
            np.abs(many - np.roll(many, step, axis))[:, 4:, 4:].mean() for many in (hand, ours)
        )
        assert found == pytest.approx(expected, rel=0.25)


def test_fog_is_anything_between_thin_and_thick():
    levels = clouds(150, 10).mean(axis=(1, 2))
    assert levels.mean() == pytest.approx(0.5, abs=0.06)
    assert levels.min() < 0.25
    assert levels.max() > 0.75


def test_spatter_hides_ink_and_paper_alike():
    paper, ink = (
        pixels(CORRUPTIONS["spatter"](plain(level, 20), 11)).astype(float) for level in (0, 255)
    )
    mud = paper > 0
    assert (ink[~mud] == 255).all()
    share = paper[mud] / 63
    assert share.min() > 0.79
    assert share.max() == 1
    assert np.abs(ink[mud] - (255 - 192 * share)).max() < 3


@pytest.mark.parametrize("threshold", [0.65, 0.7])
def test_spatter_covers_as_much_as_smoothed_noise_by_scikit_image(threshold):
    draws = np.random.default_rng(99)
    noise = [gaussian(draws.normal(0.65, 0.3, (28, 28)), 1) for _ in range(300)]
    muddy = [gaussian((one > threshold).astype(float), 1.5) >= 0.8 for one in noise]
    found = CORRUPTIONS["spatter"](plain(0, 300), 12, threshold=threshold) > 0
    assert found.float().mean().item() == pytest.approx(np.mean(muddy), rel=0.1)


def test_spatter_has_a_threshold():
    assert not CORRUPTIONS["spatter"](plain(0, 5), threshold=2).any()
    assert (CORRUPTIONS["spatter"](plain(0, 5), threshold=-2) == 63).all()


def ink_of_line(picture, start, end, columns):
    """Draw a line between (column, row) points into `picture`, pixel by pixel."""
    for column in columns:
        at = start[1] + (end[1] - start[1]) * (column - start[0]) / (end[0] - start[0])
        for row in range(28):
            if abs(row - at) < 2.2:
                ink = 1 + math.log(1 - abs(row - at) / 2.3)
                picture[row, column] += max(ink, 0)


def dashes_by_hand(first, last):
    picture = np.zeros((28, 28))
    drawn = [2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26]
    ink_of_line(picture, (0, first), (27, last), drawn)
    return picture


def zigzag_by_hand(row, drop):
    """Teeth of 4 by 2 along a line from column 2 to column 25."""
    picture, length = np.zeros((28, 28)), math.hypot(23, drop)
    along = complex(23, drop) / length
    steps = [(0, 0), (2, 2), (6, -2), (10, 2), (14, -2), (18, 2), (22, -2)]
    steps.append((length, -1 / (length - 20)))
    points = [complex(2, row) + complex(*step) * along for step in steps]
    for start, end in itertools.pairwise((point.real, point.imag) for point in points):
        # Rounded: a sum that is whole on paper may lie a last bit beside it.
        columns = range(math.floor(round(start[0], 9)), math.ceil(round(end[0], 9)))
        ink_of_line(picture, start, end, columns)
    return picture


@pytest.mark.parametrize(
    ("name", "by_hand", "choices"),
    [
        ("dotted_line", dashes_by_hand, [range(27), range(27)]),
        ("zigzag", zigzag_by_hand, [range(27), range(-5, 5)]),
    ],
)
def test_lines_are_one_of_those_drawn_by_hand(name, by_hand, choices):
    draws = list(itertools.product(*choices))
    pictures = 255 * np.array([by_hand(*draw) for draw in draws]).clip(0, 1)
    found = []
    for result in pixels(CORRUPTIONS[name](plain(0, 1_000), 13)):
        differences = np.abs(pictures - result).max(axis=(1, 2))
        assert differences.min() < 0.51
        found.append(draws[int(differences.argmin())])
    for drawn, choice in zip(zip(*found, strict=True), choices, strict=True):
        assert stats.chisquare([drawn.count(value) for value in choice]).pvalue > 0.001


@pytest.mark.parametrize("name", ["dotted_line", "zigzag"])
def test_lines_are_added_to_the_digit(name):
    images = rings()
    lines = pixels(CORRUPTIONS[name](plain(0, 20), 14))
    expected = np.minimum(pixels(images) + lines, 255)
    assert close(expected, pixels(CORRUPTIONS[name](images, 14)))


@pytest.mark.parametrize("strength", [{}, {"sigma": 2}])
def test_canny_edges_are_scikit_images(strength):
    images = rings()
    edges = pixels(CORRUPTIONS["canny_edges"](images, **strength))
    for image, result in zip(pixels(images), edges, strict=True):
        assert (result == 255 * canny(image / 255, sigma=strength.get("sigma", 1))).all()
    assert 0.02 < (edges > 0).mean() < 0.3


# All of them


def test_all_are_there_in_mnist_cs_order():
    assert list(CORRUPTIONS) == NAMES
    for name, corrupt in CORRUPTIONS.items():
        assert corrupt is getattr(corruptions, name)
        assert corrupt.__name__ == name
        assert corrupt.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_are_those_of_the_golden_run(name):
    result = CORRUPTIONS[name](rings())
    assert (result.dtype, result.shape) == (torch.uint8, (20, 1, 28, 28))
    assert hashlib.sha256(result.numpy().tobytes()).hexdigest() == GOLDEN[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides(name):
    images = rings()
    result = CORRUPTIONS[name](images, 5)
    assert torch.equal(CORRUPTIONS[name](images, seed=5), result)
    assert torch.equal(CORRUPTIONS[name](images, 6), result) == (name in FIXED)
    assert not torch.equal(result, images)


@pytest.mark.parametrize("name", RANDOM)
def test_each_image_has_draws_of_its_own(name):
    images = rings(1).expand(20, -1, -1, -1)
    assert len({image.numpy().tobytes() for image in CORRUPTIONS[name](images)}) > 1


@pytest.mark.parametrize("name", NAMES)
def test_an_image_does_not_depend_on_those_after_it(name, monkeypatch):
    images = rings()
    result = CORRUPTIONS[name](images, 3)
    assert torch.equal(CORRUPTIONS[name](images[:7], 3), result[:7])
    assert torch.equal(CORRUPTIONS[name](images[:1], 3), result[:1])
    monkeypatch.setattr(corruptions, "IMAGES_AT_ONCE", 6)
    assert torch.equal(CORRUPTIONS[name](images, 3), result)


@pytest.mark.parametrize("name", NAMES)
def test_the_given_images_and_the_random_states_are_not_changed(name):
    images = rings()
    before, states = images.clone(), (torch.get_rng_state(), repr(np.random.get_state()))
    CORRUPTIONS[name](images).fill_(7)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert repr(np.random.get_state()) == states[1]


@pytest.mark.parametrize("name", NAMES)
def test_no_images_give_no_images(name):
    result = CORRUPTIONS[name](rings()[:0])
    assert (result.dtype, result.shape) == (torch.uint8, (0, 1, 28, 28))


@pytest.mark.parametrize("name", NAMES)
def test_the_layout_in_memory_does_not_matter(name):
    images = rings()
    turned_twice = images.transpose(2, 3).contiguous().transpose(2, 3)
    assert not turned_twice.is_contiguous()
    assert torch.equal(CORRUPTIONS[name](turned_twice), CORRUPTIONS[name](images))
    assert torch.equal(CORRUPTIONS[name](images[::3]), CORRUPTIONS[name](images[::3].clone()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 1, 28, 28),
        torch.zeros(2, 1, 28, 28, dtype=torch.int64),
        torch.zeros(2, 28, 28, dtype=torch.uint8),
        torch.zeros(2, 3, 28, 28, dtype=torch.uint8),
        torch.zeros(2, 1, 32, 32, dtype=torch.uint8),
        np.zeros((2, 1, 28, 28), dtype=np.uint8),
    ],
    ids=["float", "int64", "no channel", "colour", "32x32", "numpy"],
)
def test_other_images_are_refused(name, images):
    with pytest.raises(mh.DataError, match=r"must be torch.uint8 \[N, 1, 28, 28\]") as caught:
        CORRUPTIONS[name](images)
    assert str(images.dtype) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_strength_is_refused():
    with pytest.raises(TypeError, match="angel"):
        CORRUPTIONS["rotate"](rings(), angel=0.3)


@pytest.mark.parametrize("name", NAMES)
def test_a_gpus_images_give_the_same_there(name, gpu):
    images = rings()
    there = CORRUPTIONS[name](images.to(gpu), 2)
    assert there.is_cuda
    assert torch.equal(there.cpu(), CORRUPTIONS[name](images, 2))


# Sets of digits


@pytest.mark.parametrize(
    ("before", "after"),
    [("mnist/test", "mnist/test+fog"), ("my own", "my own/fog"), ("a/b/c", "a/b/c+fog")],
)
def test_corrupted_digits_keep_their_labels_and_source(make_digits, before, after):
    digits = make_digits(name=before)
    foggy = corrupted(digits, "fog", seed=4)
    assert torch.equal(foggy.images, CORRUPTIONS["fog"](digits.images, 4))
    assert torch.equal(foggy.labels, digits.labels)
    assert (foggy.name, foggy.source) == (after, digits.source)


def test_corrupted_digits_have_a_seed_without_being_told(make_digits):
    digits = make_digits()
    expected = CORRUPTIONS["zigzag"](digits.images, 0)
    assert torch.equal(corrupted(digits, "zigzag").images, expected)


def test_an_unknown_corruption_is_refused_with_the_choices(make_digits):
    with pytest.raises(mh.DataError, match=r"'smoke'.*shot_noise, .*, canny_edges") as caught:
        corrupted(make_digits(), "smoke")
    assert "\n" not in str(caught.value)


@pytest.fixture
def mnist_c(tmp_path):
    """Write files as MNIST-C has them: `write(images, labels)`; bytes are written as they are."""

    def write(images=None, labels=None, part="test"):
        images = rings(12).permute(0, 2, 3, 1).numpy() if images is None else images
        labels = np.arange(12) % 10 if labels is None else labels
        (tmp_path / "fog").mkdir(exist_ok=True)
        for kind, content in (("images", images), ("labels", labels)):
            path = tmp_path / "fog" / f"{part}_{kind}.npy"
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                np.save(path, content, allow_pickle=True)
        return tmp_path

    return write


@pytest.mark.parametrize("part", ["test", "train"])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int32])
def test_mnist_c_is_read(mnist_c, part, dtype):
    folder = mnist_c(labels=(np.arange(12) % 10).astype(dtype), part=part)
    for given in (folder, str(folder)):
        digits = load_mnist_c(given, "fog", *([part] if part != "test" else []))
        assert torch.equal(digits.images, rings(12))
        assert digits.labels.tolist() == [*range(10), 0, 1]
        assert (digits.name, digits.source) == (f"mnist-c/{part}+fog", "mnist-c")
        assert digits.images.is_contiguous()


def refused(folder, message):
    with pytest.raises(mh.DataError, match=message) as caught:
        load_mnist_c(folder, "fog")
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "zenodo.org" in str(caught.value)


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_a_missing_file_of_mnist_c_is_named(mnist_c, kind):
    folder = mnist_c()
    (folder / "fog" / f"test_{kind}.npy").unlink()
    refused(folder, f"test_{kind}.npy is missing")


def test_a_missing_folder_of_mnist_c_is_named(tmp_path):
    refused(tmp_path / "nowhere", "missing")


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00", b"PK\x03\x04 no zip"])
@pytest.mark.parametrize("kind", ["images", "labels"])
def test_a_damaged_file_of_mnist_c_is_refused(mnist_c, kind, content):
    refused(mnist_c(**{kind: content}), "damaged")


def test_a_file_of_mnist_c_that_ends_too_early_is_refused(mnist_c):
    folder = mnist_c()
    path = folder / "fog" / "test_images.npy"
    path.write_bytes(path.read_bytes()[:-5])
    refused(folder, "damaged")


@pytest.mark.parametrize(
    "files",
    [
        {"images": np.zeros((12, 28, 28), np.uint8)},
        {"images": np.zeros((12, 28, 28, 3), np.uint8)},
        {"images": np.zeros((12, 1, 28, 28), np.uint8)},
        {"images": np.zeros((12, 28, 28, 1), np.float32)},
        {"images": np.zeros((11, 28, 28, 1), np.uint8)},
        {"images": np.uint8(3)},
        {"labels": np.arange(12) % 10 + 0.5},
        {"labels": np.arange(12)},
        {"labels": np.zeros((12, 1), int)},
        {"labels": np.array(["seven"] * 12)},
    ],
    ids=lambda files: " ".join(f"{k} {v.dtype} {v.shape}" for k, v in files.items()),
)
def test_a_file_of_mnist_c_of_another_form_is_refused(mnist_c, files):
    refused(mnist_c(**files), "not MNIST-C")


def test_a_pickle_in_place_of_mnist_c_is_not_run(mnist_c, bomb):
    refused(mnist_c(labels=np.array([bomb] * 12, dtype=object)), "damaged")
    assert not bomb.marker.exists()
