"""prediction.py: probabilities of images, and images from files."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import softmax

import mnist_helpers as mh

# predict


def test_probabilities_are_the_softmax_of_the_logits(make_digits):
    model, images = mh.ZOO["two_conv_dropout"].build(), make_digits(20).images
    probabilities = mh.predict(model, images)
    assert probabilities.shape == (20, 10)
    np.testing.assert_allclose(probabilities.sum(dim=1), 1, atol=1e-6)
    with torch.no_grad():
        logits = model.eval()(images).double().numpy()
    np.testing.assert_allclose(probabilities, softmax(logits, axis=1), atol=1e-6)


def test_bytes_and_floats_give_the_same_probabilities(make_digits, make_tiny):
    model, images = make_tiny(), make_digits(20).images
    assert torch.equal(mh.predict(model, images), mh.predict(model, images.float() / 255))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(28, 28), r"\[28, 28\]"),
        (torch.zeros(1, 28, 28), r"\[1, 28, 28\].*\[N, 1, 28, 28\]"),
        (torch.zeros(2, 3, 28, 28), r"\[2, 3, 28, 28\]"),
        (torch.zeros(2, 1, 32, 32), r"\[2, 1, 32, 32\]"),
        (torch.full((1, 1, 28, 28), 1.01), r"\[0, 1\]"),
        (torch.full((1, 1, 28, 28), -0.01), r"\[0, 1\]"),
        (torch.full((1, 1, 28, 28), torch.nan), r"\[0, 1\]"),
        (torch.zeros(1, 1, 28, 28, dtype=torch.int64), "int64"),
        (torch.zeros(1, 1, 28, 28, dtype=torch.bool), "bool"),
    ],
)
def test_other_images_are_refused(make_tiny, images, message):
    with pytest.raises(mh.DataError, match=message):
        mh.predict(make_tiny(), images)


def test_lines_tell_true_and_predicted_digit():
    lines = mh.prediction_lines(torch.tensor([7, 4]), torch.eye(10)[[7, 9]])
    assert lines == ["True: 7 | Predicted: 7", "True: 4 | Predicted: 9"]


def test_lines_need_a_label_for_each_row():
    with pytest.raises(ValueError, match="zip"):
        mh.prediction_lines(torch.tensor([7]), torch.eye(10)[[7, 9]])


# load_image


@pytest.fixture
def digit(make_digits):
    return make_digits(10, seed=3).images[3]


def saved(image, path, **more):
    image.save(path, **more)
    return mh.load_image(path)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_a_28x28_png_comes_back_exactly(tmp_path, digit, mode):
    image = Image.fromarray(digit[0].numpy())
    image = image.quantize(256) if mode == "P" else image.convert(mode)
    loaded = saved(image, tmp_path / "digit.png")
    assert loaded.dtype == torch.uint8
    assert loaded.shape == (1, 28, 28)
    expected = np.array(image.convert("L"))
    assert np.array_equal(loaded[0].numpy(), expected)
    if mode != "P":
        assert torch.equal(loaded, digit)


def test_colour_becomes_its_brightness(tmp_path):
    white, green, black = (saved(Image.new("RGB", (28, 28), colour), tmp_path / "colour.png")
                           for colour in ("white", "lime", "black"))  # fmt: skip
    assert (white == 255).all()
    assert (black == 0).all()
    assert 0 < int(green.min()) == int(green.max()) < 255


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_becomes_black(tmp_path, mode):
    """A white picture whose left half cannot be seen."""
    image = Image.new("RGBA", (28, 28), "white")
    image.paste((255, 255, 255, 0), (0, 0, 14, 28))
    if mode == "P":
        image = Image.new("P", (28, 28), 1)
        image.putpalette([255, 255, 255] * 2)
        image.paste(0, (0, 0, 14, 28))
        loaded = saved(image, tmp_path / "half.png", transparency=0)
    else:
        loaded = saved(image.convert(mode), tmp_path / "half.png")
    assert (loaded[:, :, :14] == 0).all()
    assert (loaded[:, :, 14:] == 255).all()


def test_half_transparent_white_is_half_bright(tmp_path):
    loaded = saved(Image.new("RGBA", (28, 28), (255, 255, 255, 128)), tmp_path / "veil.png")
    assert (loaded == 128).all()


def test_one_bit_becomes_black_and_white(tmp_path, digit):
    bright = digit > 128
    loaded = saved(Image.fromarray(bright[0].numpy()), tmp_path / "bits.png")
    assert torch.equal(loaded, bright.byte() * 255)


def test_sixteen_bits_become_eight(tmp_path, digit):
    deep = digit[0].numpy().astype(np.uint16) * 257  # 255 becomes 65,535
    loaded = saved(Image.fromarray(deep), tmp_path / "deep.png")
    assert torch.equal(loaded, digit)


def test_a_larger_square_is_scaled_down(tmp_path, digit):
    smooth = Image.fromarray(digit[0].numpy()).resize((7, 7), Image.Resampling.BOX)
    expected = np.array(smooth.resize((28, 28), Image.Resampling.BICUBIC)).astype(int)
    large = smooth.resize((280, 280), Image.Resampling.BICUBIC)
    loaded = saved(large, tmp_path / "large.png")
    assert loaded.shape == (1, 28, 28)
    assert np.abs(loaded[0].numpy() - expected).mean() < 3


def test_scaling_down_is_anti_aliased(tmp_path):
    """A fine chequerboard becomes grey; nearest-neighbour scaling would keep black and white."""
    board = (np.indices((140, 140)).sum(axis=0) % 2 * 255).astype(np.uint8)
    loaded = saved(Image.fromarray(board), tmp_path / "board.png").float()
    inner = loaded[0, 2:-2, 2:-2]
    assert ((inner - 127.5).abs() < 40).all()


def test_a_jpeg_can_be_read(tmp_path, digit):
    loaded = saved(Image.fromarray(digit[0].numpy()), tmp_path / "digit.jpg", quality=95)
    assert (loaded.float() - digit.float()).abs().mean() < 10


def write_text(path):
    path.write_text("seven\nor nine")


def write_nothing(path):
    path.write_bytes(b"")


def make_folder(path):
    path.mkdir()


def leave_out(path):
    pass


def write_half_a_png(path):
    noise = np.random.default_rng(0).integers(0, 256, (100, 100), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:5_000])


def write_a_wide_one(path):
    Image.new("L", (30, 28)).save(path)


def write_a_small_one(path):
    Image.new("L", (27, 27)).save(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (write_text, "not a readable image"),
        (write_nothing, "not a readable image"),
        (write_half_a_png, "not a readable image"),
        (make_folder, "is a folder"),
        (leave_out, "is not there"),
        (write_a_wide_one, "30x28 pixels: give a square of at least 28x28"),
        (write_a_small_one, "27x27 pixels: give a square of at least 28x28"),
    ],
)
def test_what_is_no_digit_is_refused_in_one_line(tmp_path, make, message):
    path = tmp_path / "digit.png"
    make(path)
    with pytest.raises(mh.DataError, match=message) as caught:
        mh.load_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
