"""augmentation.py: shifted images against scipy's, and that each shift is equally likely."""

import itertools

import pytest
import torch
from scipy import ndimage, stats

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
