"""augmentation.py: changed images against scipy's and torchvision's, and how the draws spread."""

import inspect
import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as vision

import mnist_helpers as mh


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def noise(count, *, channels=1, dtype=torch.uint8, seed=0):
    """Images of 6 by 7 without a zero, so that no two shifts of one look the same."""
    images = torch.randint(1, 256, (count, channels, 6, 7), generator=seeded(seed))
    return images.to(torch.uint8) if dtype == torch.uint8 else images.to(dtype) / 255


def shifts_of(images, shifted, pixels=1):
    """How far down and right each image was moved, by scipy; None where no shift fits."""
    found = []
    for before, after in zip(images.numpy(), shifted.numpy(), strict=True):
        fits = [
            (down, right)
            for down, right in itertools.product(range(-pixels, pixels + 1), repeat=2)
            if (ndimage.shift(before, (0, down, right), order=0, prefilter=False) == after).all()
        ]
        assert len(fits) <= 1
        found.append(fits[0] if fits else None)
    return found


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pixels", [1, 2])
def test_every_image_is_one_of_its_shifts_filled_with_zeros(dtype, channels, pixels):
    images = noise(60, channels=channels, dtype=dtype)
    shifted = mh.shift(images, seeded(1), pixels)
    assert (shifted.dtype, shifted.shape) == (images.dtype, images.shape)
    assert None not in shifts_of(images, shifted, pixels)


@pytest.mark.parametrize(("pixels", "count"), [(1, 1_800), (2, 2_500)])
def test_all_shifts_occur_about_equally_often(pixels, count):
    images = noise(count)
    found = shifts_of(images, mh.shift(images, seeded(2), pixels), pixels)
    counts = [found.count(place) for place in set(found)]
    assert len(counts) == (2 * pixels + 1) ** 2
    assert stats.chisquare(counts).pvalue > 0.001


def test_the_images_of_a_batch_are_shifted_by_draws_of_their_own():
    images = noise(1).expand(50, -1, -1, -1)
    assert len(set(shifts_of(images, mh.shift(images, seeded(3))))) > 5


def test_the_given_images_are_not_changed():
    images = noise(20)
    before = images.clone()
    shifted = mh.shift(images, seeded(0))
    shifted.fill_(7)
    assert torch.equal(images, before)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_seed_decides(layout):
    images = noise(40, channels=3).contiguous(memory_format=layout)
    first = mh.shift(images, seeded(5))
    assert torch.equal(mh.shift(images, seeded(5)), first)
    assert not torch.equal(mh.shift(images, seeded(6)), first)
    assert torch.equal(mh.shift(images.contiguous(), seeded(5)), first)


def test_one_generator_gives_other_shifts_each_time():
    images, generator = noise(40), seeded(5)
    assert not torch.equal(mh.shift(images, generator), mh.shift(images, generator))


def test_a_generator_of_ones_own_leaves_torchs_alone():
    before = torch.get_rng_state()
    mh.shift(noise(10), seeded(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_torchs_own_seed_decides():
    images = noise(40)
    with torch.random.fork_rng():
        torch.manual_seed(8)
        first, second = mh.shift(images), mh.shift(images)
        torch.manual_seed(8)
        again = mh.shift(images)
    assert torch.equal(again, first)
    assert not torch.equal(second, first)


def test_bytes_and_floats_are_shifted_alike():
    images = noise(30)
    shifted = mh.shift(images, seeded(4))
    assert torch.equal(mh.shift(images.float(), seeded(4)), shifted.float())


def test_a_gpu_shifts_by_the_same_draws(gpu):
    images = noise(50)
    there = mh.shift(images.to(gpu), seeded(4))
    assert there.is_cuda
    assert torch.equal(there.cpu(), mh.shift(images, seeded(4)))


# Every augmentation

every_one = pytest.mark.parametrize("name", list(mh.AUGMENTATIONS))
DTYPES = [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64]


def grey(count, channels=1, size=(28, 28), seed=0):
    """Bytes from 0 to 255, drawn evenly."""
    return torch.randint(256, (count, channels, *size), generator=seeded(seed)).byte()


def as_floats(images):
    return images.double() / 255


def usual(change):
    """The strengths of an augmentation where none are given."""
    parameters = inspect.signature(change).parameters.values()
    return [each.default for each in parameters if each.kind == each.KEYWORD_ONLY]


def test_the_augmentations_by_name():
    names = ["shift", "affine", "elastic", "distort", "erase", "noise"]
    assert {name: getattr(mh, name) for name in names} == mh.AUGMENTATIONS


@every_one
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 1, 28, 28), (1, 1, 28, 28), (5, 3, 20, 30)])
def test_shape_and_dtype_stay_and_the_given_images_too(name, dtype, shape):
    images = grey(shape[0], shape[1], shape[2:])
    images = images if dtype == torch.uint8 else (images / 255).to(dtype)
    before = images.clone()
    changed = mh.AUGMENTATIONS[name](images, seeded(1))
    assert (changed.shape, changed.dtype) == (images.shape, dtype)
    assert len(images) == 0 or not torch.equal(changed, before)
    changed.fill_(1)
    assert torch.equal(images, before)


@every_one
@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_are_the_rounded_floats(name, channels):
    images = grey(40, channels)
    exact = 255 * mh.AUGMENTATIONS[name](as_floats(images), seeded(1))
    found = mh.AUGMENTATIONS[name](images, seeded(1))
    assert (found.double() - exact).abs().max() < 0.501


@every_one
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_coarse_floats_change_as_fine_ones_do(name, dtype):
    images = (grey(20) / 255).to(dtype)
    expected = mh.AUGMENTATIONS[name](images.double(), seeded(1))
    changed = mh.AUGMENTATIONS[name](images, seeded(1)).double()
    atol = max(torch.finfo(dtype).eps, 1e-5)
    torch.testing.assert_close(changed, expected, rtol=0, atol=atol)


@every_one
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_seed_decides_every_change(name, layout):
    change, images = mh.AUGMENTATIONS[name], grey(10, channels=3)
    generator = seeded(5)
    first, next_one = change(images, generator), change(images, generator)
    assert torch.equal(change(images.contiguous(memory_format=layout), seeded(5)), first)
    assert not torch.equal(change(images, seeded(6)), first)
    assert not torch.equal(next_one, first)


@every_one
def test_every_image_has_a_change_of_its_own(name):
    images = grey(1).expand(30, -1, -1, -1)
    changed = mh.AUGMENTATIONS[name](images, seeded(3))
    different = len({image.numpy().tobytes() for image in changed})
    assert different == 30 if name != "shift" else 5 < different <= 9


@every_one
def test_only_without_a_generator_torchs_own_is_used(name):
    change, images = mh.AUGMENTATIONS[name], grey(20)
    with torch.random.fork_rng():
        torch.manual_seed(8)
        before = torch.get_rng_state()
        change(images, seeded(0))
        assert torch.equal(torch.get_rng_state(), before)
        first, second = change(images), change(images)
        torch.manual_seed(8)
        assert torch.equal(change(images), first)
        assert not torch.equal(second, first)


@every_one
def test_a_generator_of_the_cpu_changes_alike_on_a_gpu(name, gpu):
    images = as_floats(grey(50)).float()
    here = mh.AUGMENTATIONS[name](images, seeded(4))
    there = mh.AUGMENTATIONS[name](images.to(gpu), seeded(4))
    assert there.device.type == "cuda"
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["affine", "elastic", "distort", "erase", "noise"])
def test_a_generator_of_the_gpu_decides_there(name, gpu):
    change, images = mh.AUGMENTATIONS[name], grey(50).to(gpu)
    first, again, other = (
        change(images, torch.Generator(gpu).manual_seed(seed)) for seed in (5, 5, 6)
    )
    assert torch.equal(again, first)
    assert not torch.equal(other, first)


# One after another


@pytest.mark.parametrize("names", ["affine+noise", "noise+affine", "shift+affine+elastic+erase"])
def test_joined_names_are_one_after_another_with_one_generator(names):
    images, generator = grey(20), seeded(3)
    expected = images
    for name in names.split("+"):
        expected = getattr(mh, name)(expected, generator)
    assert torch.equal(mh.augment(images, names, seeded(3)), expected)


@every_one
def test_a_single_name_is_that_augmentation(name):
    images = grey(20)
    expected = mh.AUGMENTATIONS[name](images, seeded(3))
    assert torch.equal(mh.augment(images, name, seeded(3)), expected)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        assert torch.equal(mh.augment(images, name), expected)


def test_none_gives_the_images_and_draws_nothing():
    images, generator = grey(3), seeded(3)
    before = generator.get_state()
    assert mh.augment(images, "none", generator) is images
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("names", ["flip", "none+affine", "affine+none", "", "affine+", "Affine"])
def test_an_unknown_name_is_a_key_error(names):
    with pytest.raises(KeyError):
        mh.augment(grey(3), names)


# Warping


def warped_by_scipy(images, offsets):
    """`mh.warp` by scipy, a channel at a time: float64 `[N, C, H, W]`."""
    rows, columns = np.indices(images.shape[-2:])
    return np.stack(
        [
            [
                ndimage.map_coordinates(
                    channel,
                    (rows + offset[..., 1], columns + offset[..., 0]),
                    order=1,
                    mode="grid-constant",
                )
                for channel in image
            ]
            for image, offset in zip(images.double().numpy(), offsets.double().numpy(), strict=True)
        ]
    )


@pytest.mark.parametrize("size", [(28, 28), (9, 14), (14, 9), (1, 5), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("reach", [0.9, 6.0])
def test_warping_equals_scipys(size, channels, reach):
    images = as_floats(grey(6, channels, size))
    offsets = reach * (2 * torch.rand(6, *size, 2, generator=seeded(1)) - 1)
    expected = warped_by_scipy(images, offsets)
    np.testing.assert_allclose(mh.warp(images, offsets), expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(mh.warp(images.float(), offsets), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, 1), (-2, 0), (0, -3), (4, 2)])
def test_an_offset_says_how_far_right_and_down_to_look(right, down):
    images = grey(2, size=(6, 8))
    found = mh.warp(images, torch.tensor([right, down]).expand(2, 6, 8, 2).float())
    expected = ndimage.shift(images.numpy(), (0, 0, -down, -right), order=0, prefilter=False)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(28, 28), (7, 12)])
def test_without_offsets_an_image_stays(dtype, size):
    images = grey(20, 2, size)
    images = images if dtype == torch.uint8 else (images / 255).to(dtype)
    found = mh.warp(images, torch.zeros(20, *size, 2))
    atol = 0 if dtype == torch.uint8 else max(torch.finfo(dtype).eps, 1e-5)
    torch.testing.assert_close(found, images, rtol=0, atol=atol)


def test_half_a_pixel_away_lies_the_mean_of_two_rounded():
    images = torch.tensor([[[[10, 13, 20, 255]]]], dtype=torch.uint8)
    offsets = torch.tensor([0.25, 0.0]).expand(1, 1, 4, 2)
    found = mh.warp(images, offsets)  # 10.75, 14.75, 78.75, and 191.25 as 0 lies outside
    assert found.tolist() == [[[[11, 15, 79, 191]]]]


# Affine changes

STILL = {"degrees": 0.0, "pixels": 0.0, "scale": 0.0, "shear": 0.0}
CHANGES = {
    "a turn": (37.0, 0.0, 0.0, 1.0, 0.0),
    "a turn back": (-8.5, 0.0, 0.0, 1.0, 0.0),
    "a move right": (0.0, 2.25, 0.0, 1.0, 0.0),
    "a move up": (0.0, 0.0, -3.75, 1.0, 0.0),
    "larger": (0.0, 0.0, 0.0, 1.3, 0.0),
    "smaller": (0.0, 0.0, 0.0, 0.6, 0.0),
    "a slant": (0.0, 0.0, 0.0, 1.0, 20.0),
    "a slant back": (0.0, 0.0, 0.0, 1.0, -35.0),
    "all at once": (12.0, -1.5, 2.5, 0.85, 14.0),
    "all the other way": (-25.0, 3.25, -0.5, 1.2, -9.0),
    "nothing": (0.0, 0.0, 0.0, 1.0, 0.0),
}


def by_torchvision(image, angle, right, down, scale, shear):
    return vision.affine(
        image,
        angle=angle,
        translate=[right, down],
        scale=scale,
        shear=[shear, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )


@pytest.mark.parametrize("values", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("size", [(28, 28), (15, 22)])
def test_affine_offsets_move_as_torchvision_does(values, size):
    images = as_floats(grey(1, 2, size)).float()
    offsets = mh.affine_offsets(size, *torch.tensor(values).view(5, 1))
    assert offsets.shape == (1, *size, 2)
    expected = by_torchvision(images, *values)
    torch.testing.assert_close(mh.warp(images, offsets), expected, rtol=0, atol=1e-4)


def test_affine_offsets_of_many_are_those_of_each():
    offsets = mh.affine_offsets((9, 12), *torch.tensor(list(CHANGES.values())).T)
    for values, found in zip(CHANGES.values(), offsets, strict=True):
        alone = mh.affine_offsets((9, 12), *torch.tensor(values).view(5, 1))
        torch.testing.assert_close(found, alone[0])
    fine = mh.affine_offsets((9, 12), *torch.tensor(list(CHANGES.values())).double().T)
    assert fine.dtype == torch.float64
    torch.testing.assert_close(offsets.double(), fine, rtol=0, atol=1e-4)


def test_affine_offsets_of_none_are_none():
    assert mh.affine_offsets((9, 12), *torch.zeros(5, 0)).shape == (0, 9, 12, 2)


def drawn_by_affine(count=400, seed=1, **strengths):
    """Angle, right, down, scale and shear of each image, `[5, count]`; recovered from ramps."""
    rows, columns = np.indices((28, 28)) - 13.5
    ramps = torch.from_numpy(np.stack([columns, rows])).expand(count, -1, -1, -1)
    seen = mh.affine(ramps, seeded(seed), **strengths).numpy()[..., 8:20, 8:20]
    place = np.stack([columns, rows, np.ones((28, 28))])[:, 8:20, 8:20]
    # What a pixel shows is the place it comes from: source = back @ place + start.
    found = np.linalg.lstsq(place.reshape(3, -1).T, seen.reshape(2 * count, -1).T)[0]
    back, start = np.split(found.T.reshape(count, 2, 3), [2], axis=2)
    forth = np.linalg.inv(back)
    right, down = -(forth @ start)[..., 0].T
    angle = np.arctan2(forth[:, 1, 0], forth[:, 0, 0])
    scale = np.hypot(forth[:, 0, 0], forth[:, 1, 0])
    cos, sin = np.cos(angle), np.sin(angle)
    slope = -(cos * forth[:, 0, 1] + sin * forth[:, 1, 1]) / scale
    return np.stack([np.degrees(angle), right, down, scale, np.degrees(np.arctan(slope))])


@pytest.mark.parametrize(
    ("strength", "most", "drawn"),
    [
        ("degrees", 10.0, {0}),
        ("degrees", 3.0, {0}),
        ("pixels", 2.0, {1, 2}),
        ("pixels", 0.5, {1, 2}),
        ("scale", 0.1, {3}),
        ("scale", 0.25, {3}),
        ("shear", 10.0, {4}),
        ("shear", 15.0, {4}),
    ],
)
def test_a_strength_alone_draws_evenly_up_to_it_and_nothing_else(strength, most, drawn):
    found = drawn_by_affine(**{**STILL, strength: most})
    for place, values in enumerate(found):
        middle = 1.0 if place == 3 else 0.0
        if place in drawn:
            assert np.abs(values - middle).max() <= most + 1e-3
            spread = stats.uniform(middle - most, 2 * most)
            assert stats.kstest(values, spread.cdf).pvalue > 0.001
        else:
            np.testing.assert_allclose(values, middle, rtol=0, atol=1e-4)


def test_the_usual_strengths_of_affine_are_drawn_evenly_each_on_its_own():
    found = drawn_by_affine(count=600)
    degrees, pixels, scale, shear = usual(mh.affine)
    strengths = (degrees, pixels, pixels, scale, shear)
    for values, middle, most in zip(found, (0, 0, 0, 1, 0), strengths, strict=True):
        assert np.abs(values - middle).max() <= most + 1e-3
        spread = stats.uniform(middle - most, 2 * most)
        assert stats.kstest(values, spread.cdf).pvalue > 0.001
    correlations = np.corrcoef(found) - np.eye(5)
    assert np.abs(correlations).max() < 0.15


def test_affine_of_no_strength_changes_nothing():
    images = grey(20, 3)
    assert torch.equal(mh.affine(images, seeded(0), **STILL), images)


# Elastic changes


def smooth_moves(draws, strength, sigma):
    """The moves of `mh.elastic` by scipy, `[N, H, W, 2]`, of draws from 0 to 1, `[N, 2, H, W]`."""
    moves = [
        [ndimage.gaussian_filter(2 * part - 1, sigma, mode="constant") for part in image]
        for image in draws.double().numpy()
    ]
    return strength * torch.tensor(np.array(moves)).permute(0, 2, 3, 1)


@pytest.mark.parametrize("size", [(28, 28), (40, 20)])
@pytest.mark.parametrize(("strength", "sigma"), [(34.0, 4.0), (12.0, 1.5), (60.0, 9.0)])
def test_elastic_equals_simards_recipe_by_scipy(size, strength, sigma):
    images = as_floats(grey(4, 2, size))
    draws = torch.rand(4, 2, *size, generator=seeded(6))
    expected = warped_by_scipy(images, smooth_moves(draws, strength, sigma))
    found = mh.elastic(images, seeded(6), strength=strength, sigma=sigma)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [(28, 28), (20, 30)])
def test_distort_adds_the_moves_of_affine_and_elastic_before_one_interpolation(size):
    images, generator = as_floats(grey(6, 2, size)), seeded(6)
    degrees, pixels, scale, shear = usual(mh.affine)
    most = torch.tensor([degrees, pixels, pixels, scale, shear])
    angle, right, down, growth, slant = (most * (2 * torch.rand(6, 5, generator=generator) - 1)).T
    moves = mh.affine_offsets(size, angle, right, down, 1 + growth, slant)
    moves = moves + smooth_moves(torch.rand(6, 2, *size, generator=generator), *usual(mh.elastic))
    expected = warped_by_scipy(images, moves)
    np.testing.assert_allclose(mh.distort(images, seeded(6)), expected, rtol=0, atol=1e-4)


def test_elastic_of_no_strength_changes_nothing():
    images = grey(20, 3)
    assert torch.equal(mh.elastic(images, seeded(0), strength=0.0), images)


def moves_of_elastic(count=30, **values):
    """How far each inner pixel was moved, `[count, 2, 16, 16]`; read off ramps."""
    rows, columns = np.indices((28, 28)).astype(float)
    ramps = torch.from_numpy(np.stack([columns, rows])).expand(count, -1, -1, -1)
    return (mh.elastic(ramps, seeded(2), **values) - ramps)[..., 6:22, 6:22].numpy()


@pytest.mark.parametrize("sigma", [3.0, 4.0])
def test_neighbours_move_alike_and_those_far_apart_do_not(sigma):
    """White noise smoothed by a Gaussian is correlated by exp(-d**2 / (4 sigma**2)) at d pixels."""
    moves = moves_of_elastic(200, strength=10.0, sigma=sigma)
    for apart in (1, 3, 12):
        near, far = moves[..., :-apart].ravel(), moves[..., apart:].ravel()
        expected = np.exp(-(apart**2) / (4 * sigma**2))
        assert np.corrcoef(near, far)[0, 1] == pytest.approx(expected, abs=0.05)
    right, down = moves[:, 0].ravel(), moves[:, 1].ravel()
    assert abs(np.corrcoef(right, down)[0, 1]) < 0.1


def test_the_usual_elastic_moves_a_pixel_by_a_part_of_one_or_two():
    """Uniform noise has a variance of 1/3; smoothed, times 1 / (4 pi sigma**2)."""
    strength, sigma = usual(mh.elastic)
    expected = strength * (1 / 3 / (4 * np.pi * sigma**2)) ** 0.5
    assert moves_of_elastic(200).std() == pytest.approx(expected, rel=0.1)
    assert 0.2 < expected < 2


# Boxes


def boxes_of(count, size, seed=0, **values):
    """Top, left, height, width and grey of each box; each is proven to be one, of one grey."""
    images = torch.full((count, 2, *size), 2.0)
    found = []
    for image in mh.erase(images, seeded(seed), **values):
        painted = image[0] != 2
        assert torch.equal(painted, image[1] != 2)
        rows, columns = (painted.any(dim=along).nonzero().ravel() for along in (1, 0))
        (top, bottom), (left, right) = ((ends[0], ends[-1] + 1) for ends in (rows, columns))
        assert painted[top:bottom, left:right].all()
        assert painted.sum() == (bottom - top) * (right - left)
        [colour] = image[:, painted].unique().tolist()
        found.append([*map(int, (top, left, bottom - top, right - left)), colour])
    return np.array(found).T


def assert_even(values, expected):
    """The values are the expected ones, each about as often as the others."""
    found, counts = np.unique(values, return_counts=True)
    np.testing.assert_array_equal(found, expected)
    assert len(counts) == 1 or stats.chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize(
    ("values", "sizes"),
    [
        ({}, range(4, 13)),
        ({"smallest": 2, "largest": 5}, range(2, 6)),
        ({"smallest": 1, "largest": 1}, [1]),
        ({"smallest": 1, "largest": 20}, range(1, 21)),
    ],
)
def test_each_image_gets_one_box_of_an_even_size_and_grey(values, sizes):
    _, _, tall, wide, colour = boxes_of(1_000, (20, 26), **values)
    assert_even(tall, sizes)
    assert_even(wide, sizes)
    assert stats.kstest(colour, "uniform").pvalue > 0.001
    if len(sizes) > 1:
        correlations = np.corrcoef([tall, wide, colour]) - np.eye(3)
        assert np.abs(correlations).max() < 0.12


def test_a_box_lies_anywhere_inside_alike():
    top, left, tall, wide, _ = boxes_of(1_500, (12, 17), smallest=5, largest=5)
    assert set(tall) == set(wide) == {5}
    assert_even(top, range(8))
    assert_even(left, range(13))
    assert abs(np.corrcoef(top, left)[0, 1]) < 0.1


def test_boxes_of_every_size_reach_every_edge():
    top, left, tall, wide, _ = boxes_of(1_500, (10, 12), smallest=4, largest=6)
    for size in (4, 5, 6):
        assert_even(top[tall == size], range(10 - size + 1))
        assert_even(left[wide == size], range(12 - size + 1))


def test_a_box_as_large_as_the_image_paints_all():
    painted = mh.erase(grey(30, 3), seeded(0), smallest=28, largest=28)
    greys = painted.flatten(1)
    assert (greys == greys[:, :1]).all()
    assert len(greys[:, 0].unique()) > 20


def test_boxes_of_bytes_are_of_all_greys():
    images = grey(1).expand(3_000, -1, -1, -1)
    painted = mh.erase(images, seeded(0), smallest=28, largest=28)[:, 0, 0, 0]
    assert painted.min() <= 1
    assert painted.max() >= 254
    assert stats.kstest(painted / 255, "uniform").pvalue > 0.001


@pytest.mark.parametrize("values", [{}, {"smallest": 10, "largest": 12}])
def test_the_highest_draw_there_is_gives_the_largest_box_at_the_end(values, monkeypatch):
    """`torch.rand` gives multiples of 2**-24 below 1."""
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, 1 - 2**-24))
    [[top], [left], [tall], [wide], [colour]] = boxes_of(1, (28, 28), **values)
    assert (top, left, tall, wide) == (16, 16, 12, 12)
    assert 0.99 < colour <= 1


# Noise


def middle_grey(count, channels=1):
    return torch.full((count, channels, 28, 28), 0.5, dtype=torch.float64)


@pytest.mark.parametrize("values", [{}, {"strength": 0.3}, {"strength": 0.05}])
def test_the_standard_deviation_of_the_noise_is_even_up_to_its_strength(values):
    """By the median deviation, which clamping does not change: it is below 0.5 up to 0.74."""
    change = (mh.noise(middle_grey(600), seeded(0), **values) - 0.5).flatten(1).numpy()
    deviations = stats.median_abs_deviation(change, axis=1, scale="normal")
    [strength] = values.values() or usual(mh.noise)
    assert stats.kstest(deviations, stats.uniform(0, strength).cdf).pvalue > 0.001
    assert strength * 0.9 < deviations.max() < strength * 1.15


def test_noise_is_gaussian_unbiased_and_of_its_own_in_every_pixel():
    change = (mh.noise(middle_grey(300, 2), seeded(0), strength=0.1) - 0.5).numpy()
    standard = change / change.std(axis=(1, 2, 3), keepdims=True)
    assert stats.kstest(standard[::10].ravel(), "norm").pvalue > 0.001
    assert abs(standard.mean()) < 0.01
    for axis in range(4):  # images, channels, rows and columns
        first, last = (np.delete(standard, at, axis).ravel() for at in (0, -1))
        assert abs(np.corrcoef(first, last)[0, 1]) < 0.02


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("end", [0, 1])
def test_noise_on_black_and_white_is_clamped(dtype, end):
    """About half of the pixels would go beyond the end: they stay at it."""
    white = 255 if dtype == torch.uint8 else 1
    images = torch.full((50, 1, 28, 28), end * white, dtype=dtype)
    changed = mh.noise(images, seeded(0), strength=2.0)
    assert changed.min() == 0
    assert changed.max() == white
    assert (changed == end * white).float().mean() == pytest.approx(0.5, abs=0.02)


def test_noise_of_no_strength_changes_nothing():
    images = grey(20, 3)
    assert torch.equal(mh.noise(images, seeded(0), strength=0.0), images)


@pytest.mark.parametrize(
    ("change", "strength"),
    [
        (mh.affine, {"scale": 1.0}),
        (mh.affine, {"scale": -0.1}),
        (mh.elastic, {"sigma": 0}),
        (mh.erase, {"smallest": 0}),
        (mh.erase, {"smallest": 5, "largest": 4}),
        (mh.erase, {"largest": 29}),
    ],
)
def test_a_strength_out_of_its_range_is_refused(change, strength):
    images = torch.zeros(2, 1, 28, 28)
    with pytest.raises(ValueError, match=str(next(iter(strength.values())))):
        change(images, **strength)
