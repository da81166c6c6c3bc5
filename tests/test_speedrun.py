"""speedrun.py and memory.py: races that end as fit() does, and memory that is used again."""

import ctypes
import dataclasses
import functools
import json
import os
import platform
import subprocess
import sys

import pytest
import torch

import mnist_helpers as mh
from mnist_helpers import memory, speedrun

BUILD = mh.ZOO["fast_99"].build
RECIPE = mh.Recipe(
    epochs=2,
    batch_size=16,
    epoch_size=42,
    optimizer="muon",
    learning_rate=0.02,
    momentum=0.7,
    schedule="one_cycle",
    augmentation="shift",
    label_smoothing=0.1,
    keep="last",
    precision="float32",
)


@pytest.fixture(scope="module")
def digits(make_digits):
    """60 digits to train on, of which an epoch draws 42, 10 of them last; 30 to test on."""
    return make_digits(60, seed=1, name="made/train"), make_digits(30, seed=2, name="made/test")


def fitted(digits, recipe, seed, build=BUILD):
    model = build(seed=seed)
    recipe = dataclasses.replace(recipe, seed=seed, keep="last")
    mh.fit(model, *digits, recipe, device="cpu", verbose=False)
    return model


def assert_equal_weights(first, second):
    first, second = first.state_dict(), second.state_dict()
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def copy_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


# A race and fit

CHANGES = {
    "as it is": {},
    "bfloat16": {"precision": "bfloat16"},
    "whole batches": {"epoch_size": 48},
    "all digits, uneven": {"epoch_size": None},
    "more digits than there are": {"epoch_size": 28_160},
    "three epochs": {"epochs": 3, "schedule": "step"},
    "one epoch": {"epochs": 1},
    "no shift": {"augmentation": "none"},
    "slanted, with boxes": {"augmentation": "affine+erase"},
    "bent, with noise": {"augmentation": "elastic+noise"},
    "no smoothing": {"label_smoothing": 0.0, "weight_decay": 0.1},
    "adam": {"optimizer": "adam", "learning_rate": 1e-3},
    "adamw in bfloat16": {"optimizer": "adamw", "learning_rate": 1e-3, "precision": "bfloat16"},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.01},
    "sgd without momentum": {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.01},
    "adadelta": {"optimizer": "adadelta", "learning_rate": 1.0},
    "the best are to be kept": {"keep": "best"},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_every_race_ends_with_the_weights_of_fit_bit_for_bit(digits, changes):
    train, test = digits
    recipe = dataclasses.replace(RECIPE, **changes)
    run = mh.SpeedRun(BUILD, recipe, "cpu")
    for seed in (3, 4):
        predictions = run.race(train, test.images, seed)
        expected = fitted(digits, recipe, seed)
        assert_equal_weights(run.model, expected)
        assert torch.equal(predictions, mh.predict(expected, test.images).argmax(dim=1))


def test_a_race_draws_dropout_as_fit_does(digits):
    build = mh.ZOO["two_conv_dropout"].build
    run = mh.SpeedRun(build, RECIPE, "cpu")
    run.race(digits[0], digits[1].images, seed=5)
    assert_equal_weights(run.model, fitted(digits, RECIPE, 5, build))


def test_a_race_of_a_model_with_options_ends_as_fit_does(digits):
    build = functools.partial(mh.ZOO["lenet"].build, batch_norm=True, dropout=True)
    recipe = dataclasses.replace(RECIPE, augmentation="affine+erase")
    run = mh.SpeedRun(build, recipe, "cpu")
    run.race(digits[0], digits[1].images, seed=5)
    assert_equal_weights(run.model, fitted(digits, recipe, 5, build))


def test_equal_seeds_give_equal_races_also_after_another(digits):
    train, test = digits
    run = mh.SpeedRun(BUILD, RECIPE, "cpu")
    predictions, weights = [], []
    for seed in (7, 7, 8, 7):
        torch.rand(10)
        predictions.append(run.race(train, test.images, seed))
        weights.append(copy_of(run.model))
    for index in (1, 3):
        assert torch.equal(predictions[index], predictions[0])
        assert all(torch.equal(weights[index][name], weights[0][name]) for name in weights[0])
    assert any(not torch.equal(weights[2][name], weights[0][name]) for name in weights[0])
    fresh = mh.SpeedRun(BUILD, dataclasses.replace(RECIPE, seed=99), "cpu")
    assert torch.equal(fresh.race(train, test.images, 7), predictions[0])
    assert_equal_weights(fresh.model, run.model)


def test_a_race_starts_anew_after_one_that_diverged(digits):
    train, test = digits
    model = mh.SpeedRun(BUILD, RECIPE, "cpu")
    expected = model.race(train, test.images, 1)
    with torch.no_grad():
        for weight in model.model.parameters():
            weight.fill_(torch.nan)
    for state in model.optimizer.state.values():
        state["momentum"].fill_(1e3)
    assert torch.equal(model.race(train, test.images, 1), expected)


def test_a_race_leaves_the_random_state_and_the_digits(digits):
    train, test = digits
    images = [part.images.clone() for part in digits]
    before = torch.get_rng_state()
    run = mh.SpeedRun(BUILD, RECIPE, "cpu")
    run.race(train, test.images, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(train.images, images[0])
    assert torch.equal(test.images, images[1])


def test_the_digits_to_be_read_are_seen_after_training_as_they_are(digits):
    train, test = digits
    run = mh.SpeedRun(BUILD, RECIPE, "cpu")
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


@pytest.mark.parametrize("count", [1, 30])
def test_a_race_predicts_a_digit_an_image(digits, count):
    train, test = digits
    predictions = mh.SpeedRun(BUILD, RECIPE, "cpu").race(train, test.images[:count], seed=0)
    assert (predictions.dtype, predictions.shape) == (torch.int64, (count,))
    assert 0 <= predictions.min() <= predictions.max() <= 9
    assert predictions.device.type == "cpu"


def test_the_fast_model_learns_the_sample_in_a_race(sample):
    run = mh.SpeedRun(BUILD, mh.ZOO["fast_99"].recipe, "cpu")
    predictions = run.race(sample.train, sample.test.images, seed=0)
    assert (predictions == sample.test.labels).float().mean() > 0.9


@pytest.mark.parametrize("optimizer", ["muon", "sgd"])
def test_a_race_that_diverges_says_so(digits, optimizer):
    train, test = digits
    recipe = dataclasses.replace(RECIPE, optimizer=optimizer, learning_rate=1e30)
    run = mh.SpeedRun(BUILD, recipe, "cpu")
    with pytest.raises(mh.TrainingDiverged, match=r"the loss is .*smaller learning rate"):
        run.race(train, test.images, seed=0)


@pytest.mark.parametrize("changes", [{"epoch_size": 33}, {"batch_size": 59, "epoch_size": None}])
def test_a_last_batch_of_one_image_is_refused_before_the_race(digits, changes):
    train, test = digits
    run = mh.SpeedRun(BUILD, dataclasses.replace(RECIPE, **changes), "cpu")
    before = copy_of(run.model)
    with pytest.raises(mh.RecipeError, match=r"one image, .*choose another batch size"):
        run.race(train, test.images, seed=5)
    assert all(torch.equal(run.model.state_dict()[name], before[name]) for name in before)


def test_a_race_needs_digits_to_learn_from(digits):
    train, test = digits
    with pytest.raises(ValueError, match="at least one digit"):
        mh.SpeedRun(BUILD, RECIPE, "cpu").race(train.select(torch.arange(0)), test.images, seed=0)


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_on_the_cpu_nothing_is_captured(optimizer):
    assert not mh.SpeedRun(BUILD, dataclasses.replace(RECIPE, optimizer=optimizer), "cpu").captured


def test_a_device_that_is_not_here_is_refused():
    with pytest.raises(mh.RecipeError, match="no device 'tpu' here"):
        mh.SpeedRun(BUILD, RECIPE, "tpu")


# On a GPU


def test_the_captured_step_predicts_as_the_layers_one_by_one(sample, gpu):
    """Kernels may add up in another order: the predictions of 2 images in 100 may differ."""
    recipe = dataclasses.replace(mh.ZOO["fast_99"].recipe, epochs=3)
    captured, eager = mh.SpeedRun(BUILD, recipe, gpu), mh.SpeedRun(BUILD, recipe, gpu)
    assert captured.captured
    eager._graph = None
    assert not eager.captured
    for seed in (1, 2):
        first = captured.race(sample.train, sample.test.images, seed)
        second = eager.race(sample.train, sample.test.images, seed)
        assert (first == second).float().mean() >= 0.98
        assert (first == sample.test.labels).float().mean() > 0.9


def test_a_race_on_a_gpu_leaves_its_random_state(digits, gpu):
    run = mh.SpeedRun(BUILD, RECIPE, gpu)
    before = torch.cuda.get_rng_state(gpu)
    run.race(digits[0], digits[1].images, seed=3)
    assert torch.equal(torch.cuda.get_rng_state(gpu), before)


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_a_gpu_races_to_about_the_weights_of_the_cpu(digits, gpu, optimizer):
    train, test = digits
    recipe = dataclasses.replace(RECIPE, optimizer=optimizer, learning_rate=1e-3)
    here, there = mh.SpeedRun(BUILD, recipe, "cpu"), mh.SpeedRun(BUILD, recipe, gpu)
    assert there.captured == (optimizer == "muon")
    for run in (here, there):
        run.race(train, test.images, seed=1)
    expected, found = (mh.predict(run.model.cpu(), test.images) for run in (here, there))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


# Memory


def test_fit_and_speed_run_ask_for_freed_memory_to_be_kept(digits, make_tiny, monkeypatch):
    from mnist_helpers import training

    calls = []
    monkeypatch.setattr(training, "keep_freed_memory", lambda: calls.append("fit"))
    monkeypatch.setattr(speedrun, "keep_freed_memory", lambda: calls.append("run"))
    mh.fit(make_tiny(), *digits, dataclasses.replace(RECIPE, epochs=1), device="cpu", verbose=False)
    mh.SpeedRun(BUILD, RECIPE, "cpu")
    assert calls == ["fit", "run"]


class NoLibrary:
    """Stands in for ctypes where nothing may be called."""

    def __init__(self, *_):
        raise AssertionError("the C library was opened")


@pytest.mark.parametrize("name", ["darwin", "win32", "freebsd14"])
def test_elsewhere_than_on_linux_nothing_is_done(monkeypatch, name):
    monkeypatch.setattr(sys, "platform", name)
    monkeypatch.setattr(ctypes, "CDLL", NoLibrary)
    assert memory.keep_freed_memory() is False


@pytest.mark.parametrize("error", [None, OSError])
def test_where_the_c_library_cannot_do_it_nothing_is_done(monkeypatch, error):
    def library(_):
        if error is not None:
            raise error
        return object()

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", library)
    assert memory.keep_freed_memory() is False


@pytest.mark.parametrize(
    ("answers", "expected"), [((1, 1), True), ((0, 1), False), ((1, 0), False)]
)
def test_it_tells_whether_both_settings_were_taken(monkeypatch, answers, expected):
    class Library:
        def __init__(self, _):
            self.answers = iter(answers)

        def mallopt(self, *_):
            return next(self.answers)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", Library)
    assert memory.keep_freed_memory() is expected


on_glibc = pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc",
    reason="only glibc on Linux has these settings",
)
PROGRAM = """
import json, pathlib, re, resource, torch
import mnist_helpers as mh
from mnist_helpers.memory import keep_freed_memory

def digits(count):
    images = torch.full((count, 1, 28, 28), 7, dtype=torch.uint8)
    return mh.DigitSet(images, torch.arange(count) % 10)

def fit(train, **more):
    recipe = mh.Recipe(epochs=1, batch_size=64, precision="float32", epoch_size=960, **more)
    mh.fit(mh.ZOO["two_conv"].build(), train, digits(64), recipe, device="cpu", verbose=False)
"""
FAULTS = """
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

train = digits(1_000)
fit(train)
before = faults()
fit(train)
print(json.dumps([faults() - before, keep_freed_memory()]))
"""
# Not getrusage's ru_maxrss: a process inherits that of the one that starts it.
PEAK = """
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024

fit(digits(1_000))
before = peak()
train = digits(200_000)
fit(train, augmentation="shift")
print(json.dumps((peak() - before) / train.images.nbytes))
"""


def run_alone(program):
    """What a program prints, in a process of its own with one thread."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM + program],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@on_glibc
def test_a_second_training_asks_the_system_for_few_pages():
    """The first convolution alone makes 15 tensors of 64 images of 32 x 26 x 26 floats."""
    pages = 15 * 64 * 32 * 26 * 26 * 4 / os.sysconf("SC_PAGE_SIZE")
    faults, kept = run_alone(FAULTS)
    assert kept
    assert faults < 0.2 * pages


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its peak")
def test_a_training_on_many_digits_takes_little_more_memory_than_the_digits():
    assert 0.9 < run_alone(PEAK) < 1.5
