"""models.py and zoo.py: shapes, weights, normalisation, and that logits are logits."""

import math
import re

import mnist_helpers as mh
import numpy as np
import pytest
import torch
from mnist_helpers.evaluation import evaluating
from mnist_helpers.models import named_model
from torch import nn
from torch.nn import functional as F

every_model = pytest.mark.parametrize("name", list(mh.ZOO))

# Each convolution and linear layer by hand: inputs of one output, outputs, places in the image.
TWO_CONV = [(9, 32, 26**2), (32 * 9, 64, 11**2), (1600, 128, 1), (128, 10, 1)]
FAST = [(36, 24, 7**2), (24 * 9, 32, 5**2), (800, 128, 1), (128, 10, 1)]
LAYERS = {
    "lenet": [(9, 6, 26**2), (6 * 9, 16, 11**2), (400, 120, 1), (120, 84, 1), (84, 10, 1)],
    "two_conv": TWO_CONV,
    "two_conv_dropout": TWO_CONV,
    "vgg": [
        *((9, 32, 28**2), (32 * 9, 32, 28**2), (32 * 9, 64, 14**2), (64 * 9, 64, 14**2)),
        *((3136, 512, 1), (512, 10, 1)),
    ],
    "three_conv": [
        *((9, 32, 28**2), (32 * 9, 64, 14**2), (64 * 9, 128, 7**2)),
        *((1152, 256, 1), (256, 10, 1)),
    ],
    "fast_99": FAST,
    "fast_994": FAST,
    "record": [
        *((9, 16, 26**2), (16 * 9, 32, 24**2), (32 * 9, 64, 12**2), (64 * 9, 64, 12**2)),
        *((64 * 9, 128, 6**2), (128 * 9, 128, 4**2), (2048, 10, 1)),
    ],
    "tiny": [
        *((9, 16, 26**2), (9, 16, 24**2), (16, 24, 24**2), (9, 24, 10**2), (24, 32, 10**2)),
        *((9, 32, 5**2), (32, 32, 5**2), (25, 32, 1), (32, 10, 1)),
    ],
    "robust": TWO_CONV,
    "pen": FAST,
}
ALONE = {"tiny": (1, 3, 5)}  # a window for each channel: no bias, no activation
NORMALISED = ("record", "tiny")  # all but the last layer, in place of biases
NAMED = {
    "robust": "two_conv",
    "fast_99": "fast",
    "fast_994": "fast",
    "pen": "fast",
}  # after their networks
TOLD = (nn.Conv2d, nn.Flatten, mh.models.FlattenPixels, nn.Linear)
DROPOUT = {"two_conv_dropout": 0.5, "vgg": 0.5, "three_conv": 0.5, "record": 0.3}


def multiply_adds(name):
    return sum(inputs * outputs * places for inputs, outputs, places in LAYERS[name])


@every_model
def test_a_model_costs_what_it_does_by_hand_and_as_its_docstring_tells(name):
    model = mh.ZOO[name].build()
    last, by_hand = len(LAYERS[name]) - 1, 0
    for place, (inputs, outputs, _) in enumerate(LAYERS[name]):
        extra = 2 if name in NORMALISED and place < last else 1
        by_hand += (inputs + extra * (place not in ALONE.get(name, ()))) * outputs
    by_hand += 128 if LAYERS[name] is FAST else 0  # its hidden layer is normalised
    told = re.search(r"([\d,]+)\s+parameters", mh.ZOO[name].build.__doc__)[1]
    assert mh.count_parameters(model) == by_hand == int(told.replace(",", ""))
    assert mh.count_multiply_adds(model) == multiply_adds(name)


@every_model
def test_the_shapes_in_the_docstring_are_true(name):
    model, values = mh.ZOO[name].build().eval(), torch.zeros(1, 1, 28, 28)
    walk = ["1x28x28"]
    for layer in model:
        values = layer(values)
        shape = "x".join(str(size) for size in values.shape[1:])
        if isinstance(layer, mh.models.Crop):
            walk = [f"{shape} (cropped)"]
        elif isinstance(layer, nn.MaxPool2d):
            walk.append(f"pool {shape}")
        elif isinstance(layer, TOLD) and values.shape[2:] != (1, 1):
            walk.append(shape)  # one of 1x1 is told when it is flat
    told = re.search(r"Shapes: (.*? -> 10)\.", " ".join(mh.ZOO[name].build.__doc__.split()))[1]
    assert told.split(" -> ") == walk


@every_model
def test_logits_of_raw_images_without_an_activation(name, make_digits):
    model, images = mh.ZOO[name].build().eval(), make_digits(20).images
    logits = model(images)
    assert (logits.shape, logits.dtype) == ((20, 10), torch.float32)
    assert model(images[:1]).shape == (1, 10)
    assert torch.equal(model(images.float() / 255), logits)
    layers = [module for module in model.modules() if not list(module.children())]
    assert isinstance(layers[-1], nn.Linear)
    weighted = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert sum(isinstance(layer, nn.ReLU) for layer in layers) == (
        len(weighted) - 1 - len(ALONE.get(name, ()))
    )
    assert (logits.sum(dim=1) - 1).abs().min() > 1e-4  # no softmax
    assert (logits.exp().sum(dim=1) - 1).abs().min() > 1e-4  # no log-softmax
    assert logits.min() < 0 < logits.max()  # no ReLU, no sigmoid
    for dtype in (torch.int64, torch.int32, torch.bool):
        with pytest.raises(TypeError, match=str(dtype)):
            model(images.to(dtype))


@every_model
def test_a_new_model_guesses_and_every_weight_gets_a_gradient(name, sample):
    model = mh.ZOO[name].build()
    images, labels = sample.test.images[::10], sample.test.labels[::10]
    loss = F.cross_entropy(model.eval()(images), labels)
    assert loss.item() == pytest.approx(math.log(10), abs=0.1)
    F.cross_entropy(model.train()(images), labels).backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())


@every_model
def test_dropout_acts_only_in_training(name, make_digits):
    model, images = mh.ZOO[name].build(), make_digits(5).images
    share = [DROPOUT[name]] if name in DROPOUT else []
    assert [layer.p for layer in model if isinstance(layer, nn.Dropout)] == share
    assert torch.equal(model.train()(images), model(images)) == (not share)
    assert torch.equal(model.eval()(images), model(images))


def assert_equal_weights(first, second):
    assert first.state_dict().keys() == second.state_dict().keys()
    for key, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[key], value)


@every_model
def test_the_seed_decides_the_weights_and_leaves_the_random_state(name):
    model = mh.ZOO[name].build(seed=5)
    torch.rand(1000)
    before = torch.get_rng_state()
    assert_equal_weights(mh.ZOO[name].build(seed=5), model)
    assert torch.equal(torch.get_rng_state(), before)
    first, second = (
        next(layer for layer in one if isinstance(layer, nn.Conv2d))
        for one in (model, mh.ZOO[name].build(seed=6))
    )
    assert not torch.equal(first.weight, second.weight)


def test_building_and_counting_with_a_gpu(gpu):
    before = torch.cuda.get_rng_state(gpu)
    model = mh.ZOO["lenet"].build(seed=5).to(gpu)
    assert torch.equal(torch.cuda.get_rng_state(gpu), before)
    assert mh.count_multiply_adds(model) == multiply_adds("lenet")


def test_counting_multiply_adds_leaves_the_model_as_it_was():
    model = mh.ZOO["two_conv_dropout"].build().train()
    model[-2].eval()
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    assert mh.count_multiply_adds(model) == multiply_adds("two_conv_dropout")
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(weight.grad is None for weight in model.parameters())


def test_evaluating_puts_each_layers_mode_back(make_tiny):
    model = make_tiny(dropout=0.5).train()
    model[2].eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [layer.training for layer in model] == [True, True, False, True]
    with pytest.raises(RuntimeError), evaluating(model):
        raise RuntimeError
    assert [layer.training for layer in model] == [True, True, False, True]


def test_frozen_weights_are_not_counted():
    layer = nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    assert mh.count_parameters(layer) == 6


# Normalising and cropping


@pytest.mark.parametrize(("mean", "std"), [(0.1307, 0.3081), (0.0, 1.0), (0.5, 0.25)])
def test_normalisation_equals_the_hand_computed_one_and_travels_with_the_weights(mean, std):
    pixels = [0, 1, 51, 255]
    by_hand = torch.tensor([(pixel / 255 - mean) / std for pixel in pixels])
    layer, other = mh.Normalize(mean, std), mh.Normalize()
    torch.testing.assert_close(layer(torch.tensor(pixels).byte()), by_hand)
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(torch.tensor(pixels).byte()), by_hand)


@pytest.mark.parametrize("margin", [0, 1, 5])
@pytest.mark.parametrize("shape", [(2, 3, 12, 14), (11, 12)])
def test_a_crop_is_a_view_without_the_margin_of_each_side(shape, margin):
    images, layer = torch.arange(math.prod(shape)).reshape(shape), mh.models.Crop(margin)
    rows, columns = (torch.arange(margin, size - margin) for size in shape[-2:])
    assert torch.equal(layer(images), images[..., rows, :][..., columns])
    layer(images).fill_(-1)
    assert (images == -1).sum() == math.prod(shape[:-2]) * len(rows) * len(columns)
    assert (str(layer), layer.state_dict()) == (f"Crop(margin={margin})", {})


def test_flat_pixels_are_the_flattened_maps_in_another_order_and_need_no_copy():
    maps = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    maps = maps.contiguous(memory_format=torch.channels_last)
    flat = mh.models.FlattenPixels()(maps)
    assert flat[1].tolist() == [int(maps[1, c, h, w]) for h, w, c in np.ndindex(4, 5, 3)]
    assert flat.data_ptr() == maps.data_ptr()


def test_the_fast_network_does_not_see_the_margin(make_digits):
    model, images = mh.ZOO["fast_99"].build().eval(), make_digits(5).images
    framed = images.clone()
    framed[:, :, :2] = framed[:, :, -2:] = 255
    framed[..., :2] = framed[..., -2:] = 255
    assert torch.equal(model(framed), model(images))
    framed[:, :, 2] = 255
    assert not torch.equal(model(framed), model(images))


# Options

CHANNELS = {
    "lenet": [6, 16],
    "two_conv": [32, 64],
    "two_conv_dropout": [32, 64],
    "vgg": [32, 32, 64, 64],
    "three_conv": [32, 64, 128],
    "fast_99": [24, 32],
}
WITHOUT_DROPOUT = [name for name in mh.ZOO if name not in DROPOUT]
NAMES = [
    *mh.ZOO,
    *(f"{name}+batch_norm" for name in CHANNELS),
    *(f"{name}+dropout" for name in WITHOUT_DROPOUT),
    *(f"{name}+batch_norm+dropout" for name in CHANNELS if name in WITHOUT_DROPOUT),
]


def printed(layers):
    return [str(layer) for layer in layers]


@pytest.mark.parametrize("name", NAMES)
def test_options_add_their_layers_leave_the_rest_and_are_told_by_the_name(name, make_digits):
    network, *options = name.split("+")
    plain, before = mh.ZOO[network].build(seed=5), torch.get_rng_state()
    chosen = {option: option in options for option in ("batch_norm", "dropout")}
    model = mh.ZOO[network].build(seed=5, **chosen)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.name == name.replace(network, NAMED.get(network, network))
    layers, added = list(model), 0
    if "dropout" in options:
        assert str(layers.pop(-2)) == str(nn.Dropout(0.5))
    if "batch_norm" in options:
        places = [at for at, layer in enumerate(layers) if isinstance(layer, nn.BatchNorm2d)]
        assert all(isinstance(layers[at - 1], nn.Conv2d) for at in places)
        expected = [nn.BatchNorm2d(channels) for channels in CHANNELS[network]]
        assert printed(layers[at] for at in places) == printed(expected)
        layers = [layer for at, layer in enumerate(layers) if at not in places]
        added = 2 * sum(CHANNELS[network])
    assert printed(layers) == printed(plain)
    assert_equal_weights(nn.Sequential(*layers), plain)
    assert mh.count_parameters(model) == mh.count_parameters(plain) + added
    again = named_model(model.name)
    assert (again.name, printed(again)) == (model.name, printed(model))
    assert_equal_weights(again, mh.ZOO[network].build(**chosen))
    images = make_digits(5).images
    draws = not torch.equal(again.train()(images), again(images))
    assert draws == ("dropout" in options or network in DROPOUT)


def test_two_conv_with_dropout_is_the_network_of_the_notebooks_but_for_the_scaling():
    made, published = mh.ZOO["two_conv"].build(3, dropout=True), mh.ZOO["two_conv_dropout"].build(3)
    assert printed(made)[1:] == printed(published)[1:]
    assert_equal_weights(made[1:], published[1:])


@pytest.mark.parametrize(
    ("name", "option", "kind"),
    [
        *((name, "dropout", "Dropout") for name in DROPOUT),
        *((name, "batch_norm", "BatchNorm2d") for name in NORMALISED),
    ],
)
def test_an_option_that_the_network_has_anyway_is_refused(name, option, kind):
    with pytest.raises(ValueError, match=f"^this network has {kind} anyway$"):
        mh.ZOO[name].build(**{option: True})


def test_the_order_of_the_options_in_a_name_does_not_matter():
    assert named_model("lenet+dropout+batch_norm").name == "lenet+batch_norm+dropout"


@pytest.mark.parametrize(
    "name", ["nothing+dropout", "two_conv+flips", "two_conv+", "+dropout", "", "two_conv+seed"]
)
def test_a_model_of_no_such_name_is_a_key_error(name):
    with pytest.raises(KeyError):
        named_model(name)


# The zoo

STATED = {
    "lenet": {"optimizer": "adam", "schedule": "none", "epochs": 5},
    "two_conv": {"optimizer": "adam", "schedule": "none", "batch_size": 64, "epochs": 5},
    "two_conv_dropout": {},
    "vgg": {
        **{"optimizer": "adam", "learning_rate": 0.001, "schedule": "none"},
        **{"batch_size": 128, "epochs": 5},
    },
    "three_conv": {
        **{"optimizer": "adam", "learning_rate": 0.0005, "weight_decay": 1e-4},
        **{"schedule": "step", "gamma": 0.5, "batch_size": 128, "epochs": 10},
    },
}
CLAIMS = {
    "lenet": (0.9893, (5,)),
    "two_conv": (0.989, (5,)),
    "two_conv_dropout": (0.993, None),
    "vgg": (0.993, (2, 5)),
    "three_conv": (0.99, (5,)),
}


def test_the_zoo_has_the_five_published_models_in_order_and_then_our_own():
    assert list(mh.PUBLISHED) == list(STATED)
    assert list(mh.ZOO) == [*STATED, "fast_99", "fast_994", "record", "tiny", "robust", "pen"]
    assert all(mh.ZOO[name] is entry for name, entry in mh.PUBLISHED.items())


@pytest.mark.parametrize("name", mh.ZOO)
def test_each_model_normalises_at_its_front(name):
    kinds = [type(layer) for layer in mh.ZOO[name].build()]
    assert kinds[kinds[0] is mh.models.Crop] is mh.Normalize


@pytest.mark.parametrize("name", STATED)
def test_recipe_and_claim_are_the_published_ones_where_they_are_stated(name):
    entry, (accuracy, epochs) = mh.ZOO[name], CLAIMS[name]
    assert {field: getattr(entry.recipe, field) for field in STATED[name]} == STATED[name]
    if "schedule" in STATED[name]:
        assert entry.recipe.weight_decay == STATED[name].get("weight_decay", 0.0)
        assert entry.recipe.label_smoothing == 0.0
    assert entry.claimed_accuracy == accuracy
    assert f"{100 * accuracy:g} %" in entry.claim
    assert epochs is None or (entry.claimed_epochs == epochs and str(epochs[0]) in entry.claim)


@pytest.mark.parametrize(("name", "scaling"), [("two_conv", (0.0, 1.0)), ("vgg", (0.1307, 0.3081))])
def test_the_input_is_scaled_as_published_where_that_is_stated(name, scaling):
    first = mh.ZOO[name].build()[0]
    assert (first.mean.item(), first.std.item()) == pytest.approx(scaling)


@every_model
def test_a_zoo_entry_is_complete(name):
    entry = mh.ZOO[name]
    assert isinstance(entry.recipe, mh.Recipe)
    assert len(entry.source.split()) > 3
    if name in mh.PUBLISHED:
        assert all(1 <= epochs <= entry.recipe.epochs for epochs in entry.claimed_epochs)
        floor = f"more than {100 * entry.claimed_accuracy:g} %"
        assert entry.claims_more == entry.claim.startswith(floor)
    else:
        assert (entry.claim, entry.claimed_epochs) == ("", ())
        assert math.isnan(entry.claimed_accuracy)


@pytest.mark.parametrize("name", ["fast_99", "fast_994"])
def test_a_fast_recipe_has_whole_batches_and_fits_the_training_digits(name):
    """An uneven batch would be outside the CUDA graph; one in twelve digits is for validation."""
    recipe = mh.ZOO[name].recipe
    assert recipe.epoch_size % recipe.batch_size == 0
    assert recipe.epoch_size <= 55_000


def test_a_slice_of_a_model_is_its_first_layers():
    model = mh.ZOO["two_conv_dropout"].build().eval()
    images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    assert model[:4](images).shape == (2, 32, 13, 13)
    assert model[:7](images).shape == (2, 64, 5, 5)
