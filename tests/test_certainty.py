"""certainty.py: temperature and threshold."""

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn

import mnist_helpers as mh


class Fixed(nn.Module):
    """Gives prepared logits: row `i` for the image whose first pixel is `i`."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, images):
        return self.logits[images[:, 0, 0, 0].long()]


def made(scale, count=250, seed=0, mistakes=True):
    """A model and digits: labels drawn with the very probabilities of the logits; those of the
    model are `scale` times as large, so the right temperature is about `scale`.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 10))
    labels = [rng.choice(10, p=row) for row in softmax(logits, axis=1)]
    if not mistakes:
        labels = logits.argmax(axis=1)
    images = torch.zeros(count, 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count)
    digits = mh.DigitSet(images, torch.tensor(labels).long(), "made/validation")
    return Fixed(torch.from_numpy(logits * scale).float()), digits


def loss_at(model, digits, temperature):
    rows = softmax(model.logits.double().numpy() / temperature, axis=1)
    return -np.log(rows[np.arange(len(digits)), digits.labels.numpy()]).mean()


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_the_temperature_gives_the_smallest_loss(scale):
    model, digits = made(scale)
    temperature = mh.fit_certainty(model, digits).temperature
    best = loss_at(model, digits, temperature)
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert best <= loss_at(model, digits, temperature * factor) + 1e-9


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_it_finds_the_temperature_that_the_digits_were_made_with(scale):
    assert mh.fit_certainty(*made(scale)).temperature == pytest.approx(scale, rel=0.25)


def test_the_temperature_grows_with_the_logits():
    once, thrice = (mh.fit_certainty(*made(scale)) for scale in (1.0, 3.0))
    assert thrice.temperature == pytest.approx(3 * once.temperature, rel=1e-3)
    assert thrice.threshold == pytest.approx(once.threshold, abs=1e-3)


def test_it_makes_an_overconfident_model_honest():
    model, digits = made(4.0)
    sure = mh.fit_certainty(model, digits)
    before = mh.predict(model, digits.images)
    after = mh.predict(model, digits.images, sure.temperature)
    assert torch.equal(before.argmax(dim=1), after.argmax(dim=1))
    errors = [mh.expected_calibration_error(rows, digits.labels) for rows in (before, after)]
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("flagged", [0.0, 0.02, 0.1, 0.5])
def test_the_threshold_flags_that_part_of_the_validation_digits(flagged):
    model, digits = made(1.0)
    certainty = mh.fit_certainty(model, digits, flagged)
    sure = certainty.is_sure(mh.predict(model, digits.images, certainty.temperature))
    assert sure.dtype == torch.bool
    assert 1 - sure.double().mean() == pytest.approx(flagged, abs=0.01)


def test_a_model_without_mistakes_gets_a_temperature_all_the_same():
    certainty = mh.fit_certainty(*made(1.0, mistakes=False))
    assert 0 < certainty.temperature < 1
    assert 0 < certainty.threshold <= 1


def test_no_digits_and_no_part_are_refused():
    model, digits = made(1.0)
    with pytest.raises(ValueError, match="no validation digits"):
        mh.fit_certainty(model, digits.select(torch.arange(0)))
    for flagged in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="flagged"):
            mh.fit_certainty(model, digits, flagged)


@pytest.mark.parametrize(
    ("temperature", "threshold"), [(0, 0.5), (-1, 0.5), (math.nan, 0.5), (math.inf, 0.5), (1, 1.1)]
)
def test_nonsense_is_refused(temperature, threshold):
    with pytest.raises(ValueError, match="temperature must be above 0"):
        mh.Certainty(temperature, threshold)


def test_a_run_keeps_it(tmp_path, make_digits):
    digits = make_digits(200)
    model = mh.ZOO["two_conv"].build()
    recipe = mh.Recipe(epochs=1)
    history = mh.fit(model, digits, digits, recipe, device="cpu", verbose=False)
    certainty = mh.fit_certainty(model, digits)
    mh.save_run(tmp_path / "a", model, recipe, None, history, certainty)
    assert mh.load_run(tmp_path / "a")[1].certainty == certainty
    mh.save_run(tmp_path / "b", model, recipe, None, history)
    assert mh.load_run(tmp_path / "b")[1].certainty is None


def test_load_or_train_fits_it_on_its_validation_digits(tmp_path, sample):
    small = mh.Mnist(sample.train.select(torch.arange(1_200)), sample.test, "sample")
    model = mh.load_or_train("fast_99", small, tmp_path)
    _, validation = small.train.split(1 / 12, seed=0)
    stored = mh.load_run(tmp_path)[1].certainty
    fitted = mh.fit_certainty(model.cpu(), validation)
    assert stored.temperature == pytest.approx(fitted.temperature, rel=0.01)
    assert stored.threshold == pytest.approx(fitted.threshold, abs=0.01)
