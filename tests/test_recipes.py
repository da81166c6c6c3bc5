"""recipes.py: what a recipe may hold, and what follows from it."""

import dataclasses
import itertools
import math

import pytest
import torch
from torch.nn import functional as F
from torch.optim import lr_scheduler

import mnist_helpers as mh


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("epochs", 0, "at least 1"),
        ("epochs", -3, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("optimizer", "lion", "sgd, adam, adamw, adadelta, muon$"),
        ("learning_rate", 0.0, "positive"),
        ("learning_rate", -1e-3, "positive"),
        ("learning_rate", math.nan, "positive"),
        ("learning_rate", math.inf, "positive"),
        ("weight_decay", -1e-4, "0 or more"),
        ("weight_decay", math.nan, "0 or more"),
        ("momentum", 1.0, "0 to below 1"),
        ("momentum", -0.1, "0 to below 1"),
        ("schedule", "linear", "none, step, cosine, one_cycle"),
        ("step_size", 0, "at least 1"),
        ("gamma", 0.0, "positive"),
        ("label_smoothing", 1.0, "0 to below 1"),
        ("label_smoothing", -0.1, "0 to below 1"),
        ("augmentation", "flip", "choose none, or of shift, affine, elastic, .*; join several by"),
        ("augmentation", "none+affine", "join several by"),
        ("augmentation", "affine+none", "join several by"),
        ("augmentation", "affine+flip", "join several by"),
        ("augmentation", "affine+", "join several by"),
        ("augmentation", "+", "join several by"),
        ("augmentation", "affine,noise", "join several by"),
        ("augmentation", "", "join several by"),
        ("augmentation", None, "join several by"),
        ("augmentation", ["affine"], "join several by"),
        ("epoch_size", 0, "at least 1"),
        ("epoch_size", -256, "at least 1"),
        ("patience", 0, "at least 1"),
        ("keep", "worst", "best, last"),
        ("precision", "float16", "auto, float32, bfloat16"),
        ("seed", -1, r"0 to 2\*\*32 - 1"),
        ("seed", 2**32, r"0 to 2\*\*32 - 1"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name_and_range(field, value, wanted):
    with pytest.raises(mh.RecipeError, match=rf"{field}\b.*{wanted}") as caught:
        mh.Recipe(**{field: value})
    assert len(str(caught.value).splitlines()) == 1


def test_the_choices_of_an_augmentation_are_told_in_one_line():
    with pytest.raises(mh.RecipeError) as caught:
        mh.Recipe(augmentation="affine+flip")
    assert str(caught.value) == (
        "unknown augmentation 'affine+flip': choose none, or of "
        f"{', '.join(mh.AUGMENTATIONS)}; join several by +"
    )


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 1, "batch_size": 1, "step_size": 1, "patience": 1, "epoch_size": 1},
        {"momentum": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0, "seed": 0},
        {"augmentation": "none", "epoch_size": None},
        {"augmentation": "shift", "epoch_size": 10**9, "optimizer": "muon"},
        {"augmentation": "affine+elastic"},
        {"augmentation": "noise+erase+elastic+affine+shift"},
        {"momentum": 0.999, "label_smoothing": 0.999, "seed": 2**32 - 1, "patience": None},
    ],
)
def test_the_ends_of_a_range_are_allowed(values):
    recipe = mh.Recipe(**values)
    assert {name: getattr(recipe, name) for name in values} == values


def test_a_summary_tells_epochs_batch_optimizer_rate_and_schedule():
    recipe = mh.Recipe(epochs=3, batch_size=32, optimizer="sgd", learning_rate=0.05)
    assert recipe.summary() == "3 epochs, batch 32, sgd 0.05"
    assert "one_cycle" in dataclasses.replace(recipe, schedule="one_cycle").summary()


@pytest.mark.parametrize(
    ("epochs", "epoch_size", "told"),
    [
        (1, None, "1 epoch"),
        (2, None, "2 epochs"),
        (1, 28_160, "1 epoch of 28,160 images"),
        (3, 500, "3 epochs of 500 images"),
    ],
)
def test_a_summary_counts_epochs_and_tells_their_size(epochs, epoch_size, told):
    recipe = mh.Recipe(epochs=epochs, epoch_size=epoch_size, batch_size=32)
    assert recipe.summary() == f"{told}, batch 32, adam 0.001"


def test_the_new_values_change_no_recipe_that_does_not_name_them():
    recipe = mh.Recipe()
    assert (recipe.augmentation, recipe.epoch_size) == ("none", None)


SCHEDULERS = {
    "none": lambda optimizer, recipe, steps: lr_scheduler.ConstantLR(optimizer, 1.0),
    "cosine": lambda optimizer, recipe, steps: lr_scheduler.CosineAnnealingLR(
        optimizer, recipe.epochs * steps
    ),
    "one_cycle": lambda optimizer, recipe, steps: lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.epochs * steps
    ),
    "step": lambda optimizer, recipe, steps: lr_scheduler.StepLR(
        optimizer, recipe.step_size * steps, recipe.gamma
    ),
}


@pytest.mark.parametrize("schedule", SCHEDULERS)
@pytest.mark.parametrize(
    ("epochs", "steps"), [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (3, 7), (4, 10), (5, 58)]
)
def test_the_learning_rate_is_that_of_torchs_scheduler(schedule, epochs, steps):
    recipe = mh.Recipe(
        epochs=epochs, learning_rate=0.1, schedule=schedule, step_size=2, gamma=0.3, optimizer="sgd"
    )
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], recipe.learning_rate)
    scheduler = SCHEDULERS[schedule](optimizer, recipe, steps)
    for step in range(epochs * steps):
        expected = optimizer.param_groups[0]["lr"]
        found = mh.learning_rate_at(recipe, step, steps)
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9), step
        optimizer.step()
        if step + 1 < epochs * steps:
            scheduler.step()


PLAIN = {
    "sgd": lambda weights, rate, decay: torch.optim.SGD(
        weights, rate, momentum=0.8, weight_decay=decay, foreach=False
    ),
    "adam": lambda weights, rate, decay: torch.optim.Adam(
        weights, rate, weight_decay=decay, foreach=False
    ),
    "adamw": lambda weights, rate, decay: torch.optim.AdamW(
        weights, rate, weight_decay=decay, foreach=False
    ),
    "adadelta": lambda weights, rate, decay: torch.optim.Adadelta(
        weights, rate, weight_decay=decay, foreach=False
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_the_optimizer_steps_as_torchs_plain_one_does(name, make_tiny, make_digits):
    digits = make_digits(20)
    ours, theirs = make_tiny(), make_tiny()
    recipe = mh.Recipe(optimizer=name, learning_rate=0.01, weight_decay=0.1, momentum=0.8)
    pairs = [
        (ours, mh.make_optimizer(ours, recipe)),
        (theirs, PLAIN[name](theirs.parameters(), 0.01, 0.1)),
    ]
    for model, optimizer in pairs:
        for _ in range(5):
            optimizer.zero_grad()
            F.cross_entropy(model(digits.images), digits.labels).backward()
            optimizer.step()
    for mine, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(ours[-1].weight, make_tiny()[-1].weight, atol=1e-4)


def test_muon_gets_rate_momentum_and_decay_of_the_recipe(make_tiny):
    recipe = mh.Recipe(optimizer="muon", learning_rate=0.03, momentum=0.6, weight_decay=0.2)
    model = make_tiny()
    optimizer = mh.make_optimizer(model, recipe)
    assert isinstance(optimizer, mh.Muon)
    [group] = optimizer.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.03, 0.6, 0.2)
    assert [id(weight) for weight in group["params"]] == [id(part) for part in model.parameters()]


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_frozen_weights_stay_out_of_the_optimizer(make_tiny, optimizer):
    model = make_tiny()
    model[-1].bias.requires_grad_(False)
    groups = mh.make_optimizer(model, mh.Recipe(optimizer=optimizer)).param_groups
    assert [weight is model[-1].weight for group in groups for weight in group["params"]] == [True]


def test_epoch_seeds_differ_and_are_seeds():
    pairs = itertools.product([0, 1, 2, 41, 2**32 - 1], [0, 1, 2, 500, 9_999])
    seeds = [mh.epoch_seed(seed, epoch) for seed, epoch in pairs]
    assert len(set(seeds)) == 25
    for seed in seeds:
        torch.Generator().manual_seed(seed)


def test_auto_is_the_best_device_here():
    best = "cuda" if torch.cuda.is_available() else "cpu"
    if best == "cpu" and torch.backends.mps.is_available():
        best = "mps"
    assert mh.resolve_device("auto").type == mh.resolve_device().type == best


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_a_device_by_name_or_as_it_is(device):
    assert mh.resolve_device(device) == torch.device("cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "", "hpu", "xla"])
def test_a_device_that_is_not_here_is_refused(device):
    with pytest.raises(mh.RecipeError, match=f"no device {device!r} here: choose auto, cpu"):
        mh.resolve_device(device)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_by_name_is_taken(precision):
    assert mh.resolve_precision(precision, torch.device("cpu")) == precision


@pytest.mark.parametrize("capable", [{"avx512_bf16": True}, {"amx_bf16": True}])
def test_auto_is_bfloat16_on_a_cpu_that_computes_in_it(monkeypatch, capable):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capable, raising=False)
    assert mh.resolve_precision("auto", torch.device("cpu")) == "bfloat16"


@pytest.mark.parametrize("capable", [{}, {"avx512_bf16": False, "avx512_f": True}])
def test_auto_is_float32_on_any_other_cpu(monkeypatch, capable):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capable, raising=False)
    assert mh.resolve_precision("auto", torch.device("cpu")) == "float32"


def test_auto_is_float32_on_mps():
    assert mh.resolve_precision("auto", torch.device("mps")) == "float32"


def test_auto_is_what_a_gpu_has(gpu):
    has = torch.cuda.get_device_capability(gpu) >= (8, 0)
    assert mh.resolve_precision("auto", gpu) == ("bfloat16" if has else "float32")
