"""augmentation.py: what all have in common, then each against scipy, torchvision or its law."""

import inspect
import itertools

import mnist_helpers as mh
import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as vision

every_one = pytest.mark.parametrize("name", list(mh.augmentation.AUGMENTATIONS))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def grey(count, channels=1, size=(28, 28)):
    """Bytes from 0 to 255, drawn evenly."""
    return torch.randint(256, (count, channels, *size), generator=seeded(0)).byte()


def as_floats(images):
    return images.double() / 255


def usual(change):
    """The strengths of an augmentation where none are given."""
    parameters = inspect.signature(change).parameters.values()
    return {each.name: each.default for each in parameters if each.kind == each.KEYWORD_ONLY}


# Every augmentation


def test_the_augmentations_by_name():
    names = ["shift", "affine", "elastic", "distort", "erase", "noise", "thickness"]
    assert {name: getattr(mh.augmentation, name) for name in names} == mh.augmentation.AUGMENTATIONS


@every_one
@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
@pytest.mark.parametrize("shape", [(0, 1, 28, 28), (1, 1, 28, 28), (20, 3, 17, 30)])
def test_shape_dtype_and_the_given_images_stay_and_all_dtypes_change_alike(name, dtype, shape):
    images = grey(*shape[:2], shape[2:])
    images = images if dtype == torch.uint8 else (images / 255).to(dtype)
    exact = as_floats(images) if dtype == torch.uint8 else images.double()
    exact, before = mh.augmentation.AUGMENTATIONS[name](exact, seeded(1)), images.clone()
    changed = mh.augmentation.AUGMENTATIONS[name](images, seeded(1))
    assert (changed.shape, changed.dtype, changed.device) == (images.shape, dtype, images.device)
    assert len(images) == 0 or not torch.equal(changed, before)
    if dtype == torch.uint8:  # rounded
        torch.testing.assert_close(changed.double(), 255 * exact, rtol=0, atol=0.501)
    else:
        atol = max(torch.finfo(dtype).eps, 1e-5)
        torch.testing.assert_close(changed.double(), exact, rtol=0, atol=atol)
    changed.fill_(1)
    assert torch.equal(images, before)


@every_one
def test_each_image_keeps_its_place_beside_its_label_and_has_a_change_of_its_own(name):
    images = grey(1).repeat(30, 1, 1, 1)
    changed = mh.augmentation.AUGMENTATIONS[name](images, seeded(3))
    different = len({image.numpy().tobytes() for image in changed})
    assert different == 30 if name != "shift" else 5 < different <= 9
    images[7] = 255 - images[7]
    again = mh.augmentation.AUGMENTATIONS[name](images, seeded(3))
    assert (again != changed).flatten(1).any(dim=1).nonzero().ravel().tolist() == [7]


@every_one
def test_the_generator_decides_and_only_without_one_torchs_own(name):
    change, images = mh.augmentation.AUGMENTATIONS[name], grey(20, channels=3)
    before, generator = torch.get_rng_state(), seeded(5)
    first, second = change(images, generator), change(images, generator)
    channels_last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(change(channels_last, seeded(5)), first)
    assert torch.equal(mh.augmentation.augment(images, name, seeded(5)), first)
    assert not torch.equal(change(images, seeded(6)), first)
    assert not torch.equal(second, first)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        assert torch.equal(change(images), first)
        assert torch.equal(mh.augmentation.augment(images, name), second)


@every_one
def test_a_gpu_changes_by_the_draws_of_the_cpu_or_by_its_own(name, gpu):
    change, images = mh.augmentation.AUGMENTATIONS[name], as_floats(grey(50)).float()
    there = change(images.to(gpu), seeded(4))
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), change(images, seeded(4)), rtol=0, atol=1e-4)
    if name != "shift":
        first, again, other = (
            change(images.to(gpu), torch.Generator(gpu).manual_seed(seed)) for seed in (5, 5, 6)
        )
        assert torch.equal(again, first)
        assert not torch.equal(other, first)


@pytest.mark.parametrize("names", ["affine+noise", "noise+affine", "shift+affine+elastic+erase"])
def test_joined_names_are_one_after_another_with_one_generator(names):
    images, generator = grey(20), seeded(3)
    expected = images
    for name in names.split("+"):
        expected = getattr(mh.augmentation, name)(expected, generator)
    assert torch.equal(mh.augmentation.augment(images, names, seeded(3)), expected)


def test_none_gives_the_images_and_an_unknown_name_is_a_key_error():
    images, generator = grey(3), seeded(3)
    before = generator.get_state()
    assert mh.augmentation.augment(images, "none", generator) is images
    assert torch.equal(generator.get_state(), before)
    for names in ("flip", "none+affine", "affine+none", "", "affine+", "Affine"):
        with pytest.raises(KeyError):
            mh.augmentation.augment(images, names)


def test_an_affine_change_of_no_strength_changes_nothing():
    images, still = grey(20, 3), {"degrees": 0.0, "pixels": 0.0, "scale": 0.0, "shear": 0.0}
    assert torch.equal(mh.augmentation.affine(images, seeded(0), **still), images)


@pytest.mark.parametrize("scale", [1.0, -0.1])
def test_a_scale_out_of_its_range_is_refused(scale):
    with pytest.raises(ValueError, match=str(scale)):
        mh.augmentation.affine(torch.zeros(2, 1, 28, 28), scale=scale)


# Shifts


@pytest.mark.parametrize(("pixels", "channels", "count"), [(1, 3, 1_800), (2, 1, 2_500)])
def test_every_image_is_one_of_its_shifts_by_scipy_all_equally_often(pixels, channels, count):
    images = grey(count, channels, (6, 7)).clamp(min=1)  # no zero: no two shifts look the same
    shifted = mh.augmentation.shift(images, seeded(2), pixels).numpy()
    fits = [
        (ndimage.shift(images.numpy(), (0, 0, *move), order=0, prefilter=False) == shifted)
        for move in itertools.product(range(-pixels, pixels + 1), repeat=2)
    ]
    fits = np.array([fit.all(axis=(1, 2, 3)) for fit in fits])
    assert (fits.sum(axis=0) == 1).all()
    assert stats.chisquare(fits.sum(axis=1)).pvalue > 0.001


# Warping


def grid_of(offsets):
    """What `warp` takes, -1 to 1 from edge to edge, of how far away a pixel looks."""
    height, width = offsets.shape[1:3]
    rows, columns = np.indices((height, width))
    places = torch.from_numpy(np.stack([columns, rows], axis=-1)) + offsets
    return (2 * places + 1) / torch.tensor([width, height]) - 1


def warped_by_scipy(images, offsets):
    """`mh.augmentation.warp` by scipy, a channel at a time: float64 `[N, C, H, W]`."""
    rows, columns = np.indices(images.shape[-2:])
    found = np.empty(images.shape)
    for image, channel in np.ndindex(*images.shape[:2]):
        right, down = offsets[image].double().numpy().transpose(2, 0, 1)
        found[image, channel] = ndimage.map_coordinates(
            images[image, channel].double().numpy(),
            (rows + down, columns + right),
            order=1,
            mode="grid-constant",
        )
    return found


@pytest.mark.parametrize("size", [(28, 28), (9, 14), (14, 9), (1, 5), (1, 1)])
@pytest.mark.parametrize("reach", [0.9, 6.0])
def test_warping_equals_scipys(size, reach):
    images = as_floats(grey(6, 3, size))
    offsets = reach * (2 * torch.rand(6, *size, 2, generator=seeded(1)) - 1)
    expected = warped_by_scipy(images, offsets)
    for given in (images, images.float()):
        found = mh.augmentation.warp(given, grid_of(offsets))
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_a_quarter_of_a_pixel_away_lies_the_mean_of_two_rounded():
    images = torch.tensor([[[[10, 13, 20, 255]]]], dtype=torch.uint8)
    offsets = torch.tensor([0.25, 0.0]).expand(1, 1, 4, 2)
    found = mh.augmentation.warp(images, grid_of(offsets))
    # 10.75, 14.75, 78.75, and 191.25 as 0 lies outside
    assert found.tolist() == [[[[11, 15, 79, 191]]]]


CHANGES = [  # angle, right, down, scale and shear
    (37.0, 0.0, 0.0, 1.0, 0.0),
    (0.0, 2.25, 0.0, 1.0, 0.0),
    (0.0, 0.0, -3.75, 1.0, 0.0),
    (0.0, 0.0, 0.0, 1.3, 0.0),
    (0.0, 0.0, 0.0, 0.6, 0.0),
    (0.0, 0.0, 0.0, 1.0, 20.0),
    (12.0, -1.5, 2.5, 0.85, 14.0),
    (-25.0, 3.25, -0.5, 1.2, -35.0),
    (0.0, 0.0, 0.0, 1.0, 0.0),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(28, 28), (15, 22)])
def test_an_affine_grid_moves_as_torchvision_does(size, dtype):
    images = as_floats(grey(len(CHANGES), 2, size)).float()
    grid = mh.augmentation.affine_grid(size, *torch.tensor(CHANGES, dtype=dtype).T)
    assert (grid.shape, grid.dtype) == ((len(CHANGES), *size, 2), dtype)
    for values, image, found in zip(
        CHANGES, images, mh.augmentation.warp(images, grid), strict=True
    ):
        angle, right, down, scale, shear = values
        kind = InterpolationMode.BILINEAR
        expected = vision.affine(image, angle, [right, down], scale, [shear, 0.0], kind)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


# Each by hand or by scipy: from float64 images and the same draws


def moves_of_affine(images, generator, **values):
    """Five draws an image: angle, right, down, growth and slant, each even up to its most."""
    degrees, pixels, scale, shear = {**usual(mh.augmentation.affine), **values}.values()
    draws = 2 * torch.rand(len(images), 5, generator=generator) - 1
    angle, right, down, growth, slant = (
        torch.tensor([degrees, pixels, pixels, scale, shear]) * draws
    ).T
    height, width = images.shape[-2:]
    grid = mh.augmentation.affine_grid((height, width), angle, right, down, 1 + growth, slant)
    return (grid - grid_of(torch.zeros_like(grid))) * torch.tensor([width, height]) / 2


def moves_of_elastic(images, generator):
    """Simard's recipe: even noise along and across, smoothed."""
    draws = torch.rand(len(images), 2, *images.shape[-2:], generator=generator)
    noise = 2 * draws.double().numpy() - 1
    moves = ndimage.gaussian_filter(noise, (0, 0, 4, 4), mode="constant")
    return 12 * torch.from_numpy(moves).permute(0, 2, 3, 1)


def affine(images, generator, **values):
    return warped_by_scipy(images, moves_of_affine(images, generator, **values))


def elastic(images, generator):
    return warped_by_scipy(images, moves_of_elastic(images, generator))


def distort(images, generator):
    """The moves are added before the one interpolation."""
    moves = moves_of_affine(images, generator)
    return warped_by_scipy(images, moves + moves_of_elastic(images, generator))


def erase(images, generator):
    """A box of even height, width, place and grey, wholly inside."""
    images, (height, width) = images.clone(), images.shape[-2:]
    draws = torch.rand((5, len(images), 1, 1, 1), generator=generator).double().flatten(1).T
    for image, (tall, wide, top, left, shade) in zip(images, draws.tolist(), strict=True):
        tall, wide = (4 + int(draw * 9) for draw in (tall, wide))
        top, left = int(top * (height - tall + 1)), int(left * (width - wide + 1))
        image[:, top : top + tall, left : left + wide] = shade
    return images


def noise(images, generator):
    """Gaussian, of a standard deviation for each image that is even up to 0.7."""
    deviations = 0.7 * torch.rand((len(images), 1, 1, 1), generator=generator)
    return (images + deviations * torch.randn(images.shape, generator=generator)).clamp(0, 1)


def thickness(images, generator):
    """Mixed with its grey dilation or erosion."""
    parts = 0.85 * (2 * torch.rand((len(images), 1, 1, 1), generator=generator).numpy() - 1)
    pixels, around = images.numpy(), (1, 1, 3, 3)
    others = [ndimage.maximum_filter(pixels, around), ndimage.minimum_filter(pixels, around)]
    return pixels + abs(parts) * (np.where(parts > 0, *others) - pixels)


@pytest.mark.parametrize("size", [(28, 28), (40, 20)])
@pytest.mark.parametrize(
    ("by_hand", "values"),
    [
        (affine, {}),
        (affine, {"degrees": 25.0, "pixels": 0.5}),
        (affine, {"scale": 0.3, "shear": 20.0}),
        (elastic, {}),
        (distort, {}),
        (erase, {}),
        (noise, {}),
        (thickness, {}),
    ],
)
def test_an_augmentation_is_what_it_is_by_hand(by_hand, values, size):
    images = as_floats(grey(30, 2, size))
    expected = by_hand(images, seeded(6), **values)
    found = getattr(mh.augmentation, by_hand.__name__)(images, seeded(6), **values)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_the_usual_elastic_moves_a_pixel_by_a_part_of_one_or_two():
    """Uniform noise has a variance of 1/3; smoothed, times 1 / (4 pi sigma**2)."""
    strength, sigma = mh.augmentation.STRENGTH, mh.augmentation.SIGMA
    assert 0.2 < strength * (1 / 3 / (4 * np.pi * sigma**2)) ** 0.5 < 2


def test_the_highest_draw_there_is_gives_the_largest_box_at_the_end(monkeypatch):
    """`torch.rand` gives multiples of 2**-24 below 1."""
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, 1 - 2**-24))
    [[image]] = mh.augmentation.erase(torch.full((1, 1, 28, 28), 2.0))
    assert (image != 2).nonzero().tolist() == list(
        map(list, itertools.product(range(16, 28), repeat=2))
    )
    assert 0.99 < image.min() <= 1
