"""race.py and device.py: races that end as fit() does, and memory that is used again."""

import copy
import ctypes
import dataclasses
import functools
import json
import os
import platform
import subprocess
import sys
import types

import mnist_helpers as mh
import pytest
import torch
from mnist_helpers import device
from torch import nn

BUILD = mh.ZOO["fast_99"].build
RECIPE = dataclasses.replace(
    mh.ZOO["fast_99"].recipe,
    **{"epochs": 2, "batch_size": 16, "epoch_size": 42, "learning_rate": 0.02},
    precision="float32",
)


@pytest.fixture(scope="module")
def digits(make_digits):
    """60 digits to train on, of which an epoch draws 42, 10 of them last; 30 to test on."""
    return make_digits(60, seed=1, name="made/train"), make_digits(30, seed=2, name="made/test")


def assert_equal_weights(first, second):
    first, second = first.state_dict(), second.state_dict()
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


# A race and fit


class View(nn.Module):
    """As most tutorials flatten, which needs the usual layout of memory."""

    def forward(self, values):
        return values.view(len(values), -1)


def viewing(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(mh.Normalize(), nn.Conv2d(1, 3, 5), View(), nn.Linear(1728, 10))


RACES = {
    "a model that calls view": (viewing, {}),
    "uneven batches": (BUILD, {}),
    "bfloat16, options": (
        functools.partial(mh.ZOO["lenet"].build, batch_norm=True, dropout=True),
        {"optimizer": "adamw", "precision": "bfloat16", "augmentation": "affine+erase"},
    ),
    "all digits": (
        BUILD,
        {"epoch_size": None, "epochs": 3, "schedule": "step", "optimizer": "sgd", "momentum": 0.0},
    ),
    "more than all": (
        mh.ZOO["two_conv_dropout"].build,
        {"epoch_size": 28_160, "epochs": 1, "augmentation": "none", "keep": "best"},
    ),
    "whole batches": (BUILD, {"epoch_size": 48, "optimizer": "adadelta", "label_smoothing": 0.0}),
}


@pytest.mark.parametrize(("build", "changes"), RACES.values(), ids=RACES)
def test_every_race_ends_with_the_weights_of_fit_bit_for_bit(digits, build, changes):
    train, test = digits
    recipe = dataclasses.replace(RECIPE, **changes)
    run = mh.speed.SpeedRun(build, recipe, "cpu")
    assert not run.trainer.captured
    for seed in (3, 4):
        predictions = run.race(train, test.images, seed)
        expected = build(seed=seed)
        of_seed = dataclasses.replace(recipe, seed=seed, keep="last")
        mh.fit(expected, train, test, of_seed, device="cpu", verbose=False)
        assert_equal_weights(run.model, expected)
        assert torch.equal(predictions, mh.predict(expected, test.images).argmax(dim=1))


def test_equal_seeds_give_equal_races_after_any_other(digits):
    train, test = digits
    run = mh.speed.SpeedRun(BUILD, RECIPE, "cpu")
    predictions, models = [], []
    for seed in (7, 7, 8, 7):
        torch.rand(10)
        predictions.append(run.race(train, test.images, seed))
        models.append(copy.deepcopy(run.model))
        for weight in run.model.parameters():
            weight.data.fill_(torch.nan)  # as if it had diverged
    for index in (1, 3):
        assert torch.equal(predictions[index], predictions[0])
        assert_equal_weights(models[index], models[0])
    assert not torch.equal(models[2][-1].weight, models[0][-1].weight)
    fresh = mh.speed.SpeedRun(BUILD, dataclasses.replace(RECIPE, seed=99), "cpu")
    assert torch.equal(fresh.race(train, test.images, 7), predictions[0])


def test_the_digits_to_be_read_are_seen_after_training_and_nothing_else_changes(digits):
    train, test = digits
    images, state = [part.images.clone() for part in digits], torch.get_rng_state()
    run = mh.speed.SpeedRun(BUILD, RECIPE, "cpu")
    seen = []
    handle = run.model.register_forward_pre_hook(
        lambda model, inputs: seen.append((model.training, inputs[0].clone()))
    )
    run.race(train, test.images, seed=3)
    handle.remove()
    assert [training for training, _ in seen] == [True] * 6 + [False]
    assert not any(layer.training for layer in run.model.modules())
    assert [len(images) for _, images in seen] == [16, 16, 10] * 2 + [30]
    assert torch.equal(seen[-1][1], test.images)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(train.images, images[0])
    assert torch.equal(test.images, images[1])


def test_the_fast_model_learns_the_sample_in_a_race(sample):
    run = mh.speed.SpeedRun(BUILD, mh.ZOO["fast_99"].recipe, "cpu")
    predictions = run.race(sample.train, sample.test.images, seed=0)
    assert (predictions == sample.test.labels).float().mean() > 0.9


def test_a_race_that_diverges_says_so(digits):
    run = mh.speed.SpeedRun(BUILD, dataclasses.replace(RECIPE, learning_rate=1e30), "cpu")
    with pytest.raises(mh.TrainingDiverged, match=r"the loss is .*smaller learning rate"):
        run.race(digits[0], digits[1].images, seed=0)
    assert not any(layer.training for layer in run.model.modules())


def test_no_digits_and_a_last_batch_of_one_are_refused_before_the_race(digits):
    train, test = digits
    run = mh.speed.SpeedRun(BUILD, dataclasses.replace(RECIPE, epoch_size=33), "cpu")
    before = copy.deepcopy(run.model)
    with pytest.raises(mh.RecipeError, match=r"one image, .*choose another batch size"):
        run.race(train, test.images, seed=5)
    with pytest.raises(ValueError, match="at least one digit"):
        run.race(train.select(torch.arange(0)), test.images, seed=5)
    assert_equal_weights(run.model, before)


# On a GPU


def test_races_captured_on_a_gpu_learn_the_sample_repeat_and_leave_the_random_state(sample, gpu):
    """Kernels may add up in another order: the predictions of 2 images in 100 may differ."""
    run = mh.speed.SpeedRun(BUILD, dataclasses.replace(mh.ZOO["fast_99"].recipe, epochs=3), gpu)
    assert run.trainer.captured
    before = torch.cuda.get_rng_state(gpu)
    first, _, again = (run.race(sample.train, sample.test.images, seed) for seed in (1, 2, 1))
    assert torch.equal(torch.cuda.get_rng_state(gpu), before)
    assert (first == again).float().mean() >= 0.98
    assert (first == sample.test.labels).float().mean() > 0.9


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_a_gpu_races_to_about_the_weights_of_the_cpu(digits, gpu, optimizer):
    train, test = digits
    recipe = dataclasses.replace(RECIPE, optimizer=optimizer, learning_rate=1e-3)
    here, there = mh.speed.SpeedRun(BUILD, recipe, "cpu"), mh.speed.SpeedRun(BUILD, recipe, gpu)
    assert there.trainer.captured
    for run in (here, there):
        run.race(train, test.images, seed=1)
    expected, found = (mh.predict(run.model.cpu(), test.images) for run in (here, there))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


# Memory


@pytest.fixture
def made_library(monkeypatch):
    """Put a function in the place of `mallopt`, as if on Linux; None: a library without it."""

    def make(mallopt):
        library = types.SimpleNamespace(**({"mallopt": mallopt} if mallopt else {}))
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(ctypes, "CDLL", lambda _: library)

    return make


def test_fit_and_speed_run_ask_for_freed_memory_to_be_kept(digits, make_tiny, made_library):
    asked = []
    made_library(lambda *setting: asked.append(setting) or 1)
    recipe = dataclasses.replace(RECIPE, epochs=1)
    mh.fit(make_tiny(), *digits, recipe, device="cpu", verbose=False)
    by_fit = list(asked)
    mh.speed.SpeedRun(BUILD, RECIPE, "cpu")
    assert asked == 2 * by_fit
    assert len(set(by_fit)) == 2


def test_where_it_cannot_be_done_nothing_is(monkeypatch, made_library):
    def fail(_):
        raise OSError

    made_library(None)
    assert device.keep_freed_memory() is False
    monkeypatch.setattr(ctypes, "CDLL", fail)
    assert device.keep_freed_memory() is False
    made_library(lambda *_: 1)
    for name in ("darwin", "win32", "freebsd14"):
        monkeypatch.setattr(sys, "platform", name)
        assert device.keep_freed_memory() is False


def test_it_tells_whether_both_settings_were_taken(made_library):
    for answers, expected in (([1, 1], True), ([0, 1], False), ([1, 0], False)):
        made_library(lambda *_, left=answers: left.pop(0))
        assert device.keep_freed_memory() is expected


# Not getrusage's ru_maxrss: a process inherits that of the one that starts it.
PROGRAM = """
import json, pathlib, re, resource, torch
import mnist_helpers as mh
from mnist_helpers.device import keep_freed_memory

def digits(count):
    images = torch.full((count, 1, 28, 28), 7, dtype=torch.uint8)
    return mh.DigitSet(images, torch.arange(count) % 10)

def fit(train):
    recipe = mh.Recipe(
        epochs=1, batch_size=64, precision="float32", epoch_size=960, augmentation="shift"
    )
    mh.fit(mh.ZOO["two_conv"].build(), train, digits(64), recipe, device="cpu", verbose=False)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024

few = digits(1_000)
fit(few)
before = faults()
fit(few)
again, before = faults() - before, peak()
many = digits(200_000)
fit(many)
print(json.dumps([again, keep_freed_memory(), (peak() - before) / many.images.nbytes]))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc",
    reason="only glibc on Linux has these settings",
)
def test_a_training_uses_freed_memory_again_and_copies_no_digits():
    """The first convolution alone makes 15 tensors of 64 images of 32 x 26 x 26 floats."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    faults, kept, taken = json.loads(result.stdout)
    assert kept
    assert faults < 0.2 * 15 * 64 * 32 * 26 * 26 * 4 / os.sysconf("SC_PAGE_SIZE")
    assert 0.9 < taken < 1.5
