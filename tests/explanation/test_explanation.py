"""explanation: the maps against captum and against sums."""

from functools import partial

import mnist_helpers as mh
import numpy as np
import pytest
import torch
from captum import attr
from mnist_helpers.explanation import plots
from torch import nn

NAMES = ("lenet", "fast_99", "vgg")  # pooling; a crop, batch norm, work in place; padding


@pytest.fixture(params=NAMES)
def case(request, make_digits):
    """A model with random weights, 503 floats of noise with bars, and their labels."""
    model, digits = (
        mh.ZOO[request.param].build(seed=1),
        make_digits(503 if request.param != "vgg" else 9),
    )
    return model.eval(), digits.images.float() / 255, digits.labels


def convolution(model):
    return [layer for layer in model if isinstance(layer, nn.Conv2d)][-1]


def test_the_gradients_are_captums(case):
    model, images, labels = case
    found = mh.explanation.saliency(model, images, labels)
    expected = attr.Saliency(model).attribute(images.clone(), target=labels, abs=False)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    found = mh.explanation.integrated_gradients(model, images[:9], labels[:9], steps=20)
    by_captum = attr.IntegratedGradients(model)
    way = {"n_steps": 20, "method": "riemann_middle"}
    expected = by_captum.attribute(images[:9].clone(), target=labels[:9], **way).float()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_maps_need_no_gradients_of_the_caller(make_tiny, make_digits):
    digits, model = make_digits(3), make_tiny()
    for way in (mh.explanation.saliency, mh.explanation.integrated_gradients):
        expected = way(model, digits.images, digits.labels)
        with torch.no_grad():
            assert way(model, digits.images, digits.labels).equal(expected)


def test_integrated_gradients_add_up_to_the_difference_of_the_logits(case):
    model, images, labels = case
    found = mh.explanation.integrated_gradients(model, images[:9], labels[:9], steps=400)
    ends = [
        mh.predict_logits(model, part)[range(9), labels[:9]]
        for part in (images[:9], 0 * images[:9])
    ]
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), ends[0] - ends[1], rtol=0.02, atol=2e-3)


def test_grad_cam_is_captums(case):
    model, images, labels = case
    layer = convolution(model)
    found = mh.explanation.grad_cam(model, layer, images[:9], labels[:9])
    small = attr.LayerGradCam(model, layer).attribute(
        images[:9].clone(), target=labels[:9], relu_attributions=True
    )
    expected = attr.LayerAttribution.interpolate(small, (28, 28), "bilinear")
    torch.testing.assert_close(found, expected.detach(), rtol=1e-3, atol=1e-5)
    assert found.min() >= 0


@pytest.mark.parametrize(("size", "step"), [(4, 4), (4, 2), (5, 3)])
def test_occlusion_is_captums(case, size, step):
    model, images, labels = case
    found = mh.explanation.occlusion(model, images[:3], labels[:3], size, step)
    with torch.no_grad():
        expected = attr.Occlusion(model).attribute(
            images[:3], (1, size, size), (1, step, step), target=labels[:3]
        )
    reached = (28 - size) // step * step + size  # captum also covers what is left at the edge
    inner = (..., slice(reached - step), slice(reached - step))
    torch.testing.assert_close(found[inner], expected[inner], rtol=1e-3, atol=1e-4)


def test_whole_numbers_and_training_mode_change_nothing_and_the_model_stays(case):
    model, _, labels = case
    images = torch.randint(0, 256, (len(labels), 1, 28, 28), dtype=torch.uint8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    explain = mh.explanation
    cam = partial(explain.grad_cam, layer=convolution(model))
    for one in (explain.saliency, explain.integrated_gradients, explain.occlusion, cam):
        expected = one(model, images=images[:3] / 255, targets=labels[:3])
        model.train()
        torch.testing.assert_close(
            one(model, images=images[:3], targets=labels[:3]), expected, rtol=1e-3, atol=1e-5
        )
        assert model.training
        model.eval()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_deleting_takes_the_ink_that_scores_highest(make_tiny):
    """A linear model: each pixel's part of the logit is known."""
    model = make_tiny()
    images = torch.zeros(2, 1, 28, 28)
    images[0, 0, 3, :20], images[1, 0, 5, 5] = 1.0, 1.0
    targets = torch.tensor([4, 7])
    parts = model[3].weight[targets].detach().view(2, 1, 28, 28) * images / 0.3081
    fall = mh.explanation.deletion_drop(model, images, targets, parts, part=0.1)
    expected = [parts[0].flatten()[84:104].topk(2).values.sum(), parts[1, 0, 5, 5]]
    torch.testing.assert_close(fall, torch.stack(expected))


def test_the_figures_show_what_they_are_given(make_digits):
    digits = make_digits(12)
    maps = {"one": torch.randn(2, 1, 28, 28), "none": torch.zeros(2, 1, 28, 28)}
    figure = plots.maps_of_digits(digits.images[:2], maps, ["a 0", "a 1"])
    for ax in (figure.axes[1], figure.axes[2]):
        low, high = ax.images[0].get_clim()
        assert low == -high < 0
    places = np.random.default_rng(0).normal(size=(12, 2))
    figure = plots.embedding_map(places, digits.labels, digits.labels == 3)
    assert {text.get_text() for text in figure.axes[0].texts} == set("0123456789")
    assert len(figure.axes[0].collections[1].get_offsets()) == 1
