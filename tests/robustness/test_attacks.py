"""attacks.py: attacks against a gradient by hand, their bounds, and a training that helps."""

import copy

import mnist_helpers as mh
import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn


@pytest.fixture(scope="module")
def digits(sample):
    return sample.train.split(400, seed=0)[1]


@pytest.fixture(scope="module")
def trained(digits):
    model = mh.ZOO["lenet"].build(seed=0)
    recipe = mh.Recipe(
        epochs=12, batch_size=50, learning_rate=3e-3, precision="float32", keep="last"
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
    attacked = mh.robustness.fgsm(linear, images, labels, 0.1).flatten(1).numpy()
    assert np.mean(np.abs(attacked - expected) > 1e-6) < 1e-4  # a slope of about 0 has no sign


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("attack", [mh.robustness.fgsm, mh.robustness.pgd])
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


def test_attacks_break_what_random_noise_of_the_same_size_does_not(trained, digits):
    part = digits.select(torch.arange(200))
    signs = torch.randint(2, part.images.shape, generator=torch.Generator().manual_seed(0))
    noisy = (part.images / 255 + 0.2 * (2 * signs - 1)).clamp(0, 1)
    once, often = (
        attack(trained, part.images, part.labels, 0.2)
        for attack in (mh.robustness.fgsm, mh.robustness.pgd)
    )
    assert accuracy(trained, part.images, part.labels) > 0.95
    assert accuracy(trained, noisy, part.labels) > 0.7
    assert accuracy(trained, once, part.labels) < 0.4
    assert accuracy(trained, often, part.labels) < 0.4
    losses = [loss(trained, images, part.labels) for images in (often, once, noisy)]
    assert losses == sorted(losses, reverse=True)  # many small steps find the highest


@pytest.mark.parametrize("attack", [mh.robustness.fgsm, mh.robustness.pgd])
def test_an_attack_leaves_the_model_and_the_images_alone(digits, attack):
    model = mh.ZOO["two_conv_dropout"].build(seed=0).train()
    before, images = copy.deepcopy(model.state_dict()), digits.images[:20].clone()
    attack(model, images, digits.labels[:20], 0.1)
    assert model.training
    assert all(layer.training for layer in model)
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert torch.equal(images, digits.images[:20])


def test_bytes_and_floats_are_attacked_alike_and_pgd_starts_by_chance(trained, digits):
    images, labels = digits.images[:20], digits.labels[:20]
    assert torch.equal(
        *(mh.robustness.fgsm(trained, given, labels, 0.1) for given in (images, images / 255))
    )
    attacks = []
    for given, seed in ((images, 0), (images / 255, 0), (images, 1)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            attacks.append(mh.robustness.pgd(trained, given, labels, 0.2, 3))
    first, second, other = attacks
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_training_equals_a_plain_loop_over_attacks_on_each_batch(digits):
    part = digits.select(torch.arange(17))  # the last batch of 5 is of 2
    recipe = mh.Recipe(
        epochs=2, batch_size=5, optimizer="sgd", learning_rate=0.02, schedule="cosine",
        label_smoothing=0.1, precision="float32", seed=3,
    )  # fmt: skip
    build = mh.ZOO["two_conv_dropout"].build
    fitted, model = build().eval(), build()
    state = torch.get_rng_state()
    mh.robustness.fit_adversarial(fitted, part, recipe, epsilon=0.1, steps=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert not fitted.training

    optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    for epoch in range(2):
        torch.manual_seed(mh.recipes.epoch_seed(3, epoch))
        for chosen in torch.randperm(17).split(5):
            images, labels = part.images[chosen], part.labels[chosen]
            attacked = mh.robustness.pgd(model, images, labels, 0.1, 2)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(attacked), labels, label_smoothing=0.1)
            loss.backward()
            optimizer.step()
            scheduler.step()
    torch.set_rng_state(state)
    for mine, expected in zip(fitted.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_training_on_attacks_makes_them_fail(trained, digits):
    hardened = mh.ZOO["lenet"].build(seed=0)
    recipe = mh.Recipe(epochs=12, batch_size=50, learning_rate=3e-3, precision="float32", seed=3)
    mh.robustness.fit_adversarial(hardened, digits, recipe, epsilon=0.1, steps=3)
    before, after = (
        accuracy(model, mh.robustness.pgd(model, digits.images, digits.labels, 0.1), digits.labels)
        for model in (trained, hardened)
    )
    assert after > before + 0.2


def test_a_loss_that_is_no_number_ends_the_training(digits):
    model = mh.ZOO["lenet"].build(seed=0)
    with torch.no_grad():
        model[-1].bias[0] = float("nan")
    with pytest.raises(mh.TrainingDiverged, match=r"epoch 1\b.*: try a smaller learning rate"):
        mh.robustness.fit_adversarial(model, digits, mh.Recipe(epochs=1), epsilon=0.1, steps=1)
    assert not model.training
