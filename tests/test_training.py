"""training.py: fit() against a loop written here, and how it stops, fails and goes on."""

import contextlib
import dataclasses
import functools
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import ndimage
from sklearn.metrics import accuracy_score, log_loss
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

import mnist_helpers as mh
from mnist_helpers.checkpoints import CHECKPOINT
from mnist_helpers.storage import read_tensors, write_tensors
from mnist_helpers.training import forward_and_loss, seed_all

DROPOUT = mh.ZOO["two_conv_dropout"].build
PLAIN = mh.Recipe(
    epochs=2, batch_size=16, learning_rate=0.01, precision="float32", keep="last", seed=7
)


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


def without_seconds(history):
    records = [{**dataclasses.asdict(record), "seconds": 0} for record in history.epochs]
    return records, history.step_losses


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
        {"learning_rate": 1e-3, "weight_decay": 0.1, "schedule": "one_cycle"},
        lambda weights: torch.optim.AdamW(weights, 1e-3, weight_decay=0.1, foreach=False),
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer, 1e-3, total_steps=8, cycle_momentum=False
        ),
    ),
    "sgd": (
        {"learning_rate": 0.01, "momentum": 0.8, "schedule": "cosine"},
        lambda weights: torch.optim.SGD(weights, 0.01, momentum=0.8, foreach=False),
        lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 8),
    ),
    "adadelta": (
        {"learning_rate": 0.1, "schedule": "step", "gamma": 0.7, "label_smoothing": 0.1},
        lambda weights: torch.optim.Adadelta(weights, 0.1, foreach=False),
        lambda optimizer: lr_scheduler.StepLR(optimizer, 4, 0.7),
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
        torch.manual_seed(mh.epoch_seed(7, epoch))
        order = torch.randperm(50)
        model.train()
        for chosen in order.split(16):
            logits, labels = model(train.images[chosen]), train.labels[chosen]
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
    np.testing.assert_allclose(last_rates, [rates[3], rates[7]], rtol=1e-6)


def test_training_figures_are_weighted_by_sample(digits, make_tiny):
    """At a rate of almost nothing they are those of the untrained model over all samples."""
    train, validation = digits
    model = make_tiny()
    probabilities = model(train.images).double().softmax(dim=1).detach()
    recipe = dataclasses.replace(PLAIN, epochs=1, learning_rate=1e-12, optimizer="sgd")
    history = fit(model, train, validation, recipe)
    [record] = history.epochs
    assert record.train_loss == pytest.approx(log_loss(train.labels, probabilities), rel=1e-5)
    assert record.train_accuracy == accuracy_score(train.labels, probabilities.argmax(dim=1))
    by_hand = np.average(history.step_losses, weights=[16, 16, 16, 2])
    assert record.train_loss == pytest.approx(by_hand, rel=1e-12)
    assert abs(by_hand - np.mean(history.step_losses)) > 1e-3  # the uneven batch does matter


def test_validation_figures_are_scikit_learns(digits, make_tiny):
    train, validation = digits
    model = make_tiny(dropout=0.5)
    history = fit(model, train, validation, dataclasses.replace(PLAIN, epochs=1))
    probabilities = model(validation.images).double().softmax(dim=1).detach()
    expected = log_loss(validation.labels, probabilities)
    assert history.epochs[0].validation_loss == pytest.approx(expected, rel=1e-5)
    expected = accuracy_score(validation.labels, probabilities.argmax(dim=1))
    assert history.epochs[0].validation_accuracy == expected


def test_label_smoothing_is_in_the_gradient_and_not_in_the_losses(digits, make_tiny):
    train, validation = digits
    model, by_hand = make_tiny(), make_tiny()
    log_probabilities = by_hand(train.images).log_softmax(dim=1)
    right = log_probabilities[torch.arange(50), train.labels]
    (-(0.8 * right + 0.2 * log_probabilities.mean(dim=1)).mean()).backward()
    recipe = mh.Recipe(
        epochs=1, batch_size=50, optimizer="sgd", learning_rate=0.1, label_smoothing=0.2,
        precision="float32",
    )  # fmt: skip
    history = fit(model, train, validation, recipe)
    for mine, expected in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(mine.data, expected.data - 0.1 * expected.grad)
    plain = -right.mean().item()
    assert history.step_losses == [pytest.approx(plain, rel=1e-5)]
    assert history.epochs[0].train_loss == pytest.approx(plain, rel=1e-5)


def test_the_history_tells_where_it_ran(digits, make_tiny):
    history = fit(make_tiny(), *digits, PLAIN)
    assert (history.device, history.precision, history.interrupted) == ("cpu", "float32", False)
    assert [record.epoch for record in history.epochs] == [1, 2]
    assert len(history.step_losses) == 8
    assert history.seconds == pytest.approx(sum(record.seconds for record in history.epochs))
    assert list(history.to_frame().columns) == [
        "epoch",
        "train_loss",
        "train_accuracy",
        "validation_loss",
        "validation_accuracy",
        "learning_rate",
        "seconds",
    ]


def test_bfloat16_trains_to_about_the_same(digits):
    recipe = dataclasses.replace(PLAIN, learning_rate=1e-3)
    exact, rough = DROPOUT(), DROPOUT()
    first = fit(exact, *digits, recipe)
    second = fit(rough, *digits, dataclasses.replace(recipe, precision="bfloat16"))
    assert second.precision == "bfloat16"
    assert first.step_losses != second.step_losses
    np.testing.assert_allclose(first.step_losses, second.step_losses, rtol=0.1)
    assert all(weight.dtype == torch.float32 for weight in rough.parameters())


def test_one_batch_can_be_learned_by_heart(sample):
    batch = sample.train.select(torch.arange(0, 3_200, 100))
    model = mh.ZOO["two_conv"].build()
    history = fit(model, batch, batch, mh.Recipe(epochs=30, batch_size=32, precision="float32"))
    assert mh.loss_and_accuracy(model, batch)[1] == 1.0
    assert history.epochs[-1].train_loss < 0.1 < history.epochs[0].train_loss


def test_the_model_ends_in_evaluation_mode(digits, make_tiny):
    model = make_tiny(dropout=0.5).train()
    fit(model, *digits, PLAIN)
    assert not any(module.training for module in model.modules())


def test_verbose_prints_a_line_an_epoch_and_the_time(digits, make_tiny, capsys):
    fit(make_tiny(), *digits, PLAIN)
    assert capsys.readouterr().out == ""
    fit(make_tiny(), *digits, PLAIN, verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:8] for line in lines] == ["epoch  1", "epoch  2", "Training"]


LOG_LINE = re.compile(
    r"epoch +(\d+)  batch (\d+)/(\d+)  train loss (\d+\.\d{4}) accuracy (\d+\.\d\d)%"
)


def log_lines(printed):
    """Epoch, batch, batches, loss and accuracy of each line of `log_every`."""
    matches = [LOG_LINE.fullmatch(line) for line in printed.splitlines()]
    return [
        (*(int(match[index]) for index in (1, 2, 3)), float(match[4]), float(match[5]) / 100)
        for match in matches
        if match
    ]


@pytest.mark.parametrize(
    ("every", "batches"), [(1, [1, 2, 3, 4]), (2, [2, 4]), (3, [3]), (4, [4]), (5, [])]
)
@pytest.mark.parametrize("verbose", [False, True])
def test_a_line_every_so_many_batches(digits, make_tiny, capsys, every, batches, verbose):
    fit(make_tiny(), *digits, PLAIN, log_every=every, verbose=verbose)
    printed = capsys.readouterr().out
    expected = [(epoch, batch, 4) for epoch in (1, 2) for batch in batches]
    assert [line[:3] for line in log_lines(printed)] == expected
    assert len(printed.splitlines()) == len(expected) + (3 if verbose else 0)


def test_a_log_line_is_about_all_samples_of_the_epoch_so_far(digits, make_tiny, capsys):
    """At a rate of almost nothing: the figures of the untrained model over those samples."""
    train, validation = digits
    model = make_tiny()
    probabilities = model(train.images).double().softmax(dim=1).detach()
    recipe = dataclasses.replace(PLAIN, learning_rate=1e-12, optimizer="sgd")
    fit(model, train, validation, recipe, log_every=1)
    lines = log_lines(capsys.readouterr().out)
    for epoch, batch, _, loss, accuracy in lines:
        with torch.random.fork_rng():
            torch.manual_seed(mh.epoch_seed(7, epoch - 1))
            seen = torch.randperm(50)[: 16 * batch]
        expected = log_loss(train.labels[seen], probabilities[seen], labels=range(10))
        assert loss == pytest.approx(expected, abs=6e-5)
        expected = accuracy_score(train.labels[seen], probabilities[seen].argmax(dim=1))
        assert accuracy == pytest.approx(expected, abs=6e-5)
    assert len(lines) == 8


def test_the_last_log_line_of_an_epoch_agrees_with_its_record(digits, make_tiny, capsys):
    recipe = dataclasses.replace(PLAIN, label_smoothing=0.1)
    history = fit(make_tiny(dropout=0.2), *digits, recipe, log_every=2)
    last = log_lines(capsys.readouterr().out)[1::2]
    for line, record in zip(last, history.epochs, strict=True):
        assert line[0] == record.epoch
        assert line[3] == round(record.train_loss, 4)
        assert line[4] == pytest.approx(record.train_accuracy, abs=6e-5)


def test_log_every_changes_no_result(digits):
    quiet, telling = DROPOUT(), DROPOUT()
    first = fit(quiet, *digits, PLAIN)
    second = fit(telling, *digits, PLAIN, log_every=1)
    assert_equal_weights(quiet, telling)
    assert without_seconds(first) == without_seconds(second)


@pytest.mark.parametrize("every", [0, -3])
def test_log_every_under_one_is_refused_before_training(digits, make_tiny, tmp_path, every):
    model = make_tiny()
    before = copy_of(model)
    with pytest.raises(mh.RecipeError, match=f"log_every is {every}: it must be at least 1"):
        fit(model, *digits, PLAIN, log_every=every, run_dir=tmp_path / "run")
    assert_equal_weights(model, before)
    assert not (tmp_path / "run").exists()


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


# Epochs of a part of the digits


@pytest.mark.parametrize(
    ("epoch_size", "sizes"),
    [(20, [16, 4]), (32, [16, 16]), (10, [10]), (1, [1]), (49, [16, 16, 16, 1])],
)
def test_an_epoch_draws_as_many_digits_as_it_should(digits, make_tiny, epoch_size, sizes):
    train, validation = digits
    model = make_tiny()
    with seen_by(model) as (batches, _):
        history = fit(model, train, validation, dataclasses.replace(PLAIN, epoch_size=epoch_size))
    assert [len(batch) for batch in batches] == 2 * sizes
    assert len(history.step_losses) == 2 * len(sizes)


def test_the_digits_of_an_epoch_are_distinct_and_those_of_the_next_are_others(digits, make_tiny):
    train, validation = digits
    model = make_tiny()
    with seen_by(model) as (batches, _):
        fit(model, train, validation, dataclasses.replace(PLAIN, epoch_size=20))
    first, second = (positions_in(train, torch.cat(part)) for part in (batches[:2], batches[2:]))
    assert len(set(first)) == len(set(second)) == 20
    assert set(first) != set(second)
    assert len(set(train.labels[first].tolist())) > 5


@pytest.mark.parametrize("epoch_size", [50, 51, 28_160])
def test_an_epoch_of_all_digits_or_more_is_the_whole_set_bit_for_bit(digits, epoch_size):
    whole, given = DROPOUT(), DROPOUT()
    recipe = dataclasses.replace(PLAIN, schedule="one_cycle")
    first = fit(whole, *digits, recipe)
    second = fit(given, *digits, dataclasses.replace(recipe, epoch_size=epoch_size))
    assert_equal_weights(whole, given)
    assert without_seconds(first) == without_seconds(second)


def test_training_figures_of_a_part_are_weighted_by_the_digits_drawn(digits, make_tiny):
    """At a rate of almost nothing they are those of the untrained model over those digits."""
    train, validation = digits
    model = make_tiny()
    probabilities = model(train.images).double().softmax(dim=1).detach()
    recipe = dataclasses.replace(PLAIN, learning_rate=1e-12, optimizer="sgd", epoch_size=35)
    with seen_by(model) as (batches, _):
        history = fit(model, train, validation, recipe)
    for record, part in zip(history.epochs, (batches[:3], batches[3:]), strict=True):
        drawn = positions_in(train, torch.cat(part))
        labels, rows = train.labels[drawn], probabilities[drawn]
        expected = log_loss(labels, rows, labels=range(10))
        assert record.train_loss == pytest.approx(expected, rel=1e-5)
        assert record.train_accuracy == accuracy_score(labels, rows.argmax(dim=1))


def test_the_schedule_counts_the_steps_of_the_smaller_epochs(digits, make_tiny):
    """Three batches an epoch: six steps in all, after the last of which the rate is lowest."""
    recipe = dataclasses.replace(PLAIN, epoch_size=40, schedule="one_cycle", learning_rate=0.01)
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], 0.01)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=6, cycle_momentum=False)
    rates = []
    for _ in range(5):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    rates.append(scheduler.get_last_lr()[0])
    history = fit(make_tiny(), *digits, recipe)
    found = [record.learning_rate for record in history.epochs]
    np.testing.assert_allclose(found, [rates[2], rates[5]], rtol=1e-6)


def test_log_lines_count_the_digits_of_the_smaller_epochs(digits, make_tiny, capsys):
    train, validation = digits
    model = make_tiny()
    probabilities = model(train.images).double().softmax(dim=1).detach()
    recipe = dataclasses.replace(PLAIN, learning_rate=1e-12, optimizer="sgd", epoch_size=40)
    with seen_by(model) as (batches, _):
        fit(model, train, validation, recipe, log_every=1)
    lines = log_lines(capsys.readouterr().out)
    expected = [(epoch, batch, 3) for epoch in (1, 2) for batch in (1, 2, 3)]
    assert [line[:3] for line in lines] == expected
    for epoch, batch, _, loss, accuracy in lines:
        drawn = positions_in(train, torch.cat(batches[3 * (epoch - 1) : 3 * (epoch - 1) + batch]))
        labels, rows = train.labels[drawn], probabilities[drawn]
        assert loss == pytest.approx(log_loss(labels, rows, labels=range(10)), abs=6e-5)
        expected = accuracy_score(labels, rows.argmax(dim=1))
        assert accuracy == pytest.approx(expected, abs=6e-5)


# Shifted images

SHIFTED = dataclasses.replace(PLAIN, augmentation="shift")


def shifted_copies(image):
    """The image moved by up to a pixel to any side, by scipy; the first is moved by none."""
    moves = sorted(
        ((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)),
        key=lambda move: move != (0, 0),
    )
    return [
        ndimage.shift(image.numpy(), (0, *move), order=0, prefilter=False).tobytes()
        for move in moves
    ]


def moves_of(digits, recipe, model):
    """Which image each one seen in training was, and where it was moved; and what else was seen."""
    train, validation = digits
    with seen_by(model) as (batches, others):
        fit(model, train, validation, recipe)
    place = {
        copied: (index, move)
        for index, image in enumerate(train.images)
        for move, copied in enumerate(shifted_copies(image))
    }
    return [place[image.numpy().tobytes()] for image in torch.cat(batches)], others


def test_shifted_training_sees_each_digit_once_in_one_of_nine_places(digits, make_tiny):
    found, others = moves_of(digits, SHIFTED, make_tiny())
    for epoch in (found[:50], found[50:]):
        assert sorted(index for index, _ in epoch) == list(range(50))
        assert {move for _, move in epoch} == set(range(9))
    assert len(others) == 2
    for images in others:
        assert torch.equal(images, digits[1].images)


def test_every_batch_every_epoch_and_every_seed_has_shifts_of_its_own(digits, make_tiny):
    first, second = (
        [move for _, move in moves_of(digits, recipe, make_tiny())[0]]
        for recipe in (SHIFTED, dataclasses.replace(SHIFTED, seed=8))
    )
    batches = [tuple(moves[at : at + 16]) for moves in (first, second) for at in (0, 16, 50, 66)]
    assert len(set(batches)) == 8


def test_a_shift_keeps_the_order_of_the_digits(digits, make_tiny):
    """The order is drawn before the shifts, so that it is the same with and without them."""
    seen = []
    for recipe in (PLAIN, SHIFTED):
        model = make_tiny()
        with seen_by(model) as (batches, _):
            fit(model, *digits, dataclasses.replace(recipe, epochs=1))
        seen.append(torch.cat(batches))
    plain, shifted = seen
    for before, after in zip(plain, shifted, strict=True):
        assert after.numpy().tobytes() in shifted_copies(before)
    assert not torch.equal(plain, shifted)


def test_equal_seeds_shift_alike_and_others_otherwise(digits):
    models = [DROPOUT() for _ in range(4)]
    recipes = [SHIFTED, SHIFTED, dataclasses.replace(SHIFTED, seed=8), PLAIN]
    for model, recipe in zip(models, recipes, strict=True):
        torch.rand(10)
        fit(model, *digits, recipe)
    assert_equal_weights(models[0], models[1])
    for other in models[2:]:
        assert not torch.equal(other[-1].weight, models[0][-1].weight)


def test_the_given_digits_are_not_shifted(digits, make_tiny):
    train, _ = digits
    before = train.images.clone()
    fit(make_tiny(), *digits, SHIFTED)
    assert torch.equal(train.images, before)


# Changed images

CHANGES = [*mh.AUGMENTATIONS, "affine+noise", "shift+affine+elastic+erase+noise"]
every_change = pytest.mark.parametrize("augmentation", CHANGES)


@every_change
def test_training_sees_each_batch_changed_and_validation_as_it_is(digits, make_tiny, augmentation):
    """Each epoch is drawn from its own seed: first the order, then batch by batch the changes."""
    train, validation = digits
    model = make_tiny()
    with seen_by(model) as (batches, others):
        fit(model, *digits, dataclasses.replace(PLAIN, augmentation=augmentation))
    expected = []
    for epoch in range(2):
        generator = torch.Generator().manual_seed(mh.epoch_seed(7, epoch))
        for places in torch.randperm(50, generator=generator).split(16):
            images = train.images[places]
            for name in augmentation.split("+"):
                images = getattr(mh, name)(images, generator)
            expected.append(images)
    assert all(map(torch.equal, batches, expected))
    assert len(batches) == len(expected)
    assert len(others) == 2
    assert all(torch.equal(images, validation.images) for images in others)


@every_change
def test_changed_images_keep_their_labels(digits, make_tiny, augmentation):
    """At a rate of almost nothing the losses are those of the untrained model, by scikit-learn."""
    train, _ = digits
    recipe = dataclasses.replace(PLAIN, learning_rate=1e-12, optimizer="sgd")
    plain, changed, untrained = make_tiny(), make_tiny(), make_tiny()
    with seen_by(plain) as (before, _):
        fit(plain, *digits, recipe)
    with seen_by(changed) as (after, _):
        history = fit(changed, *digits, dataclasses.replace(recipe, augmentation=augmentation))
    for originals, images, loss in zip(before, after, history.step_losses, strict=True):
        labels = train.labels[positions_in(train, originals)]
        probabilities = untrained(images).double().softmax(dim=1).detach()
        assert loss == pytest.approx(log_loss(labels, probabilities, labels=range(10)), rel=1e-5)
        assert not torch.equal(originals, images)


@every_change
def test_equal_seeds_change_alike_and_others_otherwise(digits, make_tiny, augmentation):
    recipe = dataclasses.replace(PLAIN, augmentation=augmentation)
    models = [make_tiny(dropout=0.5) for _ in range(4)]
    recipes = [recipe, recipe, dataclasses.replace(recipe, seed=8), PLAIN]
    histories = []
    for model, each in zip(models, recipes, strict=True):
        torch.rand(10)
        before = torch.get_rng_state()
        histories.append(fit(model, *digits, each))
        assert torch.equal(torch.get_rng_state(), before)
    assert_equal_weights(models[0], models[1])
    assert without_seconds(histories[0]) == without_seconds(histories[1])
    for other in models[2:]:
        assert not torch.equal(other[-1].weight, models[0][-1].weight)


def test_the_order_of_the_names_matters(digits, make_tiny):
    first, second = make_tiny(), make_tiny()
    fit(first, *digits, dataclasses.replace(PLAIN, augmentation="affine+noise"))
    fit(second, *digits, dataclasses.replace(PLAIN, augmentation="noise+affine"))
    assert not torch.equal(first[-1].weight, second[-1].weight)


@every_change
def test_the_given_digits_are_not_changed(digits, make_tiny, augmentation):
    before = [copied for part in digits for copied in (part.images.clone(), part.labels.clone())]
    fit(make_tiny(), *digits, dataclasses.replace(PLAIN, augmentation=augmentation))
    after = [tensor for part in digits for tensor in (part.images, part.labels)]
    assert all(map(torch.equal, after, before))


@pytest.mark.parametrize("augmentation", ["affine+noise", "elastic+erase"])
def test_a_gpu_trains_on_changed_images_by_the_seed(digits, gpu, augmentation):
    recipe = dataclasses.replace(PLAIN, augmentation=augmentation)
    models = [mh.ZOO["two_conv"].build() for _ in range(3)]
    losses = [
        fit(model, *digits, dataclasses.replace(recipe, seed=seed), device=gpu).step_losses
        for model, seed in zip(models, (7, 7, 8), strict=True)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)
    assert losses[0][0] != losses[2][0]


# A step


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_logits_and_loss_of_a_step_are_float32_in_either_precision(make_digits, smoothing):
    model, digits = mh.ZOO["two_conv"].build(), make_digits(20)
    exact, loss = forward_and_loss(model, digits.images, digits.labels, smoothing, "float32")
    by_hand = model(digits.images)
    assert torch.equal(exact, by_hand)
    expected = F.cross_entropy(by_hand, digits.labels, label_smoothing=smoothing)
    assert loss.item() == expected.item()
    rough, rough_loss = forward_and_loss(model, digits.images, digits.labels, smoothing, "bfloat16")
    assert rough.dtype == rough_loss.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0, atol=0.02)
    torch.testing.assert_close(rough_loss, loss, rtol=0.02, atol=0)


def test_seeding_gives_the_generator_of_the_cpu():
    with torch.random.fork_rng():
        generator = seed_all(5, torch.device("cpu"))
        drawn, after = torch.rand(3, generator=generator), torch.rand(3)
    expected = torch.rand(6, generator=torch.Generator().manual_seed(5))
    assert torch.equal(torch.cat([drawn, after]), expected)


# Batch normalisation

BATCH_NORMED = mh.ZOO["fast_99"].build


@pytest.mark.parametrize(
    "changes", [{"batch_size": 7}, {"batch_size": 49}, {"epoch_size": 17}, {"epoch_size": 1}]
)
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


def test_batches_of_one_image_are_refused_under_batch_norm(digits):
    with pytest.raises(mh.RecipeError, match=r"batch_size 1 .*choose another batch size"):
        fit(BATCH_NORMED(), *digits, dataclasses.replace(PLAIN, batch_size=1))


@pytest.mark.parametrize("changes", [{"batch_size": 16}, {"batch_size": 50}, {"epoch_size": 18}])
def test_two_images_are_enough_for_batch_norm(digits, changes):
    model = BATCH_NORMED()
    history = fit(model, *digits, dataclasses.replace(PLAIN, **changes))
    assert len(history.epochs) == 2
    assert is_finite(model.state_dict())


@pytest.mark.parametrize("changes", [{"batch_size": 7}, {"epoch_size": 1}, {"batch_size": 1}])
def test_one_image_is_enough_for_batch_norm_of_filters(digits, changes):
    model = nn.Sequential(
        *(mh.Normalize(), nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)),
        *(nn.Flatten(), nn.Linear(2 * 26 * 26, 10)),
    )
    history = fit(model, *digits, dataclasses.replace(PLAIN, **changes))
    assert len(history.epochs) == 2


@pytest.mark.parametrize("changes", [{"batch_size": 7}, {"epoch_size": 1}, {"batch_size": 1}])
def test_without_batch_norm_one_image_is_enough(digits, make_tiny, changes):
    history = fit(make_tiny(), *digits, dataclasses.replace(PLAIN, **changes))
    assert len(history.epochs) == 2


def test_the_running_figures_of_batch_norm_go_on_too(digits, tmp_path):
    recipe = dataclasses.replace(SHIFTED, optimizer="muon", learning_rate=0.02, epoch_size=40)
    whole, half, rest = BATCH_NORMED(), BATCH_NORMED(), BATCH_NORMED(seed=99)
    fit(whole, *digits, recipe)
    fit(half, *digits, dataclasses.replace(recipe, epochs=1), run_dir=tmp_path)
    fit(rest, *digits, recipe, run_dir=tmp_path, resume=True)
    assert_equal_weights(whole, rest)


def test_a_model_with_options_goes_on_bit_for_bit(digits, tmp_path):
    build = functools.partial(mh.ZOO["lenet"].build, batch_norm=True, dropout=True)
    recipe = dataclasses.replace(PLAIN, augmentation="affine+noise")
    whole, half, rest = build(), build(), build(seed=99)
    fit(whole, *digits, recipe)
    fit(half, *digits, dataclasses.replace(recipe, epochs=1), run_dir=tmp_path)
    fit(rest, *digits, recipe, run_dir=tmp_path, resume=True)
    assert_equal_weights(whole, rest)


def test_an_option_without_weights_counts_when_going_on(digits, tmp_path):
    """Dropout has none, so only the model's name can tell."""
    fit(mh.ZOO["lenet"].build(), *digits, PLAIN, run_dir=tmp_path)
    recipe = dataclasses.replace(PLAIN, epochs=3)
    with pytest.raises(mh.CheckpointError, match=r"another model \(lenet, here lenet\+dropout\)"):
        fit(mh.ZOO["lenet"].build(dropout=True), *digits, recipe, run_dir=tmp_path, resume=True)


# After each epoch


def test_after_epoch_gets_the_model_of_each_epoch_in_order(digits, make_tiny):
    model, given, weights = make_tiny(), [], []

    def keep(trained):
        given.append(trained)
        weights.append(copy_of(trained))

    fit(model, *digits, dataclasses.replace(PLAIN, epochs=3), after_epoch=keep)
    assert [trained is model for trained in given] == [True] * 3
    for epochs, kept in enumerate(weights, start=1):
        alone = make_tiny()
        fit(alone, *digits, dataclasses.replace(PLAIN, epochs=epochs))
        assert_equal_weights(alone, kept)


def test_after_epoch_may_draw_random_numbers_and_set_the_mode(digits):
    def draw(trained):
        torch.manual_seed(4)
        torch.rand(100)
        trained.eval()

    plain, disturbed = DROPOUT(), DROPOUT()
    first = fit(plain, *digits, PLAIN)
    with torch.random.fork_rng():
        second = fit(disturbed, *digits, PLAIN, after_epoch=draw)
    assert_equal_weights(plain, disturbed)
    assert without_seconds(first) == without_seconds(second)


def test_after_epoch_comes_after_the_checkpoint(digits, make_tiny, tmp_path):
    saved = []

    def look(_):
        saved.append(mh.load_run(tmp_path, make_tiny())[1].epochs)

    fit(make_tiny(), *digits, PLAIN, run_dir=tmp_path, after_epoch=look)
    assert saved == [1, 2]
    recipe = dataclasses.replace(PLAIN, epochs=4)
    fit(make_tiny(), *digits, recipe, run_dir=tmp_path, resume=True, after_epoch=look)
    assert saved == [1, 2, 3, 4]


def test_after_epoch_is_not_called_for_an_epoch_that_was_stopped(digits):
    model, calls = DROPOUT(), []
    with stopped_at(model, step=7):
        history = fit(model, *digits, PLAIN, after_epoch=calls.append)
    assert history.interrupted
    assert len(calls) == 1


def test_ctrl_c_in_after_epoch_loses_no_epoch(digits, make_tiny, tmp_path):
    def stop(_):
        raise KeyboardInterrupt

    history = fit(make_tiny(), *digits, PLAIN, run_dir=tmp_path, after_epoch=stop)
    assert history.interrupted
    assert len(history.epochs) == mh.load_run(tmp_path, make_tiny())[1].epochs == 1


def test_a_set_without_digits_is_refused(digits, make_tiny):
    train, _ = digits
    nothing = train.select(torch.arange(0))
    for pair in ((train, nothing), (nothing, train)):
        with pytest.raises(ValueError, match="at least one digit"):
            fit(make_tiny(), *pair, PLAIN)


# Randomness


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_equal_seeds_give_equal_bits_whatever_was_drawn_before(digits, precision):
    recipe = dataclasses.replace(PLAIN, precision=precision)
    torch.manual_seed(1)
    first, second = DROPOUT(), DROPOUT()
    one = fit(first, *digits, recipe)
    torch.rand(1_000)
    two = fit(second, *digits, recipe)
    assert_equal_weights(first, second)
    assert without_seconds(one) == without_seconds(two)


def test_another_seed_gives_another_order(digits, make_tiny):
    one = fit(make_tiny(), *digits, PLAIN)
    two = fit(make_tiny(), *digits, dataclasses.replace(PLAIN, seed=8))
    assert one.step_losses != two.step_losses


def test_the_epochs_differ_in_their_order(digits, make_tiny):
    recipe = dataclasses.replace(PLAIN, learning_rate=1e-12, optimizer="sgd")
    losses = fit(make_tiny(), *digits, recipe).step_losses
    assert not np.allclose(losses[:4], losses[4:])


def test_fit_leaves_the_random_state(digits):
    before = torch.get_rng_state()
    fit(DROPOUT(), *digits, PLAIN)
    assert torch.equal(torch.get_rng_state(), before)


def test_fit_on_the_cpu_leaves_the_random_state_of_a_gpu(digits, gpu):
    before = torch.cuda.get_rng_state(gpu)
    fit(DROPOUT(), *digits, PLAIN)
    assert torch.equal(torch.cuda.get_rng_state(gpu), before)


def test_a_gpu_trains_to_about_the_same(digits, gpu, tmp_path):
    here, there = mh.ZOO["two_conv"].build(), mh.ZOO["two_conv"].build()
    one = fit(here, *digits, PLAIN)
    two = fit(there, *digits, PLAIN, device=gpu, run_dir=tmp_path)
    np.testing.assert_allclose(one.step_losses, two.step_losses, rtol=0.05)
    loaded, _ = mh.load_run(tmp_path)
    assert all(weight.device.type == "cpu" for weight in loaded.parameters())


# Which weights it keeps


@pytest.fixture
def worsening(make_digits):
    """Digits to train on, and others that the model gets worse at with every epoch."""
    train = make_digits(50, seed=1)
    return train, mh.DigitSet(train.images, (train.labels + 1) % 10, "made/shifted")


def test_best_keeps_the_best_epoch_and_last_the_last(worsening, make_tiny):
    one_epoch, best, last = make_tiny(), make_tiny(), make_tiny()
    fit(one_epoch, *worsening, dataclasses.replace(PLAIN, epochs=1))
    history = fit(best, *worsening, dataclasses.replace(PLAIN, epochs=3, keep="best"))
    fit(last, *worsening, dataclasses.replace(PLAIN, epochs=3, keep="last"))
    assert history.best.epoch == 1
    assert_equal_weights(best, one_epoch)
    assert not torch.equal(last[-1].weight, one_epoch[-1].weight)


def test_best_is_the_highest_accuracy_then_the_lowest_loss():
    def record(epoch, accuracy, loss):
        return mh.EpochRecord(epoch, 0.0, 0.0, loss, accuracy, 0.1, 1.0)

    records = [record(1, 0.8, 0.1), record(2, 0.9, 0.7), record(3, 0.9, 0.5), record(4, 0.9, 0.6)]
    assert mh.History("cpu", "float32", records).best.epoch == 3
    assert mh.History("cpu", "float32").best is None


@pytest.mark.parametrize(("patience", "ran"), [(1, 2), (2, 3), (None, 5)])
def test_patience_ends_training(worsening, make_tiny, patience, ran):
    recipe = dataclasses.replace(PLAIN, epochs=5, patience=patience)
    history = fit(make_tiny(), *worsening, recipe)
    assert len(history.epochs) == ran
    assert not history.interrupted


def test_patience_does_not_end_a_run_that_improves(digits, make_tiny):
    train, _ = digits
    recipe = dataclasses.replace(PLAIN, epochs=5, patience=1, learning_rate=1e-4)
    history = fit(make_tiny(), train, train, recipe)
    assert len(history.epochs) == 5


# Stopping and going on

OPTIMIZERS = [
    {"optimizer": "sgd"},
    {"optimizer": "sgd", "momentum": 0.0},
    {"optimizer": "adam", "weight_decay": 0.01},
    {"optimizer": "adamw", "weight_decay": 0.1},
    {"optimizer": "adadelta", "learning_rate": 1.0},
    {"optimizer": "muon", "learning_rate": 0.02, "augmentation": "shift", "epoch_size": 49},
    {"optimizer": "adam", "augmentation": "affine+noise"},
    {"optimizer": "sgd", "augmentation": "elastic+erase"},
]
every_optimizer = pytest.mark.parametrize(
    "changes", OPTIMIZERS, ids=lambda changes: "-".join(map(str, changes.values()))
)


def assert_equal_runs(first, second):
    """Two pairs of a history and a run's folder."""
    assert without_seconds(first[0]) == without_seconds(second[0])
    one, two = (load_file(folder / CHECKPOINT) for _, folder in (first, second))
    assert_equal_weights(one, two)


@every_optimizer
def test_two_and_two_epochs_equal_four(digits, tmp_path, changes):
    schedule = "none" if changes["optimizer"] == "adam" else "step"
    recipe = dataclasses.replace(PLAIN, epochs=4, schedule=schedule, **changes)
    whole, half, rest = DROPOUT(), DROPOUT(), DROPOUT(seed=99)
    straight = fit(whole, *digits, recipe, run_dir=tmp_path / "a")
    fit(half, *digits, dataclasses.replace(recipe, epochs=2), run_dir=tmp_path / "b")
    torch.rand(10)
    resumed = fit(rest, *digits, recipe, run_dir=tmp_path / "b", resume=True)
    assert_equal_weights(whole, rest)
    assert_equal_runs((straight, tmp_path / "a"), (resumed, tmp_path / "b"))
    names = load_file(tmp_path / "a" / CHECKPOINT)
    has_state = recipe.optimizer != "sgd" or recipe.momentum > 0
    assert any(name.startswith("optimizer/") for name in names) == has_state


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


@every_optimizer
def test_a_stopped_run_goes_on_as_if_it_had_not_been(digits, tmp_path, changes):
    keep = "last" if changes["optimizer"] == "sgd" else "best"
    recipe = dataclasses.replace(PLAIN, epochs=4, schedule="one_cycle", keep=keep, **changes)
    whole, stopped, rest = DROPOUT(), DROPOUT(), DROPOUT(seed=99)
    straight = fit(whole, *digits, recipe, run_dir=tmp_path / "a")
    with stopped_at(stopped, step=11):  # the third step of epoch 3
        fit(stopped, *digits, recipe, run_dir=tmp_path / "b")
    resumed = fit(rest, *digits, recipe, run_dir=tmp_path / "b", resume=True)
    assert_equal_weights(whole, rest)
    assert_equal_runs((straight, tmp_path / "a"), (resumed, tmp_path / "b"))


def test_a_run_may_be_stopped_again_and_again(digits, tmp_path):
    recipe = dataclasses.replace(PLAIN, epochs=4, schedule="one_cycle")
    whole, model = DROPOUT(), DROPOUT()
    straight = fit(whole, *digits, recipe, run_dir=tmp_path / "a")
    for step, resume, epochs in ((6, False, 1), (3, True, 1), (7, True, 2)):
        with stopped_at(model, step):
            history = fit(model, *digits, recipe, run_dir=tmp_path / "b", resume=resume)
        assert len(history.epochs) == epochs
    resumed = fit(model, *digits, recipe, run_dir=tmp_path / "b", resume=True)
    assert_equal_weights(whole, model)
    assert_equal_runs((straight, tmp_path / "a"), (resumed, tmp_path / "b"))


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


def test_ctrl_c_ends_training_with_the_history_so_far(digits, tmp_path, capsys):
    recipe = dataclasses.replace(PLAIN, epochs=4, keep="best")
    model, two_epochs = DROPOUT(), DROPOUT()
    before = torch.get_rng_state()
    with stopped_at(model, step=11):
        history = fit(model, *digits, recipe, run_dir=tmp_path, verbose=True)
    assert history.interrupted
    assert len(history.epochs) == 2
    assert "Interrupted: 2 of 4 epochs" in capsys.readouterr().out
    assert not model.training
    assert torch.equal(torch.get_rng_state(), before)
    fit(two_epochs, *digits, dataclasses.replace(recipe, epochs=2))
    assert_equal_weights(model, two_epochs)
    loaded, run = mh.load_run(tmp_path)
    assert (run.finished, run.epochs) == (False, 2)
    assert_equal_weights(loaded, two_epochs)


def test_ctrl_c_in_the_first_epoch_leaves_a_usable_model_and_run(digits, tmp_path):
    model = DROPOUT()
    before = copy_of(model)
    with stopped_at(model, step=2):
        history = fit(model, *digits, dataclasses.replace(PLAIN, keep="best"), run_dir=tmp_path)
    assert history.interrupted
    assert history.epochs == []
    assert_equal_weights(model, before)
    loaded, run = mh.load_run(tmp_path)
    assert run.epochs == 0
    assert_equal_weights(loaded, before)


def test_a_finished_run_has_nothing_to_resume(digits, make_tiny, tmp_path):
    first, second = make_tiny(), make_tiny(seed=1)
    one = fit(first, *digits, PLAIN, run_dir=tmp_path)
    two = fit(second, *digits, PLAIN, run_dir=tmp_path, resume=True)
    assert without_seconds(one) == without_seconds(two)
    assert_equal_weights(first, second)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"learning_rate": 0.02}, "recipe"),
        ({"seed": 8}, "recipe"),
        ({"schedule": "one_cycle"}, "recipe"),
        ({"optimizer": "sgd"}, "recipe"),
        ({"augmentation": "shift"}, "recipe"),
        ({"augmentation": "affine+noise"}, "recipe"),
        ({"epoch_size": 20}, "recipe"),
        ({"epoch_size": 50}, "recipe"),
        ({"data": "fewer"}, "data"),
        ({"data": "renamed"}, "data"),
        ({"model": mh.ZOO["two_conv"].build}, "model"),
        ({"model": functools.partial(mh.ZOO["two_conv"].build, dropout=True)}, "model"),
        ({"model": functools.partial(DROPOUT, batch_norm=True)}, "model"),
    ],
)
def test_another_recipe_model_or_data_cannot_go_on(digits, tmp_path, changes, named):
    train, validation = digits
    fit(DROPOUT(), train, validation, PLAIN, run_dir=tmp_path)
    checkpoint = (tmp_path / CHECKPOINT).read_bytes()
    changes = dict(changes)
    model = changes.pop("model", DROPOUT)(seed=5)
    before = copy_of(model)
    other = changes.pop("data", None)
    if other == "fewer":
        validation = validation.select(torch.arange(20))
    if other == "renamed":
        train = mh.DigitSet(train.images, train.labels, "mnist/train")
    recipe = dataclasses.replace(PLAIN, epochs=3, **changes)
    with pytest.raises(mh.CheckpointError, match=f"another {named} "):
        fit(model, train, validation, recipe, run_dir=tmp_path, resume=True)
    assert_equal_weights(model, before)
    assert (tmp_path / CHECKPOINT).read_bytes() == checkpoint


def make_older(folder):
    """Take out of a checkpoint what those of older versions do not have."""
    path = folder / CHECKPOINT
    tensors, info = read_tensors(path)
    for recipe in (info["recipe"], info["run"]["recipe"]):
        del recipe["augmentation"], recipe["epoch_size"]
    write_tensors(path, tensors, info)


@pytest.mark.parametrize("schedule", ["step", "one_cycle"])
def test_a_checkpoint_of_an_older_version_goes_on(digits, tmp_path, schedule):
    recipe = dataclasses.replace(PLAIN, epochs=3, schedule=schedule)
    whole, stopped, rest = DROPOUT(), DROPOUT(), DROPOUT(seed=99)
    straight = fit(whole, *digits, recipe, run_dir=tmp_path / "a")
    with stopped_at(stopped, step=6):
        fit(stopped, *digits, recipe, run_dir=tmp_path / "b")
    make_older(tmp_path / "b")
    resumed = fit(rest, *digits, recipe, run_dir=tmp_path / "b", resume=True)
    assert_equal_weights(whole, rest)
    assert_equal_runs((straight, tmp_path / "a"), (resumed, tmp_path / "b"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"augmentation": "shift"}, "augmentation none, here shift"),
        ({"epoch_size": 20}, "epoch_size None, here 20"),
        ({"learning_rate": 0.02}, "learning_rate 0.01, here 0.02"),
    ],
)
def test_a_checkpoint_of_an_older_version_counts_as_one_without_the_new(
    digits, make_tiny, tmp_path, changes, told
):
    fit(make_tiny(), *digits, PLAIN, run_dir=tmp_path)
    make_older(tmp_path)
    recipe = dataclasses.replace(PLAIN, **changes)
    with pytest.raises(mh.CheckpointError, match=rf"another recipe \({told}\)"):
        fit(make_tiny(), *digits, recipe, run_dir=tmp_path, resume=True)


def test_more_epochs_cannot_be_had_of_a_schedule_that_counts_them(digits, make_tiny, tmp_path):
    recipe = dataclasses.replace(PLAIN, schedule="cosine")
    fit(make_tiny(), *digits, recipe, run_dir=tmp_path)
    longer = dataclasses.replace(recipe, epochs=4)
    with pytest.raises(mh.CheckpointError, match="another recipe"):
        fit(make_tiny(), *digits, longer, run_dir=tmp_path, resume=True)


def test_a_checkpoint_of_other_shapes_cannot_go_on(digits, tmp_path):
    def wide(width):
        return nn.Sequential(mh.Normalize(), nn.Flatten(), nn.Linear(784, width))

    fit(wide(10), *digits, PLAIN, run_dir=tmp_path)
    with pytest.raises(mh.CheckpointError, match="does not fit"):
        fit(wide(12), *digits, PLAIN, run_dir=tmp_path, resume=True)


def test_resume_needs_a_checkpoint(digits, make_tiny, tmp_path):
    with pytest.raises(mh.CheckpointError, match=re.escape(str(tmp_path))):
        fit(make_tiny(), *digits, PLAIN, run_dir=tmp_path, resume=True)
    with pytest.raises(mh.CheckpointError, match="run_dir"):
        fit(make_tiny(), *digits, PLAIN, resume=True)


def flip_bits(content, position):
    return content[:position] + bytes([content[position] ^ 0x15]) + content[position + 1 :]


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
        path.write_bytes(flip_bits(content, position))
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


def is_finite(weights):
    return all(value.isfinite().all() for value in weights.values())


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
    recipe = dataclasses.replace(
        PLAIN, epochs=3, batch_size=50, learning_rate=3e38, optimizer="sgd", momentum=0.0
    )
    with pytest.raises(mh.TrainingDiverged, match="epoch 1, step 1"):
        fit(model, *digits, recipe)
    assert_equal_weights(model, before)


def test_a_model_of_nan_diverges_in_the_first_step(digits, make_tiny):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.calls = make_tiny(), 0

        def forward(self, images):
            self.calls += 1
            return (self.inner(images) - 1e9).log()

    model = Broken()
    before = copy_of(model)
    with pytest.raises(mh.TrainingDiverged, match="nan in epoch 1, step 1"):
        fit(model, *digits, PLAIN)
    assert model.calls == 1
    assert_equal_weights(model, before)


def test_another_split_of_the_same_data_cannot_go_on(make_digits, make_tiny, tmp_path):
    whole = make_digits(80)
    train, validation = whole.split(30, seed=0)
    fit(make_tiny(), train, validation, PLAIN, run_dir=tmp_path)
    train, validation = whole.split(30, seed=1)
    with pytest.raises(mh.CheckpointError, match="another data"):
        fit(make_tiny(), train, validation, PLAIN, run_dir=tmp_path, resume=True)
