"""certainty.py: temperature, limits, distance to the training digits."""

import dataclasses
import math

import mnist_helpers as mh
import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.neighbors import NearestNeighbors
from torch import nn


class Fixed(nn.Module):
    """Gives prepared logits: row `i` for the image whose first pixel is `i`."""

    def forward(self, images):
        return self.logits[images[:, 0, 0, 0].long()]


def made(scale, count=250, mistakes=True):
    """A model and digits: labels drawn with the very probabilities of the logits; those of the
    model are `scale` times as large, so the right temperature is about `scale`.
    """
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (count, 10))
    labels = [rng.choice(10, p=row) for row in softmax(logits, axis=1)]
    if not mistakes:
        labels = logits.argmax(axis=1)
    images = torch.zeros(count, 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count)
    model = Fixed()
    model.logits = torch.from_numpy(logits * scale).float()
    return model, mh.DigitSet(images, torch.tensor(labels).long(), "made/validation")


def loss_at(model, digits, temperature):
    rows = softmax(model.logits.double().numpy() / temperature, axis=1)
    return -np.log(rows[np.arange(len(digits)), digits.labels.numpy()]).mean()


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_the_temperature_gives_the_smallest_loss_and_is_that_of_the_made_digits(scale):
    model, digits = made(scale)
    temperature = mh.fit_certainty(model, digits).temperature
    best = loss_at(model, digits, temperature)
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert best <= loss_at(model, digits, temperature * factor) + 1e-9
    assert temperature == pytest.approx(scale, rel=0.25)


def test_it_makes_an_overconfident_model_honest():
    model, digits = made(4.0)
    temperature = mh.fit_certainty(model, digits).temperature
    before, after = (mh.predict(model, digits.images, one) for one in (1.0, temperature))
    errors = [mh.expected_calibration_error(rows, digits.labels) for rows in (before, after)]
    assert errors[1] < 0.7 * errors[0]
    assert torch.equal(before.argmax(dim=1), after.argmax(dim=1))


@pytest.mark.parametrize("flagged", [0.0, 0.02, 0.5])
def test_the_threshold_flags_that_part_of_the_validation_digits(flagged):
    model, digits = made(3.0)
    certainty = mh.fit_certainty(model, digits, flagged)
    sure = certainty.is_sure(mh.predict(model, digits.images, certainty.temperature))
    assert sure.dtype == torch.bool
    assert 1 - sure.double().mean() == pytest.approx(flagged, abs=0.01)


def test_a_model_without_mistakes_gets_a_temperature_all_the_same():
    certainty = mh.fit_certainty(*made(1.0, mistakes=False))
    assert 0 < certainty.temperature < 1
    assert 0 < certainty.threshold <= 1


def test_no_digits_and_nonsense_are_refused():
    model, digits = made(1.0)
    with pytest.raises(ValueError, match="no digits: give validation digits"):
        mh.fit_certainty(model, digits.select(torch.arange(0)))
    with pytest.raises(ValueError, match="training digits or None"):
        mh.fit_certainty(model, digits, train=digits.select(torch.arange(0)))
    for flagged in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="flagged"):
            mh.fit_certainty(model, digits, flagged)
    for numbers in [(0, 0.5), (-1, 0.5), (math.nan, 0.5), (math.inf, 0.5), (1, 1.1), (1, -0.1)]:
        with pytest.raises(ValueError, match="temperature must be above 0"):
            mh.Certainty(*numbers)


def test_load_or_train_fits_it_on_its_validation_digits_and_keeps_it(
    tmp_path, monkeypatch, make_digits
):
    recipe, digits = mh.Recipe(epochs=1), make_digits(240)
    entry = dataclasses.replace(mh.ZOO["two_conv"], recipe=recipe)
    monkeypatch.setitem(mh.ZOO, "two_conv", entry)
    model = mh.load_or_train("two_conv", mh.Mnist(digits, digits, "made"), tmp_path).cpu()
    train, validation = digits.split(1 / 12, seed=0)
    fitted = mh.fit_certainty(model, validation, train=train)
    stored = mh.load_run(tmp_path)[1].certainty
    assert stored.temperature == pytest.approx(fitted.temperature, rel=0.01)
    assert stored.threshold == pytest.approx(fitted.threshold, abs=0.01)
    for certainty in (fitted, None):
        mh.save_run(tmp_path, model, recipe, None, mh.History("cpu", "float32"), certainty)
        loaded = mh.load_run(tmp_path)[1].certainty
        assert loaded == certainty
        if certainty:
            assert torch.equal(loaded.centres, fitted.centres)
            assert torch.equal(loaded.within, fitted.within)
            kept = (tmp_path / "centres.safetensors").read_bytes()
    mh.save_run(tmp_path, model, recipe, None, mh.History("cpu", "float32"), fitted)
    for damage in (kept[:100], None):
        (tmp_path / "centres.safetensors").unlink()
        if damage:
            (tmp_path / "centres.safetensors").write_bytes(damage)
        with pytest.raises(mh.CheckpointError, match=r"centres\.safetensors is (damaged|missing)"):
            mh.load_run(tmp_path)


def test_what_lies_far_from_the_training_digits_is_not_sure(make_digits, make_tiny):
    """Against brute force by scikit-learn; the model's last layer sees the pixels themselves.

    Of the directions in which digits of one class differ, the 64 of the largest variance count
    like the 65th.
    """
    train, validation, model = make_digits(400), make_digits(200, seed=1), make_tiny()
    certainty = mh.fit_certainty(model, validation, 0.1, train=train)
    assert certainty.centres.shape == (400, 784)  # 40 of each digit: each is a centre
    assert certainty.centres.dtype == torch.float16

    def unit(images):
        scaled = mh.Normalize()(images).flatten(1)
        return (scaled / scaled.norm(dim=1, keepdim=True)).numpy()

    known, labels = unit(train.images), train.labels.numpy()
    apart = np.concatenate(
        [known[labels == n] - known[labels == n].mean(axis=0) for n in range(10)]
    )
    _, lengths, directions = np.linalg.svd(apart, full_matrices=False)
    less = np.minimum(1, lengths[64] / lengths) - 1
    evened = np.eye(784) + (directions.T * np.where(np.arange(400) < 64, less, 0)) @ directions
    assert certainty.within.shape == (784, 64)
    noise = torch.randint(0, 256, (50, 1, 28, 28), dtype=torch.uint8)
    for images in (validation.images, noise):
        embedded, logits = mh.evaluation.embeddings(model, images)
        assert torch.equal(logits, mh.predict_logits(model, images))
        nearest = NearestNeighbors(n_neighbors=1).fit(known @ evened)
        far = certainty.distances(embedded)
        assert far.numpy() == pytest.approx(
            nearest.kneighbors(unit(images) @ evened)[0][:, 0], abs=2e-3
        )
        sure = certainty.is_sure(mh.predict(model, images, certainty.temperature), far)
        if images is noise:
            assert not sure.any()
            assert (far > certainty.no_digit).all()
        else:
            assert 1 - sure.double().mean() == pytest.approx(0.1, abs=0.011)


def test_a_model_without_a_linear_layer_has_no_embeddings():
    with pytest.raises(ValueError, match="Fixed has no linear layer"):
        mh.fit_certainty(*made(1.0), train=made(1.0)[1])


def test_sorted_training_digits_have_centres_of_each(make_digits, make_tiny, monkeypatch):
    """Where memory holds a part of them only; and a limit that flags none flags none."""
    monkeypatch.setattr("mnist_helpers.certainty.MOST_NUMBERS", 784 * 200)
    train, model = make_digits(400), make_tiny()
    train = train.select(train.labels.argsort())
    certainty = mh.fit_certainty(model, train, 0.0, train=train)
    embedded = mh.evaluation.embeddings(model, train.images)[0]
    same = (certainty.distances(embedded) < 0.01).float()
    assert [same[train.labels == digit].mean() for digit in range(10)] == pytest.approx([0.5] * 10)
    assert certainty.is_sure(mh.predict(model, train.images, certainty.temperature)).all()


def test_units_that_always_give_0_are_no_directions(make_digits):
    """128 units, of which 100 are dead."""
    train, validation = make_digits(400), make_digits(200, seed=1)
    torch.manual_seed(0)
    model = nn.Sequential(mh.Normalize(), nn.Flatten(), nn.Linear(784, 128), nn.Linear(128, 10))
    nn.init.zeros_(model[2].weight[28:])
    nn.init.zeros_(model[2].bias[28:])
    certainty = mh.fit_certainty(model.eval(), validation, train=train)
    assert certainty.within.shape == (128, 14)
    assert certainty.farthest > 0.05  # else nothing but rounding would be left of the lists


def test_a_dead_layer_leaves_a_limit_that_can_be_divided_by(make_digits):
    """All embeddings are 0, and all distances too."""
    digits = make_digits(200)
    model = nn.Sequential(mh.Normalize(), nn.Flatten(), nn.Linear(784, 4), nn.Linear(4, 10))
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    certainty = mh.fit_certainty(model, digits, train=digits)
    assert certainty.distances(torch.zeros(1, 4)) == 0 < certainty.farthest <= certainty.no_digit
