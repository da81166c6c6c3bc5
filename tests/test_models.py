"""models.py and zoo.py: shapes, weights, normalisation, and that logits are logits."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import mnist_helpers as mh

every_model = pytest.mark.parametrize("name", list(mh.ZOO))


@every_model
@pytest.mark.parametrize("count", [1, 7])
def test_logits_have_ten_columns(name, count, make_digits):
    logits = mh.ZOO[name].build()(make_digits(count).images)
    assert logits.shape == (count, 10)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("name", ["two_conv", "two_conv_dropout"])
def test_parameters_of_both_networks(name):
    by_hand = (9 + 1) * 32 + (32 * 9 + 1) * 64 + (1600 + 1) * 128 + (128 + 1) * 10
    assert mh.count_parameters(mh.ZOO[name].build()) == by_hand == 225_034


def test_frozen_weights_are_not_counted():
    layer = nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    assert mh.count_parameters(layer) == 6


@every_model
def test_bytes_and_floats_give_the_same_logits(name, make_digits):
    model, images = mh.ZOO[name].build().eval(), make_digits(5).images
    assert torch.equal(model(images), model(images.float() / 255))


@pytest.mark.parametrize(("mean", "std"), [(0.1307, 0.3081), (0.0, 1.0), (0.5, 0.25)])
def test_normalisation_equals_the_hand_computed_one(mean, std):
    pixels = [0, 1, 51, 255]
    by_hand = torch.tensor([(pixel / 255 - mean) / std for pixel in pixels])
    torch.testing.assert_close(mh.Normalize(mean, std)(torch.tensor(pixels).byte()), by_hand)


def test_the_normalisation_travels_with_the_weights():
    saved = mh.Normalize(0.25, 0.5).state_dict()
    other = mh.Normalize()
    other.load_state_dict(saved)
    assert other(torch.tensor([0.75])).item() == 1.0


@every_model
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool])
def test_integer_images_are_refused(name, dtype):
    with pytest.raises(TypeError, match=str(dtype)):
        mh.ZOO[name].build()(torch.zeros(1, 1, 28, 28, dtype=dtype))


@every_model
def test_equal_seeds_give_equal_weights_whatever_was_drawn_before(name):
    torch.manual_seed(1)
    first = mh.ZOO[name].build(seed=5).state_dict()
    torch.rand(1000)
    second = mh.ZOO[name].build(seed=5).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@every_model
def test_another_seed_gives_other_weights(name):
    first, second = (mh.ZOO[name].build(seed=seed).state_dict() for seed in (0, 1))
    assert not torch.equal(first["1.weight"], second["1.weight"])


@every_model
def test_building_leaves_the_random_state(name):
    before = torch.get_rng_state()
    mh.ZOO[name].build(seed=5)
    assert torch.equal(torch.get_rng_state(), before)


@every_model
def test_building_leaves_the_random_state_of_a_gpu(name, gpu):
    before = torch.cuda.get_rng_state(gpu)
    mh.ZOO[name].build(seed=5)
    assert torch.equal(torch.cuda.get_rng_state(gpu), before)


@every_model
def test_no_activation_follows_the_last_layer(name, make_digits):
    model = mh.ZOO[name].build().eval()
    layers = [module for module in model.modules() if not list(module.children())]
    assert isinstance(layers[-1], nn.Linear)
    logits = model(make_digits(20).images)
    assert (logits.sum(dim=1) - 1).abs().min() > 1e-4  # no softmax
    assert (logits.exp().sum(dim=1) - 1).abs().min() > 1e-4  # no log-softmax
    assert logits.min() < 0 < logits.max()  # no ReLU, no sigmoid


@every_model
def test_the_initial_loss_is_that_of_guessing(name, sample):
    model = mh.ZOO[name].build().eval()
    with torch.no_grad():
        loss = F.cross_entropy(model(sample.test.images[::10]), sample.test.labels[::10])
    assert float(loss) == pytest.approx(math.log(10), abs=0.1)


@every_model
def test_every_weight_gets_a_gradient(name, make_digits):
    model, digits = mh.ZOO[name].build(), make_digits(40)
    F.cross_entropy(model(digits.images), digits.labels).backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())


def test_dropout_acts_only_in_training(make_digits):
    model, images = mh.ZOO["two_conv_dropout"].build(), make_digits(5).images
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))


@every_model
def test_a_zoo_entry_is_complete(name):
    entry = mh.ZOO[name]
    assert entry.build().name == name
    assert isinstance(entry.recipe, mh.Recipe)
    assert "%" in entry.claim
    assert entry.source


def test_a_slice_of_a_model_is_its_first_layers():
    model = mh.ZOO["two_conv_dropout"].build().eval()
    images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    assert model[:4](images).shape == (2, 32, 13, 13)
    assert model[:7](images).shape == (2, 64, 5, 5)
