"""recipes.py: what a recipe may hold, and what follows from it."""

import itertools
import math
from dataclasses import replace

import mnist_helpers as mh
import numpy as np
import pytest
import torch
from mnist_helpers.recipes import epoch_seed
from torch.optim import lr_scheduler


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("epochs", 0, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("batch_size", 32.5, "a whole number"),
        ("epochs", "5", "a whole number"),
        ("seed", 0.5, "a whole number"),
        ("optimizer", "lion", "sgd, adam, adamw, adadelta, muon$"),
        ("learning_rate", 0.0, "positive"),
        ("learning_rate", math.nan, "positive"),
        ("learning_rate", math.inf, "positive"),
        ("weight_decay", -1e-4, "0 or more"),
        ("momentum", 1.0, "0 to below 1"),
        ("momentum", -0.1, "0 to below 1"),
        ("schedule", "zigzag", "none, step, cosine, one_cycle, linear"),
        ("step_size", 0, "at least 1"),
        ("gamma", 0.0, "positive"),
        ("label_smoothing", 1.0, "0 to below 1"),
        ("label_smoothing", -0.1, "0 to below 1"),
        ("augmentation", "none+affine", "join several by"),
        (
            "augmentation",
            "affine+flip",
            "choose none, or of shift, affine, elastic, .*; join several",
        ),
        ("augmentation", "", "join several by"),
        ("augmentation", None, "join several by"),
        ("epoch_size", 0, "at least 1"),
        ("patience", 0, "at least 1"),
        ("keep", "worst", "best, last"),
        ("precision", "float16", "auto, float32, bfloat16"),
        ("seed", -1, r"at least 0, below 2\*\*32"),
        ("seed", 2**32, r"at least 0, below 2\*\*32"),
        ("batch_size", 2**63, r"below 2\*\*32"),
        ("learning_rate", "0.1", "a number"),
        ("momentum", None, "a number"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name_and_range(field, value, wanted):
    with pytest.raises(mh.RecipeError, match=rf"{field}\b.*{wanted}") as caught:
        mh.Recipe(**{field: value})
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 1, "batch_size": 1, "step_size": 1, "patience": 1, "epoch_size": 1},
        {"momentum": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0, "seed": 0},
        {"augmentation": "none", "epoch_size": 10**9, "optimizer": "muon"},
        {"augmentation": "noise+erase+elastic+affine+shift"},
        {"momentum": 0.999, "label_smoothing": 0.999, "seed": 2**32 - 1, "patience": None},
    ],
)
def test_the_ends_of_a_range_are_allowed(values):
    recipe = mh.Recipe(**values)
    assert {name: getattr(recipe, name) for name in values} == values


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"epochs": 1}, "1 epoch, batch 32, adam 0.001"),
        ({"epochs": 2, "optimizer": "sgd", "learning_rate": 0.05}, "2 epochs, batch 32, sgd 0.05"),
        ({"epochs": 1, "epoch_size": 28_160}, "1 epoch of 28,160 images, batch 32, adam 0.001"),
        ({"epochs": 3, "schedule": "one_cycle"}, "3 epochs, batch 32, adam 0.001 one_cycle"),
    ],
)
def test_a_summary_tells_epochs_batch_optimizer_rate_and_schedule(changes, told):
    assert mh.Recipe(batch_size=32, **changes).summary() == told


SCHEDULERS = {
    "none": lambda optimizer, total, steps: lr_scheduler.ConstantLR(optimizer, 1.0),
    "cosine": lambda optimizer, total, steps: lr_scheduler.CosineAnnealingLR(optimizer, total),
    "one_cycle": lambda optimizer, total, steps: lr_scheduler.OneCycleLR(optimizer, 0.1, total),
    "step": lambda optimizer, total, steps: lr_scheduler.StepLR(optimizer, 2 * steps, 0.3),
}


@pytest.mark.parametrize("schedule", SCHEDULERS)
@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (5, 11)])
def test_the_learning_rate_is_that_of_torchs_scheduler(schedule, epochs, steps):
    recipe = mh.Recipe(
        epochs=epochs, learning_rate=0.1, schedule=schedule, step_size=2, gamma=0.3, optimizer="sgd"
    )
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], recipe.learning_rate)
    scheduler = SCHEDULERS[schedule](optimizer, epochs * steps, steps)
    for step in range(epochs * steps):
        expected = optimizer.param_groups[0]["lr"]
        found = mh.recipes.learning_rate_at(recipe, step, steps)
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9), step
        optimizer.step()
        if step + 1 < epochs * steps:
            scheduler.step()


@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 4), (2, 7), (1, 79)])
def test_the_linear_schedule_is_a_straight_line_up_and_another_down(epochs, steps):
    recipe = mh.Recipe(epochs=epochs, learning_rate=0.1, schedule="linear")
    total = epochs * steps
    inside = np.linspace(0, 1, total + 2)[1:-1]  # neither end, where the rate is 0
    found = [mh.recipes.learning_rate_at(recipe, step, steps) for step in range(total)]
    assert found == pytest.approx(np.interp(inside, [0, 0.2, 1], [0, 0.1, 0]))


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_frozen_weights_stay_out_of_the_optimizer(make_tiny, optimizer):
    model = make_tiny()
    model[-1].bias.requires_grad_(False)
    groups = mh.recipes.make_optimizer(model, mh.Recipe(optimizer=optimizer)).param_groups
    assert [weight is model[-1].weight for group in groups for weight in group["params"]] == [True]


def test_epoch_seeds_differ_and_are_seeds():
    pairs = itertools.product([0, 1, 2, 41, 2**32 - 1], [0, 1, 2, 500, 9_999])
    seeds = [mh.recipes.epoch_seed(seed, epoch) for seed, epoch in pairs]
    assert len(set(seeds)) == 25
    for seed in seeds:
        torch.Generator().manual_seed(seed)


def test_auto_is_the_best_device_here_and_others_are_taken_by_name_or_as_they_are():
    best = "cuda" if torch.cuda.is_available() else "cpu"
    if best == "cpu" and torch.backends.mps.is_available():
        best = "mps"
    assert mh.resolve_device("auto").type == mh.resolve_device().type == best
    for device in ("cpu", torch.device("cpu")):
        assert mh.resolve_device(device) == torch.device("cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "", "hpu"])
def test_a_device_that_is_not_here_is_refused(device):
    with pytest.raises(mh.RecipeError, match=f"no device {device!r} here: choose auto, cpu"):
        mh.resolve_device(device)


def test_a_machine_is_named_with_its_generation_where_the_system_tells(tmp_path, monkeypatch):
    told = "processor : 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nflags\t: a b\n"
    for text, expected in ((told, "AMD EPYC (family 25, model 1)"), ("Hardware : x\n", "unnamed")):
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(mh.device, "Path", lambda _: tmp_path / "cpuinfo")
        monkeypatch.setattr(mh.device.platform, "processor", lambda: "unnamed")
        name = mh.device.machine_name(torch.device("cpu"))
        assert name == f"{expected}, {torch.get_num_threads()} threads"


@pytest.mark.parametrize(
    ("capable", "auto"),
    [
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"avx512_bf16": False, "avx512_f": True}, "float32"),
        ({}, "float32"),
    ],
)
def test_auto_is_bfloat16_on_a_cpu_that_computes_in_it(monkeypatch, capable, auto):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capable, raising=False)
    found = [
        mh.device.resolve_precision(precision, torch.device("cpu"))
        for precision in ("float32", "bfloat16", "auto")
    ]
    assert found == ["float32", "bfloat16", auto]
    assert mh.device.resolve_precision("auto", torch.device("mps")) == "float32"


def test_a_step_with_little_to_do_is_float32_under_auto_on_a_cpu(monkeypatch):
    """`lenet` has 199,968 multiply-adds an image: 100 images stay below 20 million."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)

    def found(size, change=lambda model: None, precision="auto"):
        model = mh.ZOO["lenet"].build()
        change(model)
        recipe = replace(mh.ZOO["lenet"].recipe, batch_size=size, precision=precision)
        return mh.trainer.Trainer(model, recipe).precision

    assert [found(size) for size in (1, 10, 100, 101)] == [*["float32"] * 3, "bfloat16"]
    assert found(10, precision="bfloat16") == "bfloat16"
    hooked = found(10, lambda model: model.register_forward_hook(lambda *_: None))
    assert hooked == "bfloat16"  # to count would call it


def test_auto_is_what_a_gpu_has(gpu):
    has = torch.cuda.get_device_capability(gpu) >= (8, 0)
    assert mh.device.resolve_precision("auto", gpu) == ("bfloat16" if has else "float32")


def test_numbers_of_numpy_count_as_pythons():
    """They would wrap around, and JSON does not know them."""
    recipe = mh.Recipe(epochs=np.int8(100), seed=np.int32(300_000), learning_rate=np.float32(0.5))
    assert recipe == mh.Recipe(epochs=100, seed=300_000, learning_rate=0.5)
    values = [getattr(recipe, name) for name in ("epochs", "seed", "learning_rate")]
    assert [type(value) for value in values] == [int, int, float]
    assert epoch_seed(recipe.seed, 0) == 3_000_000_000
