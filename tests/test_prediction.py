"""prediction.py: probabilities of images, and lines of text about them."""

import mnist_helpers as mh
import numpy as np
import pytest
import torch
from mnist_helpers.handwriting.paper import digit_strokes, draw_strokes
from scipy.special import softmax


def test_probabilities_are_the_softmax_of_the_logits(make_digits):
    model, images = mh.ZOO["two_conv_dropout"].build(), make_digits(20).images
    probabilities = mh.predict(model, images)
    assert probabilities.shape == (20, 10)
    np.testing.assert_allclose(probabilities.sum(dim=1), 1, atol=1e-6)
    with torch.no_grad():
        logits = model.eval()(images).double().numpy()
    np.testing.assert_allclose(probabilities, softmax(logits, axis=1), atol=1e-6)
    assert torch.equal(mh.predict(model, images.float() / 255), probabilities)
    warm = mh.predict(model, images, temperature=3.0)
    np.testing.assert_allclose(warm, softmax(logits / 3, axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 1, 28, 28).numpy(), "a ndarray"),
        (torch.zeros(28, 28), r"\[28, 28\]"),
        (torch.zeros(1, 28, 28), r"\[1, 28, 28\].*\[N, 1, 28, 28\]"),
        (torch.zeros(2, 3, 28, 28), r"\[2, 3, 28, 28\]"),
        (torch.full((1, 1, 28, 28), 1.01), r"\[0, 1\]"),
        (torch.full((1, 1, 28, 28), -0.01), r"\[0, 1\]"),
        (torch.full((1, 1, 28, 28), torch.nan), r"\[0, 1\]"),
        (torch.zeros(1, 1, 28, 28, dtype=torch.int64), "int64"),
    ],
)
def test_other_images_are_refused(make_tiny, images, message):
    with pytest.raises(mh.DataError, match=message):
        mh.predict(make_tiny(), images)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.inf, np.nan])
def test_a_temperature_that_is_no_positive_number_is_refused(make_tiny, make_digits, temperature):
    with pytest.raises(ValueError, match=r"temperature is .* positive"):
        mh.predict(make_tiny(), make_digits(1).images, temperature)


def test_a_model_reads_each_digit_of_a_picture_and_says_where_it_is_not_sure(make_tiny):
    ink = np.hstack([draw_strokes(digit_strokes(digit), 200, 16) for digit in (3, 6)])
    model, images = (
        make_tiny(),
        torch.stack([one.image for one in mh.handwriting.digits_from_image(255 - ink)]),
    )
    highest, digits = mh.predict(model, images, temperature=2.0).max(dim=1)
    readings = mh.handwriting.read_digits(model, 255 - ink, mh.Certainty(2.0, highest.max().item()))
    assert [one.digit for one in readings] == digits.tolist()
    assert [one.probability for one in readings] == highest.tolist()
    assert [one.sure for one in readings] == (highest == highest.max()).tolist() != [True, True]
    assert [str(one).endswith("  not sure") for one in readings] == [
        not one.sure for one in readings
    ]
    assert torch.equal(torch.stack([one.found.image for one in readings]), images)
    plain = mh.handwriting.read_digits(model, 255 - ink)
    assert [one.sure for one in plain] == [None, None]
    highest = mh.predict(model, images).max(dim=1).values
    assert [str(one) for one in plain] == [
        f"{one.digit}  {top:.4f}" for one, top in zip(plain, highest.tolist(), strict=True)
    ]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_floats_of_any_width_are_read(make_tiny, dtype):
    images = torch.rand(3, 1, 28, 28, dtype=dtype)
    model = make_tiny()
    torch.testing.assert_close(mh.predict(model, images), mh.predict(model, images.float()))
