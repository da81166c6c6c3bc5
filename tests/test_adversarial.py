"""adversarial.py: attacks against a gradient by hand, their bounds, and a training that helps."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn

import mnist_helpers as mh


@pytest.fixture(scope="module")
def digits():
    return mh.load_mnist(source="sample").train.split(600, seed=0)[1]


@pytest.fixture(scope="module")
def trained(digits):
    model = mh.ZOO["lenet"].build(seed=0)
    recipe = mh.Recipe(
        epochs=15, batch_size=50, learning_rate=3e-3, precision="float32", keep="last"
    )
    mh.fit(model, digits, digits, recipe, device="cpu", verbose=False)
    return model


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def accuracy(model, images, labels):
    return (mh.predict_logits(model, images).argmax(dim=1) == labels).double().mean().item()


def loss(model, images, labels):
    return nn.functional.cross_entropy(mh.predict_logits(model, images), labels).item()


@pytest.mark.parametrize("count", [1, 7, 1_003])
def test_fgsm_of_a_linear_model_is_the_sign_computed_by_hand(linear, count):
    images = torch.rand(count, 1, 28, 28)
    labels = torch.arange(count) % 10
    weight, bias = (part.detach().double().numpy() for part in linear[1].parameters())
    pixels = images.flatten(1).double().numpy()
    slope = (softmax(pixels @ weight.T + bias, axis=1) - np.eye(10)[labels]) @ weight
    expected = np.clip(pixels + 0.1 * np.sign(slope), 0, 1)
    attacked = mh.fgsm(linear, images, labels, 0.1).flatten(1).numpy()
    assert np.mean(np.abs(attacked - expected) > 1e-6) < 1e-4  # a slope of about 0 has no sign


@pytest.mark.parametrize("epsilon", [0.0, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("attack", [mh.fgsm, mh.pgd])
def test_no_pixel_changes_by_more_than_epsilon_or_leaves_the_range(
    trained, digits, attack, epsilon
):
    part = digits.select(torch.arange(40))
    attacked = attack(trained, part.images, part.labels, epsilon)
    change = (attacked - part.images / 255).abs()
    assert attacked.dtype == torch.float32
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert change.max() <= epsilon + 1e-6
    assert change.max() >= 0.99 * epsilon


@pytest.mark.parametrize("attack", [mh.fgsm, mh.pgd])
def test_an_attack_breaks_what_random_noise_of_the_same_size_does_not(trained, digits, attack):
    part = digits.select(torch.arange(200))
    signs = torch.randint(2, part.images.shape, generator=torch.Generator().manual_seed(0))
    noisy = (part.images / 255 + 0.2 * (2 * signs - 1)).clamp(0, 1)
    attacked = attack(trained, part.images, part.labels, 0.2)
    assert accuracy(trained, part.images, part.labels) > 0.95
    assert accuracy(trained, noisy, part.labels) > 0.7
    assert accuracy(trained, attacked, part.labels) < 0.4


def test_many_small_steps_find_a_higher_loss_than_one_large_step(trained, digits):
    part = digits.select(torch.arange(100))
    one, many = (
        loss(trained, attack(trained, part.images, part.labels, 0.1), part.labels)
        for attack in (mh.fgsm, mh.pgd)
    )
    assert many > one > loss(trained, part.images, part.labels)


def test_bytes_and_floats_are_attacked_alike(trained, digits):
    part = digits.select(torch.arange(20))
    of_bytes = mh.fgsm(trained, part.images, part.labels, 0.1)
    assert torch.equal(of_bytes, mh.fgsm(trained, part.images / 255, part.labels, 0.1))


@pytest.mark.parametrize("attack", [mh.fgsm, mh.pgd])
def test_an_attack_leaves_the_model_and_the_images_alone(digits, attack):
    model = mh.ZOO["two_conv_dropout"].build(seed=0).train()
    before, images = copy.deepcopy(model.state_dict()), digits.images[:20].clone()
    attack(model, images, digits.labels[:20], 0.1)
    assert model.training
    assert all(layer.training for layer in model)
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert torch.equal(images, digits.images[:20])


def test_the_start_of_pgd_follows_from_the_generator(trained, digits):
    images, labels = digits.images[:20], digits.labels[:20]
    first, second, other = (
        mh.pgd(trained, images, labels, 0.2, 3, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_training_on_attacks_makes_them_fail(trained, digits):
    recipe = mh.Recipe(
        epochs=12, batch_size=50, learning_rate=3e-3, precision="float32", keep="last", seed=3
    )
    models = [mh.ZOO["lenet"].build(seed=0) for _ in range(2)]
    state = torch.get_rng_state()
    for model in models:
        mh.fit_adversarial(model, digits, recipe, epsilon=0.1, steps=3)
    assert torch.equal(state, torch.get_rng_state())
    first, second = (mh.predict_logits(model, digits.images) for model in models)
    assert torch.equal(first, second)
    assert not models[0].training
    plain, hardened = (
        accuracy(model, mh.pgd(model, digits.images, digits.labels, 0.1), digits.labels)
        for model in (trained, models[0])
    )
    assert hardened > plain + 0.2


def test_an_uneven_last_batch_is_trained_on_too(digits):
    part = digits.select(torch.arange(7))
    recipe = mh.Recipe(epochs=1, batch_size=5, precision="float32", keep="last")
    model, sizes = mh.ZOO["lenet"].build(seed=0), []
    model.register_forward_hook(
        lambda layers, given, _: sizes.append(len(given[0])) if layers.training else None
    )
    mh.fit_adversarial(model, part, recipe, epsilon=0.1, steps=1)
    assert sizes == [5, 2]


def test_a_loss_that_is_no_number_ends_the_training(digits):
    model = mh.ZOO["lenet"].build(seed=0)
    with torch.no_grad():
        model[-1].bias[0] = float("nan")
    with pytest.raises(mh.TrainingDiverged, match="epoch 1: try a smaller learning rate"):
        mh.fit_adversarial(model, digits, mh.Recipe(epochs=1), epsilon=0.1, steps=1)
