"""training.py: fit() against a loop written here, and how it stops, fails and goes on."""

import contextlib
import copy
import dataclasses
import functools
import re

import mnist_helpers as mh
import numpy as np
import pytest
import torch
from mnist_helpers.files import read_tensors, tensor_file, write_whole
from mnist_helpers.runs import CHECKPOINT
from mnist_helpers.trainer import Trainer
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, log_loss
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

DROPOUT = mh.ZOO["two_conv_dropout"].build
BATCH_NORMED = mh.ZOO["fast_99"].build
PLAIN = mh.Recipe(
    epochs=2, batch_size=16, learning_rate=0.01, precision="float32", keep="last", seed=7
)
# With it the model stays as it is, but for rounding.
STANDING = dataclasses.replace(PLAIN, optimizer="sgd", learning_rate=1e-12)


def fit(model, train, validation, recipe, **more):
    return mh.fit(model, train, validation, recipe, **{"device": "cpu", "verbose": False, **more})


def copy_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal_weights(first, second):
    first, second = (
        side.state_dict() if isinstance(side, nn.Module) else side for side in (first, second)
    )
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def is_finite(weights):
    return all(value.isfinite().all() for value in weights.values())


def without_seconds(history):
    records = [{**dataclasses.asdict(record), "seconds": 0} for record in history.epochs]
    return records, history.step_losses


@contextlib.contextmanager
def seen_by(model):
    """The batches of images that the model gets, in training mode and else."""
    training, other = [], []

    def hook(module, inputs):
        (training if module.training else other).append(inputs[0].clone())

    handle = model.register_forward_pre_hook(hook)
    yield training, other
    handle.remove()


def positions_in(digits, images):
    """Where each image stands in the set; each must be there once."""
    place = {image.numpy().tobytes(): index for index, image in enumerate(digits.images)}
    assert len(place) == len(digits)
    return [place[image.numpy().tobytes()] for image in images]


@contextlib.contextmanager
def stopped_at(model, step):
    """Ctrl-C in the forward pass of a training step, counted from 1."""
    count = 0

    def hook(module, _):
        nonlocal count
        count += module.training
        if count == step:
            raise KeyboardInterrupt

    handle = model.register_forward_pre_hook(hook)
    yield
    handle.remove()


@pytest.fixture
def digits(make_digits):
    """50 digits to train on, so that the last batch of 16 is of 2; 30 to validate on."""
    return make_digits(50, seed=1, name="made/train"), make_digits(30, seed=2, name="made/rest")


# What it computes

LOOPS = {
    "adam": (
        {"learning_rate": 1e-3, "weight_decay": 0.01},
        lambda weights: torch.optim.Adam(weights, 1e-3, weight_decay=0.01, foreach=False),
        lambda optimizer: lr_scheduler.ConstantLR(optimizer, 1.0),
    ),
    "adamw": (
        {"learning_rate": 1e-3, "weight_decay": 0.1, "schedule": "one_cycle", "epoch_size": 40},
        lambda weights: torch.optim.AdamW(weights, 1e-3, weight_decay=0.1, foreach=False),
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer, 1e-3, total_steps=6, cycle_momentum=False
        ),
    ),
    "sgd": (
        {"momentum": 0.8, "weight_decay": 0.1, "schedule": "cosine"},
        lambda weights: torch.optim.SGD(
            weights, 0.01, momentum=0.8, weight_decay=0.1, foreach=False
        ),
        lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 8),
    ),
    "adadelta": (
        {
            **{"learning_rate": 0.1, "weight_decay": 0.1, "label_smoothing": 0.3},
            **{"schedule": "step", "gamma": 0.7},
        },
        lambda weights: torch.optim.Adadelta(weights, 0.1, weight_decay=0.1, foreach=False),
        lambda optimizer: lr_scheduler.StepLR(optimizer, 4, 0.7),
    ),
    "muon": (
        {"augmentation": "affine+noise", "momentum": 0.6, "weight_decay": 0.2},
        lambda weights: mh.muon.Muon(weights, 0.01, momentum=0.6, weight_decay=0.2),
        lambda optimizer: lr_scheduler.ConstantLR(optimizer, 1.0),
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_fit_equals_a_plain_loop(digits, name):
    train, validation = digits
    changes, make_optimizer, make_scheduler = LOOPS[name]
    recipe = dataclasses.replace(PLAIN, optimizer=name, **changes)
    fitted, model = DROPOUT(seed=3).eval(), DROPOUT(seed=3)
    history = fit(fitted, train, validation, recipe)

    losses, rates = [], []
    optimizer = make_optimizer(model.parameters())
    scheduler = make_scheduler(optimizer)
    for epoch in range(2):
        torch.manual_seed(mh.recipes.epoch_seed(7, epoch))
        order = torch.randperm(50)[: recipe.epoch_size]
        model.train()
        for chosen in order.split(16):
            images, labels = train.images[chosen], train.labels[chosen]
            if recipe.augmentation != "none":
                images = mh.augmentation.noise(mh.augmentation.affine(images))
            logits = model(images)
            optimizer.zero_grad()
            F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing).backward()
            optimizer.step()
            losses.append(F.cross_entropy(logits, labels).item())
            rates.append(optimizer.param_groups[0]["lr"])
            scheduler.step()

    np.testing.assert_allclose(history.step_losses, losses, rtol=1e-3)
    for mine, expected in zip(fitted.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-4)
    last_rates = [record.learning_rate for record in history.epochs]
    np.testing.assert_allclose(last_rates, [rates[len(rates) // 2 - 1], rates[-1]], rtol=1e-6)


def log_lines(printed):
    """Epoch, batch, batches, loss and accuracy of each line of `log_every`."""
    found = re.findall(
        r"^epoch +(\d+)  batch (\d+)/(\d+)  train loss (\d+\.\d{4}) accuracy (\d+\.\d\d)%$",
        *(printed, re.MULTILINE),
    )
    return [(*map(int, line[:3]), float(line[3]), float(line[4]) / 100) for line in found]


@pytest.mark.parametrize(("epoch_size", "batches"), [(None, 4), (35, 3)])
def test_figures_and_log_lines_are_about_all_samples_so_far(
    digits, make_tiny, capsys, epoch_size, batches
):
    """The model stands still: they are scikit-learn's for the untrained model."""
    train, validation = digits
    model = make_tiny()
    probabilities = model(train.images).double().softmax(dim=1).detach()
    recipe = dataclasses.replace(STANDING, epoch_size=epoch_size, label_smoothing=0.1)
    with seen_by(model) as (seen, _):
        history = fit(model, train, validation, recipe, log_every=1)
    lines = log_lines(capsys.readouterr().out)
    assert [line[:3] for line in lines] == [
        (epoch, batch, batches) for epoch in (1, 2) for batch in range(1, batches + 1)
    ]
    for epoch, batch, _, *found in lines:
        start = batches * (epoch - 1)
        drawn = positions_in(train, torch.cat(seen[start : start + batch]))
        labels, rows = train.labels[drawn], probabilities[drawn]
        loss = log_loss(labels, rows, labels=range(10))
        accuracy = accuracy_score(labels, rows.argmax(dim=1))
        assert found == pytest.approx([loss, accuracy], abs=6e-5)
        if batch == batches:
            record = history.epochs[epoch - 1]
            assert record.train_loss == pytest.approx(loss, rel=1e-5)
            assert record.train_accuracy == accuracy


def test_validation_figures_are_scikit_learns_and_the_history_tells_where_it_ran(digits, make_tiny):
    train, validation = digits
    model = make_tiny(dropout=0.5)
    history = fit(model, train, validation, PLAIN)
    assert not any(module.training for module in model.modules())
    probabilities = model(validation.images).double().softmax(dim=1).detach()
    expected = log_loss(validation.labels, probabilities)
    assert history.epochs[-1].validation_loss == pytest.approx(expected, rel=1e-5)
    expected = accuracy_score(validation.labels, probabilities.argmax(dim=1))
    assert history.epochs[-1].validation_accuracy == expected
    assert (history.device, history.precision, history.interrupted) == ("cpu", "float32", False)
    assert [record.epoch for record in history.epochs] == [1, 2]
    assert history.seconds == pytest.approx(sum(record.seconds for record in history.epochs))
    assert " ".join(history.to_frame().columns) == (
        "epoch train_loss train_accuracy validation_loss validation_accuracy learning_rate seconds"
    )


def test_bfloat16_trains_to_about_the_same_and_its_losses_are_float32(digits):
    recipe = dataclasses.replace(PLAIN, learning_rate=1e-3)
    exact, rough = DROPOUT(), DROPOUT()
    first = fit(exact, *digits, recipe)
    second = fit(rough, *digits, dataclasses.replace(recipe, precision="bfloat16"))
    assert second.precision == "bfloat16"
    assert first.step_losses != second.step_losses
    np.testing.assert_allclose(first.step_losses, second.step_losses, rtol=0.1)
    losses = torch.tensor(second.step_losses)
    assert (losses.bfloat16() != losses).all()
    assert all(weight.dtype == torch.float32 for weight in rough.parameters())


@pytest.mark.parametrize("every", [None, 1, 3, 4, 5])
def test_what_is_printed_and_that_it_changes_no_result(digits, make_tiny, capsys, every):
    quiet = make_tiny(dropout=0.2)
    first = fit(quiet, *digits, PLAIN)
    assert capsys.readouterr().out == ""
    batches = range(every, 5, every) if every else []
    expected = [(epoch, batch, 4) for epoch in (1, 2) for batch in batches]
    for verbose in (False, True):
        telling = make_tiny(dropout=0.2)
        second = fit(telling, *digits, PLAIN, log_every=every, verbose=verbose)
        printed = capsys.readouterr().out
        assert [line[:3] for line in log_lines(printed)] == expected
        others = [line[:8] for line in printed.splitlines() if "batch" not in line]
        assert others == (["epoch  1", "epoch  2", "Training"] if verbose else [])
        assert_equal_weights(quiet, telling)
        assert without_seconds(first) == without_seconds(second)


def test_log_every_under_one_is_refused_before_training(digits, make_tiny, tmp_path):
    model = make_tiny()
    before = copy_of(model)
    with pytest.raises(mh.RecipeError, match="log_every is 0: it must be at least 1"):
        fit(model, *digits, PLAIN, log_every=0, run_dir=tmp_path / "run")
    assert_equal_weights(model, before)
    assert not (tmp_path / "run").exists()


def test_a_set_without_digits_is_refused(digits, make_tiny):
    train, _ = digits
    nothing = train.select(torch.arange(0))
    for pair in ((train, nothing), (nothing, train)):
        with pytest.raises(ValueError, match="at least one digit"):
            fit(make_tiny(), *pair, PLAIN)


class Viewing(nn.Module):
    """As most tutorials have it: `view`, which needs the usual layout of memory."""

    def __init__(self):
        super().__init__()
        self.normalize, self.conv, self.linear = (
            mh.Normalize(),
            nn.Conv2d(1, 3, 5),
            nn.Linear(1728, 10),
        )

    def forward(self, images):
        return self.linear(self.conv(self.normalize(images)).view(-1, 1728))


def test_a_model_that_calls_view_is_trained_and_loaded(digits, tmp_path):
    torch.manual_seed(0)
    model = Viewing()
    flattened = nn.Sequential(
        mh.Normalize(), *map(copy.deepcopy, (model.conv, nn.Flatten(), model.linear))
    )
    history = fit(model, *digits, PLAIN)
    fit(flattened, *digits, PLAIN)
    mh.save_run(tmp_path, model, PLAIN, None, history)
    loaded = mh.load_run(tmp_path, Viewing())[0]
    logits = mh.evaluation.predict_logits(flattened, digits[1].images)
    for trained in (model, loaded):
        torch.testing.assert_close(mh.evaluation.predict_logits(trained, digits[1].images), logits)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((nn.Flatten(), nn.Linear(784, 10)), "begin with mnist_helpers.Normalize"),
        (
            (nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(784, 10)),
            "begin with mnist_helpers.Normalize",
        ),
        ((mh.Normalize(), nn.Flatten(), nn.Linear(784, 5)), "must give ten logits"),
        ((mh.Normalize(), nn.Flatten(), nn.Linear(783, 10)), r"783x10\)$"),
        ((mh.Normalize(), nn.Flatten(), nn.LSTM(784, 10)), "the model fails on uint8 images"),
    ],
)
def test_a_model_that_takes_no_bytes_or_gives_no_ten_logits_is_refused(digits, layers, message):
    with pytest.raises(ValueError, match=message):
        fit(nn.Sequential(*layers), *digits, PLAIN)


# Which images it sees


@pytest.mark.parametrize(("epoch_size", "sizes"), [(20, [16, 4]), (1, [1]), (49, [16, 16, 16, 1])])
def test_an_epoch_draws_so_many_distinct_digits_and_the_next_draws_others(
    digits, make_tiny, epoch_size, sizes
):
    train, validation = digits
    model = make_tiny()
    with seen_by(model) as (batches, _):
        history = fit(model, train, validation, dataclasses.replace(PLAIN, epoch_size=epoch_size))
    assert [len(batch) for batch in batches] == 2 * sizes
    assert len(history.step_losses) == 2 * len(sizes)
    first, second = (
        set(positions_in(train, torch.cat(part)))
        for part in (batches[: len(sizes)], batches[len(sizes) :])
    )
    assert len(first) == len(second) == epoch_size
    assert first != second


@pytest.mark.parametrize("epoch_size", [50, 28_160])
def test_an_epoch_of_all_digits_or_more_is_the_whole_set_bit_for_bit(digits, epoch_size):
    whole, given = DROPOUT(), DROPOUT()
    recipe = dataclasses.replace(PLAIN, schedule="one_cycle")
    first = fit(whole, *digits, recipe)
    second = fit(given, *digits, dataclasses.replace(recipe, epoch_size=epoch_size))
    assert_equal_weights(whole, given)
    assert without_seconds(first) == without_seconds(second)


@pytest.mark.parametrize(
    "augmentation", ["shift", "noise+affine", "shift+affine+elastic+erase+noise"]
)
def test_training_sees_each_batch_changed_and_validation_as_it_is(digits, make_tiny, augmentation):
    """Each epoch is drawn from its own seed: first the order, then batch by batch the changes."""
    train, validation = digits
    before = [copied for part in digits for copied in (part.images.clone(), part.labels.clone())]
    model = make_tiny()
    with seen_by(model) as (batches, others):
        fit(model, *digits, dataclasses.replace(PLAIN, augmentation=augmentation))
    expected = []
    for epoch in range(2):
        generator = torch.Generator().manual_seed(mh.recipes.epoch_seed(7, epoch))
        for places in torch.randperm(50, generator=generator).split(16):
            images = train.images[places]
            for name in augmentation.split("+"):
                images = getattr(mh.augmentation, name)(images, generator)
            expected.append(images)
    assert all(map(torch.equal, batches, expected))
    assert len(batches) == len(expected)
    assert [len(images) for images in others] == [1, 2, 30, 30]  # first, the model is tried
    assert all(torch.equal(images, validation.images) for images in others[2:])
    after = [tensor for part in digits for tensor in (part.images, part.labels)]
    assert all(map(torch.equal, after, before))  # the given digits are not changed


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_seed_decides_all_whatever_was_drawn_before(digits, precision):
    recipe = dataclasses.replace(PLAIN, precision=precision, augmentation="affine+noise")
    models, histories = [DROPOUT() for _ in range(3)], []
    for model, seed in zip(models, (7, 7, 8), strict=True):
        torch.rand(10)
        before = torch.get_rng_state()
        histories.append(fit(model, *digits, dataclasses.replace(recipe, seed=seed)))
        assert torch.equal(torch.get_rng_state(), before)
    assert_equal_weights(models[0], models[1])
    assert without_seconds(histories[0]) == without_seconds(histories[1])
    assert not torch.equal(models[2][-1].weight, models[0][-1].weight)


def test_a_gpu_trains_to_about_the_same_by_the_seed_and_is_left_alone_by_the_cpu(
    digits, gpu, tmp_path
):
    changed = dataclasses.replace(PLAIN, augmentation="affine+elastic+erase+noise")
    before = torch.cuda.get_rng_state(gpu)
    plain = fit(mh.ZOO["two_conv"].build(), *digits, PLAIN).step_losses
    assert torch.equal(torch.cuda.get_rng_state(gpu), before)
    there, first, second, other = (
        fit(mh.ZOO["two_conv"].build(), *digits, recipe, device=gpu, run_dir=tmp_path).step_losses
        for recipe in (PLAIN, changed, changed, dataclasses.replace(changed, seed=8))
    )
    np.testing.assert_allclose(plain, there, rtol=0.05)
    np.testing.assert_allclose(first, second, rtol=0.05)
    assert first[0] != other[0]
    loaded, _ = mh.load_run(tmp_path)
    assert all(weight.device.type == "cpu" for weight in loaded.parameters())


# Batch normalisation


@pytest.mark.parametrize("changes", [{"batch_size": 7}, {"batch_size": 1}, {"epoch_size": 17}])
def test_a_last_batch_of_one_image_is_refused_under_batch_norm(digits, tmp_path, changes):
    recipe = dataclasses.replace(PLAIN, **changes)
    model = BATCH_NORMED()
    before = copy_of(model)
    with pytest.raises(mh.RecipeError) as caught:
        fit(model, *digits, recipe, run_dir=tmp_path / "run")
    [line] = str(caught.value).splitlines()
    assert f"batch_size {recipe.batch_size}" in line
    assert "last batch of an epoch holds one image" in line
    assert line.endswith("choose another batch size")
    assert_equal_weights(model, before)
    assert not (tmp_path / "run").exists()


def test_one_image_is_refused_where_the_maps_have_one_place_only(digits):
    one_place = nn.Sequential(
        *(mh.Normalize(), nn.Conv2d(1, 2, 28), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten()),
        nn.Linear(2, 10),
    )
    torch.manual_seed(0)
    with pytest.raises(mh.RecipeError, match="holds one image"):
        fit(one_place, *digits, dataclasses.replace(PLAIN, batch_size=7))
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert drawn == torch.rand(1)  # the trial drew nothing
    fit(one_place, *digits, dataclasses.replace(PLAIN, batch_size=8, epochs=1))


def filters_normed():
    return nn.Sequential(
        *(mh.Normalize(), nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)),
        *(nn.Flatten(), nn.Linear(2 * 26 * 26, 10)),
    )


@pytest.mark.parametrize(
    ("build", "changes"),
    [
        (BATCH_NORMED, {"batch_size": 50}),
        (BATCH_NORMED, {"epoch_size": 18}),
        (filters_normed, {"batch_size": 7}),
        (filters_normed, {"batch_size": 1}),
        (DROPOUT, {"epoch_size": 1}),
    ],
)
def test_two_images_or_one_without_batch_norm_over_features_are_enough(digits, build, changes):
    model = build()
    history = fit(model, *digits, dataclasses.replace(PLAIN, epochs=1, **changes))
    assert len(history.epochs) == 1
    assert is_finite(model.state_dict())


# After each epoch


def test_after_epoch_gets_the_model_of_each_epoch_and_may_draw_and_set_the_mode(digits):
    model, given, weights = DROPOUT(), [], []

    def keep(trained):
        given.append(trained)
        weights.append(copy_of(trained))
        torch.manual_seed(4)
        torch.rand(100)
        trained.eval()

    with torch.random.fork_rng():
        history = fit(model, *digits, PLAIN, after_epoch=keep)
    assert [trained is model for trained in given] == [True] * 2
    for epochs, kept in enumerate(weights, start=1):
        alone = DROPOUT()
        expected = fit(alone, *digits, dataclasses.replace(PLAIN, epochs=epochs))
        assert_equal_weights(alone, kept)
    assert without_seconds(history) == without_seconds(expected)


def test_after_epoch_comes_after_the_checkpoint_of_each_whole_epoch_trained_here(
    digits, make_tiny, tmp_path
):
    saved, recipe = [], dataclasses.replace(PLAIN, epochs=5)

    def look(_):
        saved.append(mh.load_run(tmp_path, make_tiny())[1].epochs)
        if len(saved) == 3:
            raise KeyboardInterrupt

    model = make_tiny()
    with stopped_at(model, step=7):
        fit(model, *digits, recipe, run_dir=tmp_path, after_epoch=look)
    assert saved == [1]
    history = fit(make_tiny(), *digits, recipe, run_dir=tmp_path, resume=True, after_epoch=look)
    assert saved == [1, 2, 3]
    assert history.interrupted
    assert len(history.epochs) == mh.load_run(tmp_path, make_tiny())[1].epochs == 3


# Which weights it keeps


@pytest.fixture
def worsening(make_digits):
    """Digits to train on, and others that the model gets worse at with every epoch."""
    train = make_digits(50, seed=1)
    return train, mh.DigitSet(train.images, (train.labels + 1) % 10, "made/shifted")


def test_best_keeps_the_best_epoch_and_last_the_last(worsening, make_tiny, tmp_path):
    one_epoch, best, last = make_tiny(), make_tiny(), make_tiny()
    fit(one_epoch, *worsening, dataclasses.replace(PLAIN, epochs=1))
    history = fit(best, *worsening, dataclasses.replace(PLAIN, epochs=3, keep="best"))
    fit(last, *worsening, dataclasses.replace(PLAIN, epochs=3, keep="last"), run_dir=tmp_path)
    assert history.best.epoch == 1
    assert_equal_weights(best, one_epoch)
    assert not torch.equal(last[-1].weight, one_epoch[-1].weight)
    # Killed now, it would leave its checkpoint only.
    loaded, run = mh.load_run(tmp_path, make_tiny(seed=9))
    assert_equal_weights(loaded, one_epoch)
    assert (run.finished, run.epochs, run.metrics) == (False, 3, {})


def test_best_is_the_highest_accuracy_then_the_lowest_loss():
    def record(epoch, accuracy, loss):
        return mh.history.EpochRecord(epoch, 0.0, 0.0, loss, accuracy, 0.1, 1.0)

    records = [record(1, 0.8, 0.1), record(2, 0.9, 0.7), record(3, 0.9, 0.5), record(4, 0.9, 0.6)]
    assert mh.History("cpu", "float32", records).best.epoch == 3
    assert mh.History("cpu", "float32").best is None


def test_patience_ends_training_unless_it_improves(worsening, make_tiny):
    train, _ = worsening
    for data, patience, rate, ran in (
        (worsening, 1, 0.01, 2),
        (worsening, 2, 0.01, 3),
        (worsening, None, 0.01, 5),
        ((train, train), 1, 1e-4, 5),
    ):
        recipe = dataclasses.replace(PLAIN, epochs=5, patience=patience, learning_rate=rate)
        history = fit(make_tiny(), *data, recipe)
        assert len(history.epochs) == ran
        assert not history.interrupted


# Stopping and going on


def assert_equal_runs(first, second):
    """Two pairs of a history and a run's folder."""
    assert without_seconds(first[0]) == without_seconds(second[0])
    one, two = (load_file(folder / CHECKPOINT) for _, folder in (first, second))
    assert_equal_weights(one, two)


LENET = functools.partial(mh.ZOO["lenet"].build, batch_norm=True, dropout=True)
STOPPED = {
    "sgd without momentum": (DROPOUT, {"optimizer": "sgd", "momentum": 0.0, "keep": "best"}),
    "sgd": (LENET, {"optimizer": "sgd", "augmentation": "elastic+erase", "schedule": "cosine"}),
    "adam": (DROPOUT, {"optimizer": "adam", "weight_decay": 0.01, "augmentation": "affine+noise"}),
    "adamw": (DROPOUT, {"optimizer": "adamw", "schedule": "one_cycle", "keep": "best"}),
    "adadelta": (DROPOUT, {"optimizer": "adadelta", "learning_rate": 1.0, "schedule": "step"}),
    "muon": (BATCH_NORMED, {"optimizer": "muon", "augmentation": "shift", "epoch_size": 40}),
}


@pytest.mark.parametrize(("build", "changes"), STOPPED.values(), ids=STOPPED)
def test_a_run_stopped_twice_goes_on_as_if_it_had_not_been(digits, tmp_path, build, changes):
    recipe = dataclasses.replace(PLAIN, epochs=3, **changes)
    whole, model = build(), build()
    straight = fit(whole, *digits, recipe, run_dir=tmp_path / "a")
    for step, resume, epochs in ((6, False, 1), (5, True, 2)):
        with stopped_at(model, step):
            history = fit(model, *digits, recipe, run_dir=tmp_path / "b", resume=resume)
        assert len(history.epochs) == epochs
        model = build(seed=99)
        torch.rand(10)
    resumed = fit(model, *digits, recipe, run_dir=tmp_path / "b", resume=True)
    assert_equal_weights(whole, model)
    assert_equal_runs((straight, tmp_path / "a"), (resumed, tmp_path / "b"))


def test_two_epochs_and_two_more_equal_four_and_then_nothing_is_left(digits, tmp_path):
    recipe = dataclasses.replace(PLAIN, epochs=4, schedule="step")
    whole, half, rest = DROPOUT(), DROPOUT(), DROPOUT(seed=99)
    straight = fit(whole, *digits, recipe, run_dir=tmp_path / "a")
    fit(half, *digits, dataclasses.replace(recipe, epochs=2), run_dir=tmp_path / "b")
    for _ in range(2):  # the second time it is finished
        resumed = fit(rest, *digits, recipe, run_dir=tmp_path / "b", resume=True)
        assert_equal_weights(whole, rest)
        assert_equal_runs((straight, tmp_path / "a"), (resumed, tmp_path / "b"))
        rest = DROPOUT(seed=98)


def test_ctrl_c_while_a_checkpoint_is_written_loses_no_epoch(
    digits, make_tiny, tmp_path, monkeypatch
):
    calls = []

    def fsync(_):
        calls.append(1)
        if len(calls) == 3:  # before the first epoch, after it, after the second
            raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", fsync)
    history = fit(make_tiny(), *digits, dataclasses.replace(PLAIN, epochs=4), run_dir=tmp_path)
    assert history.interrupted
    assert len(history.epochs) == mh.load_run(tmp_path, make_tiny())[1].epochs == 2
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


@pytest.mark.parametrize(("step", "epochs"), [(2, 0), (11, 2)])
def test_ctrl_c_ends_training_with_the_history_and_weights_so_far(
    digits, tmp_path, capsys, step, epochs
):
    recipe = dataclasses.replace(PLAIN, epochs=4, keep="best")
    model, expected = DROPOUT(), DROPOUT()
    if epochs:
        fit(expected, *digits, dataclasses.replace(recipe, epochs=epochs))
    before = torch.get_rng_state()
    with stopped_at(model, step):
        history = fit(model, *digits, recipe, run_dir=tmp_path, verbose=True)
    assert history.interrupted
    assert len(history.epochs) == epochs
    assert f"Interrupted: {epochs} of 4 epochs" in capsys.readouterr().out
    assert not model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert_equal_weights(model, expected)
    loaded, run = mh.load_run(tmp_path)
    assert (run.finished, run.epochs) == (False, epochs)
    assert_equal_weights(loaded, expected)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"learning_rate": 0.02}, "recipe (learning_rate 0.01, here 0.02)"),
        ({"seed": 8, "schedule": "cosine"}, "recipe (epochs 2, here 3; schedule none, here cosine"),
        ({"augmentation": "affine+noise"}, "recipe (augmentation none, here affine+noise)"),
        ({"epoch_size": 50}, "recipe (epoch_size None, here 50)"),
        ({"data": "fewer"}, "data "),
        ({"data": "renamed"}, "data "),
        ({"data": "another split"}, "data "),
        ({"model": mh.ZOO["two_conv"].build}, "model (lenet, here two_conv)"),
        # Dropout has no weights, so only the name can tell.
        (
            {"model": functools.partial(mh.ZOO["lenet"].build, dropout=True)},
            "model (lenet, here lenet+dropout)",
        ),
    ],
)
def test_another_recipe_model_or_data_cannot_go_on(make_digits, tmp_path, changes, told):
    whole = make_digits(80)
    train, validation = whole.split(30, seed=0)
    fit(mh.ZOO["lenet"].build(), train, validation, PLAIN, run_dir=tmp_path)
    checkpoint = (tmp_path / CHECKPOINT).read_bytes()
    changes = dict(changes)
    model = changes.pop("model", mh.ZOO["lenet"].build)(seed=5)
    before = copy_of(model)
    other = changes.pop("data", None)
    if other == "fewer":
        validation = validation.select(torch.arange(20))
    if other == "renamed":
        train = mh.DigitSet(train.images, train.labels, "mnist/train")
    if other == "another split":
        train, validation = whole.split(30, seed=1)
    recipe = dataclasses.replace(PLAIN, epochs=3, **changes)
    with pytest.raises(mh.CheckpointError, match=re.escape(f"another {told}")):
        fit(model, train, validation, recipe, run_dir=tmp_path, resume=True)
    assert_equal_weights(model, before)
    assert (tmp_path / CHECKPOINT).read_bytes() == checkpoint


def test_a_run_that_goes_on_in_another_precision_tells_both(digits, tmp_path, monkeypatch):
    build, recipe = mh.ZOO["two_conv"].build, dataclasses.replace(PLAIN, precision="auto")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    model = build()
    with stopped_at(model, step=6):
        fit(model, *digits, recipe, run_dir=tmp_path)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    history = fit(build(), *digits, recipe, run_dir=tmp_path, resume=True)
    assert history.precision == "bfloat16, then float32"
    assert mh.load_run(tmp_path)[1].precision == history.precision


def test_a_checkpoint_of_an_older_version_goes_on_as_one_without_the_new(digits, tmp_path):
    recipe = dataclasses.replace(PLAIN, epochs=3, schedule="one_cycle")
    whole, stopped, rest = DROPOUT(), DROPOUT(), DROPOUT(seed=99)
    straight = fit(whole, *digits, recipe, run_dir=tmp_path / "a")
    with stopped_at(stopped, step=6):
        fit(stopped, *digits, recipe, run_dir=tmp_path / "b")
    path = tmp_path / "b" / CHECKPOINT
    tensors, info = read_tensors(path)
    assert "step_losses" not in info  # they are many, and a header has room for 100 MB
    info["step_losses"] = tensors.pop("step_losses").tolist()
    for fields in (info["recipe"], info["run"]["recipe"]):
        del fields["augmentation"], fields["epoch_size"]  # older versions do not have them
    write_whole(path, tensor_file(tensors, info))
    for changes, told in (
        ({"augmentation": "shift"}, "augmentation none, here shift"),
        ({"epoch_size": 20}, "epoch_size None, here 20"),
    ):
        newer = dataclasses.replace(recipe, **changes)
        with pytest.raises(mh.CheckpointError, match=rf"another recipe \({told}\)"):
            fit(rest, *digits, newer, run_dir=tmp_path / "b", resume=True)
    resumed = fit(rest, *digits, recipe, run_dir=tmp_path / "b", resume=True)
    assert_equal_weights(whole, rest)
    assert_equal_runs((straight, tmp_path / "a"), (resumed, tmp_path / "b"))


def test_more_epochs_cannot_be_had_of_a_schedule_that_counts_them(digits, make_tiny, tmp_path):
    recipe = dataclasses.replace(PLAIN, schedule="cosine")
    fit(make_tiny(), *digits, recipe, run_dir=tmp_path)
    longer = dataclasses.replace(recipe, epochs=4)
    with pytest.raises(mh.CheckpointError, match="another recipe"):
        fit(make_tiny(), *digits, longer, run_dir=tmp_path, resume=True)


def test_a_run_cannot_go_on_with_fewer_epochs(digits, make_tiny, tmp_path):
    fit(make_tiny(), *digits, dataclasses.replace(PLAIN, epochs=3), run_dir=tmp_path)
    shorter = dataclasses.replace(PLAIN, epochs=2)
    with pytest.raises(mh.CheckpointError, match=r"another recipe \(epochs 3, here 2\)"):
        fit(make_tiny(), *digits, shorter, run_dir=tmp_path, resume=True)


def test_a_checkpoint_of_other_shapes_cannot_go_on(digits, tmp_path):
    def wide(width):
        layers = nn.Linear(784, width), nn.Linear(width, 10)
        return nn.Sequential(mh.Normalize(), nn.Flatten(), *layers)

    fit(wide(10), *digits, PLAIN, run_dir=tmp_path)
    with pytest.raises(mh.CheckpointError, match="does not fit"):
        fit(wide(12), *digits, PLAIN, run_dir=tmp_path, resume=True)


def test_resume_needs_a_checkpoint(digits, make_tiny, tmp_path):
    with pytest.raises(mh.CheckpointError, match=re.escape(str(tmp_path))):
        fit(make_tiny(), *digits, PLAIN, run_dir=tmp_path, resume=True)
    with pytest.raises(mh.CheckpointError, match="run_dir"):
        fit(make_tiny(), *digits, PLAIN, resume=True)


@pytest.mark.slow
def test_a_damaged_header_is_an_error_of_ours_wherever_it_is(digits, tmp_path):
    """A bit flip in the header of a checkpoint: either it does not matter, or CheckpointError."""

    def small():
        return nn.Sequential(mh.Normalize(), nn.AvgPool2d(14), nn.Flatten(), nn.Linear(4, 10))

    recipe = dataclasses.replace(PLAIN, epochs=1, batch_size=50)
    fit(small(), *digits, recipe, run_dir=tmp_path)
    path = tmp_path / CHECKPOINT
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    refused, escaped = 0, []
    for position in range(0, end, 5):
        flipped = bytes([content[position] ^ 0x15])
        path.write_bytes(content[:position] + flipped + content[position + 1 :])
        for use in (
            lambda: mh.load_run(tmp_path, small()),
            lambda: fit(small(), *digits, recipe, run_dir=tmp_path, resume=True),
        ):
            try:
                use()
            except mh.CheckpointError:
                refused += 1
            except Exception as error:
                escaped.append(f"at {position}: {type(error).__name__} {error}")
    assert not escaped, escaped
    assert refused > 100


def test_a_folder_that_cannot_be_written_fails_before_training(digits, make_tiny, tmp_path):
    (tmp_path / "file").write_text("")
    model = make_tiny()
    before = copy_of(model)
    with pytest.raises(mh.CheckpointError, match="cannot write"):
        fit(model, *digits, PLAIN, run_dir=tmp_path / "file" / "run")
    assert_equal_weights(model, before)


# Divergence


def test_a_loss_of_nan_stops_at_its_step_and_gives_the_best_weights_back(digits, tmp_path):
    model, one_epoch = DROPOUT(), DROPOUT()
    fit(one_epoch, *digits, dataclasses.replace(PLAIN, epochs=1))
    count = 0

    def break_weights(module, _):
        nonlocal count
        count += module.training
        if count == 7:  # the third step of epoch 2
            module[-1].weight.data.fill_(torch.nan)

    handle = model.register_forward_pre_hook(break_weights)
    with pytest.raises(mh.TrainingDiverged, match="nan in epoch 2, step 3"):
        fit(model, *digits, PLAIN, run_dir=tmp_path)
    handle.remove()
    assert count == 7
    assert_equal_weights(model, one_epoch)
    assert is_finite(load_file(tmp_path / CHECKPOINT))
    assert mh.load_run(tmp_path)[1].epochs == 1


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "muon"])
def test_a_huge_learning_rate_diverges_by_name(digits, tmp_path, optimizer):
    model = DROPOUT()
    recipe = dataclasses.replace(PLAIN, learning_rate=1e30, optimizer=optimizer)
    with pytest.raises(mh.TrainingDiverged, match=r"epoch 1, step \d: .*smaller.*1e\+30"):
        fit(model, *digits, recipe, run_dir=tmp_path)
    assert is_finite(model.state_dict())
    assert is_finite(load_file(tmp_path / CHECKPOINT))


def test_divergence_in_the_last_step_shows_in_validation(digits, make_tiny):
    model = make_tiny()
    before = copy_of(model)
    recipe = dataclasses.replace(STANDING, batch_size=50, learning_rate=3e38, momentum=0.0)
    with pytest.raises(mh.TrainingDiverged, match="epoch 1, step 1"):
        fit(model, *digits, recipe)
    assert_equal_weights(model, before)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "adadelta", "muon"])
def test_on_a_gpu_a_graph_takes_the_steps_that_are_taken_layer_by_layer(
    digits, gpu, optimizer, monkeypatch
):
    def no_graph(_graph):
        raise RuntimeError("not today")

    recipe = dataclasses.replace(PLAIN, optimizer=optimizer, schedule="cosine")
    train = digits[0].to(gpu)
    graph = Trainer(DROPOUT().to(gpu), recipe)
    for epoch in range(2):
        graph.epoch(train, epoch)
    assert graph.captured
    monkeypatch.setattr(torch.cuda, "graph", no_graph)
    layers = Trainer(DROPOUT().to(gpu), recipe)
    with pytest.warns(UserWarning, match="not today"):
        layers.epoch(train, 0)
    layers.epoch(train, 1)
    assert not layers.captured
    for one, other in zip(graph.model.parameters(), layers.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
