"""models.py and zoo.py: shapes, weights, normalisation, and that logits are logits."""

import math
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import mnist_helpers as mh
from mnist_helpers.models import evaluating, named_model

every_model = pytest.mark.parametrize("name", list(mh.ZOO))


@every_model
@pytest.mark.parametrize("count", [1, 7])
def test_logits_have_ten_columns(name, count, make_digits):
    logits = mh.ZOO[name].build().eval()(make_digits(count).images)
    assert logits.shape == (count, 10)
    assert logits.dtype == torch.float32


TWO_CONV = (9 + 1) * 32 + (32 * 9 + 1) * 64 + (1600 + 1) * 128 + (128 + 1) * 10
PARAMETERS = {
    "lenet": (
        (9 + 1) * 6 + (6 * 9 + 1) * 16 + (400 + 1) * 120 + (120 + 1) * 84 + (84 + 1) * 10,
        60_074,
    ),
    "two_conv": (TWO_CONV, 225_034),
    "two_conv_dropout": (TWO_CONV, 225_034),
    "vgg": (
        (9 + 1) * 32
        + (32 * 9 + 1) * 32
        + (32 * 9 + 1) * 64
        + (64 * 9 + 1) * 64
        + (3136 + 1) * 512
        + (512 + 1) * 10,
        1_676_266,
    ),
    "three_conv": (
        (9 + 1) * 32 + (32 * 9 + 1) * 64 + (64 * 9 + 1) * 128 + (1152 + 1) * 256 + (256 + 1) * 10,
        390_410,
    ),
    "fast_99": (
        (25 + 2) * 16 + (16 * 9 + 2) * 32 + (512 + 2) * 128 + (128 + 1) * 10,
        72_186,
    ),
    "fast_994": (
        (25 + 2) * 16 + (16 * 9 + 2) * 64 + (1024 + 2) * 128 + (128 + 1) * 10,
        142_394,
    ),
    "record": (
        (9 + 2) * 16
        + (16 * 9 + 2) * 32
        + (32 * 9 + 2) * 64
        + (64 * 9 + 2) * (64 + 128)
        + (128 * 9 + 2) * 128
        + (2048 + 1) * 10,
        302_586,
    ),
    "tiny": (
        (9 + 2) * 9
        + (9 * 9 + 2) * 11
        + (11 * 9 + 2) * 12
        + (12 * 9 + 2) * 14
        + (14 * 9 + 2) * 14
        + (16 + 2) * 14
        + (14 + 1) * 10,
        5_958,
    ),
    "robust": (TWO_CONV, 225_034),
}
TWO_CONV_MULTIPLY_ADDS = 32 * 9 * 26**2 + 64 * 32 * 9 * 11**2 + 1600 * 128 + 128 * 10
MULTIPLY_ADDS = {
    "lenet": 6 * 9 * 26**2 + 16 * 6 * 9 * 11**2 + 400 * 120 + 120 * 84 + 84 * 10,
    "two_conv": TWO_CONV_MULTIPLY_ADDS,
    "two_conv_dropout": TWO_CONV_MULTIPLY_ADDS,
    "vgg": (32 + 32 * 32) * 9 * 28**2 + (64 * 32 + 64 * 64) * 9 * 14**2 + 3136 * 512 + 512 * 10,
    "three_conv": 32 * 9 * 28**2
    + 64 * 32 * 9 * 14**2
    + 128 * 64 * 9 * 7**2
    + 1152 * 256
    + 256 * 10,
    "fast_99": 16 * 25 * 10**2 + 32 * 16 * 9 * 8**2 + 512 * 128 + 128 * 10,
    "fast_994": 16 * 25 * 10**2 + 64 * 16 * 9 * 8**2 + 1024 * 128 + 128 * 10,
    "record": 16 * 9 * 26**2
    + 32 * 16 * 9 * 24**2
    + 64 * (32 + 64) * 9 * 12**2
    + 128 * 64 * 9 * 6**2
    + 128 * 128 * 9 * 4**2
    + 2048 * 10,
    "tiny": 9 * 9 * 26**2
    + 11 * 9 * 9 * 24**2
    + 12 * 11 * 9 * 10**2
    + 14 * 12 * 9 * 8**2
    + 14 * 14 * 9 * 4**2
    + 14 * 16
    + 14 * 10,
    "robust": TWO_CONV_MULTIPLY_ADDS,
}


@every_model
def test_parameters_are_those_by_hand_and_as_told(name):
    by_hand, told = PARAMETERS[name]
    assert mh.count_parameters(mh.ZOO[name].build()) == by_hand == told


@every_model
def test_the_shapes_in_the_docstring_are_true(name):
    model, values = mh.ZOO[name].build().eval(), torch.zeros(1, 1, 28, 28)
    walk = ["1x28x28"]
    for layer in model:
        values = layer(values)
        if isinstance(layer, mh.Crop):
            assert walk == ["1x28x28"]
            walk = [f"{'x'.join(str(size) for size in values.shape[1:])} (cropped)"]
        if values.shape[2:] == (1, 1):
            continue  # told when it is flat
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.Flatten | nn.Linear):
            shape = "x".join(str(size) for size in values.shape[1:])
            walk.append(f"pool {shape}" if isinstance(layer, nn.MaxPool2d) else shape)
    told = re.search(r"Shapes: (.*? -> 10)\.", " ".join(mh.ZOO[name].build.__doc__.split()))[1]
    assert told.split(" -> ") == walk


@every_model
def test_the_docstring_tells_the_number_of_parameters(name):
    told = re.search(r"([\d,]+)\s+parameters", mh.ZOO[name].build.__doc__)[1]
    assert int(told.replace(",", "")) == mh.count_parameters(mh.ZOO[name].build())


@every_model
def test_every_hidden_layer_has_a_relu(name):
    layers = list(mh.ZOO[name].build())
    weighted = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert sum(isinstance(layer, nn.ReLU) for layer in layers) == len(weighted) - 1


@every_model
def test_multiply_adds_by_hand(name):
    assert mh.count_multiply_adds(mh.ZOO[name].build()) == MULTIPLY_ADDS[name]


@pytest.mark.parametrize("training", [True, False])
def test_counting_multiply_adds_leaves_the_model_as_it_was(training):
    model = mh.ZOO["two_conv_dropout"].build().train(training)
    model[-2].train(not training)
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    assert mh.count_multiply_adds(model) == MULTIPLY_ADDS["two_conv_dropout"]
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(weight.grad is None for weight in model.parameters())


def test_multiply_adds_of_a_model_on_a_gpu(gpu):
    assert mh.count_multiply_adds(mh.ZOO["lenet"].build().to(gpu)) == MULTIPLY_ADDS["lenet"]


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


# Cropping


@pytest.mark.parametrize("margin", [0, 1, 2, 5])
@pytest.mark.parametrize("shape", [(2, 3, 12, 14), (1, 28, 28), (11, 12)])
def test_cropping_cuts_the_margin_off_each_side(shape, margin):
    images = torch.arange(math.prod(shape)).reshape(shape)
    cropped = mh.Crop(margin)(images)
    height, width = shape[-2:]
    rows, columns = range(margin, height - margin), range(margin, width - margin)
    assert cropped.shape == (*shape[:-2], len(rows), len(columns))
    np.testing.assert_array_equal(cropped, images.numpy()[..., rows, :][..., columns])


def test_a_cropped_image_is_a_view():
    images = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    cropped = mh.Crop(2)(images)
    cropped.fill_(3)
    assert cropped.dtype == torch.uint8
    assert images.count_nonzero() == 24 * 24
    assert images.sum() == 3 * 24 * 24


def test_printing_a_crop_tells_its_margin_and_it_has_no_weights():
    assert str(mh.Crop(2)) == "Crop(margin=2)"
    assert mh.Crop(2).state_dict() == {}


@pytest.mark.parametrize("name", ["fast_99", "fast_994"])
def test_a_fast_network_does_not_see_the_margin(name, make_digits):
    model, images = mh.ZOO[name].build().eval(), make_digits(5).images
    framed = images.clone()
    framed[:, :, :2] = framed[:, :, -2:] = 255
    framed[..., :2] = framed[..., -2:] = 255
    assert torch.equal(model(framed), model(images))
    framed[:, :, 2] = 255
    assert not torch.equal(model(framed), model(images))


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
    first, second = (
        [layer for layer in mh.ZOO[name].build(seed=seed) if isinstance(layer, nn.Conv2d)]
        for seed in (0, 1)
    )
    assert not torch.equal(first[0].weight, second[0].weight)


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


@pytest.mark.parametrize(
    ("name", "share"),
    [("two_conv_dropout", 0.5), ("vgg", 0.5), ("three_conv", 0.5), ("record", 0.3)],
)
def test_dropout_acts_only_in_training(name, share, make_digits):
    model, images = mh.ZOO[name].build(), make_digits(5).images
    assert [layer.p for layer in model if isinstance(layer, nn.Dropout)] == [share]
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))


@pytest.mark.parametrize("name", ["lenet", "two_conv", "fast_99", "fast_994", "tiny"])
def test_the_networks_without_dropout_draw_nothing(name, make_digits):
    model, images = mh.ZOO[name].build().train(), make_digits(5).images
    assert torch.equal(model(images), model(images))


# Options

CHANNELS = {
    "lenet": [6, 16],
    "two_conv": [32, 64],
    "two_conv_dropout": [32, 64],
    "vgg": [32, 32, 64, 64],
    "three_conv": [32, 64, 128],
}
WITHOUT_DROPOUT = ["lenet", "two_conv"]
BOTH = {"batch_norm": True, "dropout": True}
every_published = pytest.mark.parametrize("name", CHANNELS)


def printed(model):
    return [str(layer) for layer in model]


def assert_equal_layers(first, second):
    """The same kinds of layers with the same values, in the same order; but for the options."""
    kept = [
        [layer for layer in model if not isinstance(layer, nn.BatchNorm2d | nn.Dropout)]
        for model in (first, second)
    ]
    for one, other in zip(*kept, strict=True):
        assert str(one) == str(other)
        for mine, theirs in zip(
            one.state_dict().values(), other.state_dict().values(), strict=True
        ):
            assert torch.equal(mine, theirs)


@every_published
def test_batch_norm_follows_each_convolution_and_nothing_else_differs(name):
    plain, layers = mh.ZOO[name].build(), list(mh.ZOO[name].build(batch_norm=True))
    places = [at for at, layer in enumerate(layers) if isinstance(layer, nn.BatchNorm2d)]
    assert all(isinstance(layers[at - 1], nn.Conv2d) for at in places)
    expected = [str(nn.BatchNorm2d(channels)) for channels in CHANNELS[name]]
    assert [str(layers[at]) for at in places] == expected
    rest = [str(layer) for at, layer in enumerate(layers) if at not in places]
    assert rest == printed(plain)


@pytest.mark.parametrize("name", [*WITHOUT_DROPOUT, "fast_99", "fast_994", "tiny"])
def test_dropout_of_a_half_comes_before_the_last_layer_and_nothing_else_differs(name):
    layers = printed(mh.ZOO[name].build(dropout=True))
    assert layers.pop(-2) == str(nn.Dropout(0.5))
    assert layers == printed(mh.ZOO[name].build())


def test_two_conv_with_dropout_is_the_network_of_the_notebooks_but_for_the_scaling():
    made, published = mh.ZOO["two_conv"].build(3, dropout=True), mh.ZOO["two_conv_dropout"].build(3)
    assert printed(made)[1:] == printed(published)[1:]
    assert_equal_layers(made[1:], published[1:])


@every_published
@pytest.mark.parametrize("seed", [0, 5])
def test_options_leave_the_initial_weights(name, seed):
    plain = mh.ZOO[name].build(seed=seed)
    assert_equal_layers(mh.ZOO[name].build(seed=seed, batch_norm=True), plain)
    if name in WITHOUT_DROPOUT:
        assert_equal_layers(mh.ZOO[name].build(seed=seed, dropout=True), plain)
        assert_equal_layers(mh.ZOO[name].build(seed=seed, **BOTH), plain)


@every_published
def test_options_that_are_off_change_nothing(name):
    plain = mh.ZOO[name].build(seed=5)
    off = mh.ZOO[name].build(seed=5, batch_norm=False, dropout=False)
    assert (printed(off), off.name) == (printed(plain), name)
    assert_equal_layers(off, plain)


def test_building_with_options_leaves_the_random_state():
    before = torch.get_rng_state()
    mh.ZOO["two_conv"].build(seed=5, **BOTH)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "option", "kind"),
    [
        ("two_conv_dropout", "dropout", "Dropout"),
        ("vgg", "dropout", "Dropout"),
        ("three_conv", "dropout", "Dropout"),
        ("record", "dropout", "Dropout"),
        ("fast_99", "batch_norm", "BatchNorm2d"),
        ("fast_994", "batch_norm", "BatchNorm2d"),
        ("record", "batch_norm", "BatchNorm2d"),
        ("tiny", "batch_norm", "BatchNorm2d"),
    ],
)
def test_an_option_that_the_network_has_anyway_is_refused(name, option, kind):
    with pytest.raises(ValueError, match=f"^this network has {kind} anyway$"):
        mh.ZOO[name].build(**{option: True})


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("lenet", 60_118),
        ("two_conv", 225_226),
        ("two_conv_dropout", 225_226),
        ("vgg", 1_676_650),
        ("three_conv", 390_858),
    ],
)
def test_batch_norm_adds_two_parameters_a_channel_and_dropout_none(name, parameters):
    by_hand = PARAMETERS[name][0] + 2 * sum(CHANNELS[name])
    assert mh.count_parameters(mh.ZOO[name].build(batch_norm=True)) == by_hand == parameters
    if name in WITHOUT_DROPOUT:
        assert mh.count_parameters(mh.ZOO[name].build(dropout=True)) == PARAMETERS[name][0]
        assert mh.count_parameters(mh.ZOO[name].build(**BOTH)) == by_hand


@every_published
def test_batch_norm_acts_on_every_channel_and_only_in_training_by_the_batch(name, make_digits):
    model, images = mh.ZOO[name].build(batch_norm=True).train(), make_digits(20).images
    seen = []
    for layer in model:
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.detach()))
    model(images)
    for values, channels in zip(seen, CHANNELS[name], strict=True):
        assert values.shape[1] == channels
        assert values.mean(dim=(0, 2, 3)).abs().max() < 1e-4
        torch.testing.assert_close(
            values.var(dim=(0, 2, 3)), torch.ones(channels), rtol=0, atol=0.05
        )
    model.eval()
    torch.testing.assert_close(model(images)[:3], model(images[:3]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{"dropout": True}, BOTH])
@pytest.mark.parametrize("name", WITHOUT_DROPOUT)
def test_dropout_as_an_option_acts_only_in_training(name, options, make_digits):
    model, images = mh.ZOO[name].build(**options), make_digits(5).images
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))


NAMES = {
    "two_conv": {},
    "two_conv+batch_norm": {"batch_norm": True},
    "two_conv+dropout": {"dropout": True},
    "two_conv+batch_norm+dropout": BOTH,
    "vgg+batch_norm": {"batch_norm": True},
    "fast_99+dropout": {"dropout": True},
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_tells_the_options_and_builds_the_model_again(name):
    model = mh.ZOO[name.split("+")[0]].build(**NAMES[name])
    assert model.name == name
    again = named_model(name)
    assert again.name == name
    assert printed(again) == printed(model)
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def test_the_order_of_the_options_in_a_name_does_not_matter():
    assert named_model("lenet+dropout+batch_norm").name == "lenet+batch_norm+dropout"


@every_model
def test_every_network_can_be_had_by_its_name(name):
    model = mh.ZOO[name].build()
    assert printed(named_model(model.name)) == printed(model)


@pytest.mark.parametrize(
    "name",
    ["nothing", "nothing+dropout", "two_conv+flips", "two_conv+", "+dropout", "", "two_conv+seed"],
)
def test_a_model_of_no_such_name_is_a_key_error(name):
    with pytest.raises(KeyError):
        named_model(name)


# The zoo

NORMALISED, FROM_0_TO_1 = (0.1307, 0.3081), (0.0, 1.0)
STATED = {
    "lenet": {"optimizer": "adam", "schedule": "none", "epochs": 5},
    "two_conv": {"optimizer": "adam", "schedule": "none", "batch_size": 64, "epochs": 5},
    "two_conv_dropout": {},
    "vgg": {
        "optimizer": "adam",
        "learning_rate": 0.001,
        "schedule": "none",
        "batch_size": 128,
        "epochs": 5,
    },
    "three_conv": {
        "optimizer": "adam",
        "learning_rate": 0.0005,
        "weight_decay": 1e-4,
        "schedule": "step",
        "gamma": 0.5,
        "batch_size": 128,
        "epochs": 10,
    },
}
CLAIMS = {
    "lenet": (0.9893, 5),
    "two_conv": (0.989, 5),
    "two_conv_dropout": (0.993, None),
    "vgg": (0.993, 5),
    "three_conv": (0.99, 5),
}


def test_the_zoo_has_the_five_published_models_in_order_and_then_our_own():
    assert list(mh.PUBLISHED) == ["lenet", "two_conv", "two_conv_dropout", "vgg", "three_conv"]
    assert list(mh.ZOO) == [*mh.PUBLISHED, "fast_99", "fast_994", "record", "tiny", "robust"]
    assert all(mh.ZOO[name] is entry for name, entry in mh.PUBLISHED.items())


@pytest.mark.parametrize("name", STATED)
def test_a_recipe_is_the_published_one_where_that_is_stated(name):
    recipe = mh.ZOO[name].recipe
    assert {field: getattr(recipe, field) for field in STATED[name]} == STATED[name]
    if "schedule" in STATED[name]:
        assert recipe.weight_decay == STATED[name].get("weight_decay", 0.0)
        assert recipe.label_smoothing == 0.0


@pytest.mark.parametrize(("name", "scaling"), [("two_conv", FROM_0_TO_1), ("vgg", NORMALISED)])
def test_the_input_is_scaled_as_published_where_that_is_stated(name, scaling):
    first = mh.ZOO[name].build()[0]
    assert (first.mean.item(), first.std.item()) == pytest.approx(scaling)


@every_model
def test_a_zoo_entry_is_complete(name):
    entry = mh.ZOO[name]
    assert entry.build().name == ("two_conv" if name == "robust" else name)
    assert isinstance(entry.recipe, mh.Recipe)
    assert len(entry.source.split()) > 3
    if name in mh.PUBLISHED:
        assert 1 <= entry.claimed_epochs <= entry.recipe.epochs
    else:
        assert (entry.claim, entry.claimed_epochs) == ("", 0)
        assert math.isnan(entry.claimed_accuracy)


@pytest.mark.parametrize("name", ["fast_99", "fast_994"])
def test_a_fast_recipe_has_whole_batches_and_fits_the_training_digits(name):
    """An uneven batch would be outside the CUDA graph; one in twelve digits is for validation."""
    recipe = mh.ZOO[name].recipe
    assert recipe.epoch_size % recipe.batch_size == 0
    assert recipe.epoch_size <= 55_000


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_the_published_one_in_words_and_as_a_fraction(name):
    entry = mh.ZOO[name]
    accuracy, epochs = CLAIMS[name]
    assert entry.claimed_accuracy == accuracy
    assert f"{100 * accuracy:g} %" in entry.claim
    assert epochs is None or (entry.claimed_epochs == epochs and str(epochs) in entry.claim)


def test_a_slice_of_a_model_is_its_first_layers():
    model = mh.ZOO["two_conv_dropout"].build().eval()
    images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    assert model[:4](images).shape == (2, 32, 13, 13)
    assert model[:7](images).shape == (2, 64, 5, 5)
