"""study.py: its rows against training and testing by hand, and how it stops, fails and goes on."""

import contextlib
import dataclasses
import json
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

import mnist_helpers as mh
from mnist_helpers import study

RECIPE = mh.Recipe(epochs=3, batch_size=16, learning_rate=1e-3, precision="float32", seed=99)
SECONDS = ["train_seconds", "epoch_seconds"]
HISTORY = ["train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]


@pytest.fixture
def entry(make_tiny):
    """Makes an entry of a linear model with dropout, with a changed recipe where asked for."""

    def make(**changes):
        def build(seed=0):
            return make_tiny(seed, dropout=0.2)

        recipe = dataclasses.replace(RECIPE, **changes)
        return mh.ZooEntry(build, recipe, "50 % test accuracy", 0.5, recipe.epochs, "a test")

    return make


@pytest.fixture
def digits(make_digits):
    """120 digits to train on, of which 10 are for validation; 30 to test."""
    train, test = make_digits(120, 1, "made/train"), make_digits(30, 2, "made/test")
    return mh.Mnist(train, test, "made")


@pytest.fixture
def fits(monkeypatch):
    """The seeds that fit was called with; Ctrl-C comes in the call number `stop_at`."""
    seen, fit = SimpleNamespace(seeds=[], stop_at=None), study.fit

    def counted(model, train, validation, recipe, **more):
        seen.seeds.append(recipe.seed)
        if len(seen.seeds) == seen.stop_at:
            raise KeyboardInterrupt
        return fit(model, train, validation, recipe, **more)

    monkeypatch.setattr(study, "fit", counted)
    return seen


def run(entries, seeds, digits, out, **more):
    return mh.run_study(entries, seeds, digits, out, **{"device": "cpu", "verbose": False, **more})


def measure(entry, seed, train, validation, test):
    return study.measure(entry, seed, train, validation, test, device="cpu")


def names_and_seeds(frame):
    return list(zip(frame["model"], frame["seed"], strict=True))


def assert_equal_studies(first, second):
    """Two files hold the same, apart from the time it took."""
    one, two = (mh.read_study(path).drop(columns=SECONDS) for path in (first, second))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def one_line_about(path, caught):
    """The message of an error, which is one line and names the file."""
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


# What it measures


def test_a_study_has_a_row_for_each_model_and_seed(entry, digits, tmp_path):
    out = tmp_path / "new" / "study.csv"
    frame = run({"a": entry(), "b": entry(epochs=2)}, [4, 0], digits, out)
    assert names_and_seeds(frame) == [("a", 4), ("b", 4), ("a", 0), ("b", 0)]
    assert frame["source"].tolist() == ["made"] * 4
    assert frame["epochs"].tolist() == [3, 2, 3, 2]
    assert [path.name for path in out.parent.iterdir()] == ["study.csv"]
    pd.testing.assert_frame_equal(frame, mh.read_study(out), check_exact=True)


def test_a_row_is_that_of_fit_and_evaluate(entry, digits, tmp_path):
    [row] = run({"a": entry()}, [5], digits, tmp_path / "a.csv").itertuples()
    train, validation = digits.train.split(1 / 12, seed=0)
    model = entry().build(seed=5)
    recipe = dataclasses.replace(RECIPE, seed=5)
    history = mh.fit(model, train, validation, recipe, device="cpu", verbose=False)
    report = mh.evaluate(model, digits.test)
    assert row.test_accuracy == report.accuracy
    assert row.test_f1_macro == pytest.approx(report.f1_macro, abs=1e-6)
    assert row.test_f1_weighted == pytest.approx(report.f1_weighted, abs=1e-6)
    assert row.test_loss == pytest.approx(report.loss, abs=1e-6)
    for name in HISTORY:
        expected = [getattr(record, name) for record in history.epochs]
        assert getattr(row, name) == pytest.approx(expected, abs=1e-5)
    assert (row.parameters, row.multiply_adds, row.test_size) == (7_850, 7_840, 30)
    assert json.loads(row.recipe) == {
        name: value for name, value in dataclasses.asdict(recipe).items() if name != "seed"
    }


def test_a_row_tells_machine_and_versions(entry, digits, tmp_path):
    [row] = run({"a": entry()}, [0], digits, tmp_path / "a.csv").to_dict("records")
    assert (row["device"], row["precision"]) == ("cpu", "float32")
    assert f"{torch.get_num_threads()} threads" in row["machine"]
    assert {name: row[name] for name in mh.versions()} == mh.versions()
    assert row["train_seconds"] == pytest.approx(sum(row["epoch_seconds"]), abs=0.01)
    assert len(row["epoch_seconds"]) == 3


def test_the_test_accuracy_of_each_epoch_is_that_of_training_so_long(entry, digits, tmp_path):
    [row] = run({"a": entry()}, [0], digits, tmp_path / "a.csv").itertuples()
    train, validation = digits.train.split(1 / 12, seed=0)
    for epochs, accuracy in enumerate(row.epoch_test_accuracy, start=1):
        model = entry().build(seed=0)
        recipe = dataclasses.replace(RECIPE, seed=0, epochs=epochs, keep="last")
        mh.fit(model, train, validation, recipe, device="cpu", verbose=False)
        assert accuracy == mh.evaluate(model, digits.test).accuracy
    assert len(row.epoch_test_accuracy) == 3


def test_the_epoch_is_chosen_on_validation_and_not_on_the_test_set(entry, make_digits):
    """The labels of validation are shifted, so its best epoch is the one that learned least."""
    train = make_digits(110, seed=1)
    shifted = mh.DigitSet(train.images, (train.labels + 1) % 10, "made/shifted")
    row = measure(entry(learning_rate=3e-4), 0, train, shifted, train)
    accuracies = row["epoch_test_accuracy"]
    best = max(range(3), key=lambda epoch: row["validation_accuracy"][epoch])
    assert row["test_accuracy"] == accuracies[best]
    assert accuracies[best] < max(accuracies)


def test_a_recipe_that_keeps_the_last_weights_is_tested_with_them(entry, make_digits):
    train = make_digits(110, seed=1)
    shifted = mh.DigitSet(train.images, (train.labels + 1) % 10, "made/shifted")
    row = measure(entry(learning_rate=3e-4, keep="last"), 0, train, shifted, train)
    assert row["test_accuracy"] == row["epoch_test_accuracy"][-1]
    assert row["validation_accuracy"][-1] < max(row["validation_accuracy"])


def test_mistakes_are_the_positions_of_wrong_answers(entry, digits, tmp_path):
    [row] = run({"a": entry(epochs=1)}, [0], digits, tmp_path / "a.csv").itertuples()
    train, validation = digits.train.split(1 / 12, seed=0)
    model = entry().build(seed=0)
    recipe = dataclasses.replace(RECIPE, seed=0, epochs=1)
    mh.fit(model, train, validation, recipe, device="cpu", verbose=False)
    predicted = model(digits.test.images).argmax(dim=1)
    wrong = (predicted != digits.test.labels).nonzero().flatten().tolist()
    assert row.mistakes == wrong
    assert (row.test_size - len(row.mistakes)) / row.test_size == row.test_accuracy
    assert 0 < len(wrong) < 30


def test_a_model_without_mistakes_has_an_empty_list_of_them(entry, make_digits, tmp_path):
    easy = make_digits(120, 1)
    digits = mh.Mnist(easy, easy, "made")
    [row] = run({"a": entry(epochs=30)}, [0], digits, tmp_path / "a.csv").itertuples()
    assert (row.test_accuracy, row.mistakes) == (1.0, [])


def test_the_test_set_has_no_influence_on_training(entry, digits):
    train, validation = digits.train.split(1 / 12, seed=0)
    test = digits.test
    other = mh.DigitSet(test.images.flip(3), test.labels.flip(0), "made/other")
    one, two = (measure(entry(), 0, train, validation, part) for part in (test, other))
    assert {name: one[name] for name in HISTORY} == {name: two[name] for name in HISTORY}
    assert one["test_accuracy"] != two["test_accuracy"]


def test_another_seed_gives_another_row(entry, digits):
    parts = (*digits.train.split(1 / 12, seed=0), digits.test)
    one, two, three = (measure(entry(), seed, *parts) for seed in (0, 1, 0))
    assert one["train_loss"] != two["train_loss"]
    assert {**one, **dict.fromkeys(SECONDS)} == {**three, **dict.fromkeys(SECONDS)}


def test_a_study_leaves_the_random_state(entry, digits, tmp_path):
    before = torch.get_rng_state()
    run({"a": entry()}, [0], digits, tmp_path / "a.csv")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_line_is_printed_for_each_run(entry, digits, tmp_path, capsys):
    run({"a": entry(), "b": entry()}, [0], digits, tmp_path / "a.csv")
    assert capsys.readouterr().out == ""
    frame = run({"a": entry(), "b": entry()}, [0, 1], digits, tmp_path / "a.csv", verbose=True)
    lines = capsys.readouterr().out.splitlines()
    for line, index in zip(lines, (2, 3), strict=True):
        start = f"[{index + 1}/4] {frame['model'][index]}, seed 1: test accuracy "
        assert line.startswith(f"{start}{frame['test_accuracy'][index]:.2%}")


# Stopping and going on


@pytest.mark.parametrize("stop_at", [2, 3, 4])
def test_a_stopped_study_goes_on_to_the_same_end(entry, digits, tmp_path, fits, stop_at):
    entries, seeds = {"a": entry(), "b": entry(epochs=2)}, [0, 1]
    straight, stopped = tmp_path / "straight.csv", tmp_path / "stopped.csv"
    run(entries, seeds, digits, straight)
    order = list(fits.seeds)
    fits.seeds.clear()

    fits.stop_at = stop_at
    frame = run(entries, seeds, digits, stopped)
    assert names_and_seeds(frame) == names_and_seeds(mh.read_study(straight))[: stop_at - 1]
    fits.stop_at = None
    run(entries, seeds, digits, stopped)
    assert fits.seeds == [*order[:stop_at], *order[stop_at - 1 :]]
    assert_equal_studies(straight, stopped)


@pytest.mark.parametrize("step", [1, 7 * 3 + 2, 7 * 5])
def test_ctrl_c_in_a_training_step_loses_that_run_only(entry, digits, tmp_path, step, capsys):
    """Three epochs of seven steps are a run: the first, the second or the second again."""
    plain, count = entry(), 0

    def stop(module, _):
        nonlocal count
        count += module.training
        if count == step:
            raise KeyboardInterrupt

    def build(seed=0):
        model = plain.build(seed=seed)
        model.register_forward_pre_hook(stop)
        return model

    entries = {"a": dataclasses.replace(plain, build=build)}
    out = tmp_path / "a.csv"
    run({"z": plain}, [0], digits, out)
    frame = run(entries, [0, 1], digits, out, verbose=True)
    finished = [("a", 0)] if step > 21 else []
    assert names_and_seeds(frame) == [("z", 0), *finished]
    assert f"stopped; what was finished is in {out}" in capsys.readouterr().out
    run(entries, [0, 1], digits, out)
    run({"z": plain}, [0], digits, tmp_path / "b.csv")
    run({"a": plain}, [0, 1], digits, tmp_path / "b.csv")
    assert_equal_studies(out, tmp_path / "b.csv")


def test_ctrl_c_in_the_very_first_run_is_no_error(entry, digits, tmp_path, fits):
    fits.stop_at = 1
    frame = run({"a": entry()}, [0, 1], digits, tmp_path / "a.csv")
    assert len(frame) == len(mh.read_study(tmp_path / "a.csv")) == 0
    assert "| model |" in mh.claims_table(frame)


def test_ctrl_c_while_it_is_tested_loses_that_run_only(entry, digits, tmp_path, monkeypatch):
    out = tmp_path / "a.csv"
    run({"a": entry()}, [0], digits, out)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(study, "evaluate", stop)
        frame = run({"a": entry()}, [0, 1], digits, out)
    assert names_and_seeds(frame) == [("a", 0)]


def test_nothing_is_trained_twice(entry, digits, tmp_path, fits):
    out = tmp_path / "a.csv"
    run({"a": entry()}, range(2), digits, out)
    content = out.read_bytes()
    frame = run({"a": entry()}, range(2), digits, out)
    assert fits.seeds == [0, 1]
    assert out.read_bytes() == content
    assert names_and_seeds(frame) == [("a", 0), ("a", 1)]


def test_a_seed_that_is_named_twice_is_trained_once(entry, digits, tmp_path, fits):
    frame = run({"a": entry()}, [0, 0, 1], digits, tmp_path / "a.csv")
    assert fits.seeds == [0, 1]
    assert names_and_seeds(frame) == [("a", 0), ("a", 1)]


def test_models_and_seeds_can_be_added_later(entry, digits, tmp_path, fits):
    out = tmp_path / "a.csv"
    run({"a": entry()}, [0], digits, out)
    run({"b": entry(epochs=1)}, [0], digits, out)
    frame = run({"a": entry(), "b": entry(epochs=1)}, [0, 1], digits, out)
    assert names_and_seeds(frame) == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert fits.seeds == [0, 0, 1, 1]


def test_the_seed_of_the_recipe_is_not_part_of_it(entry, digits, tmp_path, fits):
    out = tmp_path / "a.csv"
    run({"a": entry(seed=1)}, [0], digits, out)
    run({"a": entry(seed=2)}, [0], digits, out)
    assert fits.seeds == [0]


# Refusals


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 2}, {"weight_decay": 0.1}, {"gamma": 0.7}, {"keep": "last"}, {"patience": 2}],
)
def test_a_study_of_another_recipe_is_not_gone_on_with(entry, digits, tmp_path, fits, changes):
    out = tmp_path / "a.csv"
    run({"a": entry(), "b": entry()}, [0], digits, out)
    content = out.read_bytes()
    with pytest.raises(mh.StudyError) as caught:
        run({"b": entry(**changes)}, [0, 1], digits, out)
    assert "b with another recipe" in one_line_about(out, caught)
    assert out.read_bytes() == content
    assert fits.seeds == [0, 0]


@pytest.mark.parametrize("what", ["source", "size"])
def test_a_study_of_other_digits_is_not_gone_on_with(entry, digits, tmp_path, fits, what):
    out = tmp_path / "a.csv"
    run({"a": entry()}, [0], digits, out)
    content = out.read_bytes()
    other = dataclasses.replace(digits, source="mnist")
    if what == "size":
        other = dataclasses.replace(digits, test=digits.test.select(torch.arange(20)))
    with pytest.raises(mh.StudyError) as caught:
        run({"b": entry()}, [0], other, out)
    assert "holds runs on made, 30 test digits" in one_line_about(out, caught)
    assert out.read_bytes() == content
    assert fits.seeds == [0]


def test_a_study_of_another_network_of_that_name_is_not_gone_on_with(entry, digits, tmp_path):
    out = tmp_path / "a.csv"
    run({"a": entry()}, [0], digits, out)
    larger = dataclasses.replace(entry(), build=mh.ZOO["lenet"].build)
    with pytest.raises(mh.StudyError) as caught:
        run({"a": larger}, [0, 1], digits, out)
    assert "another a, of 7,850 parameters" in one_line_about(out, caught)


@pytest.mark.parametrize("none", ["entries", "seeds"])
def test_a_study_of_nothing_is_refused(entry, digits, tmp_path, none):
    entries, seeds = ({}, [0]) if none == "entries" else ({"a": entry()}, [])
    with pytest.raises(ValueError, match="at least one model and one seed"):
        run(entries, seeds, digits, tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


def test_a_run_that_stands_there_twice_is_refused(entry, digits, tmp_path):
    out = tmp_path / "a.csv"
    run({"a": entry()}, [0], digits, out)
    header, row = out.read_text().splitlines(keepends=True)
    out.write_text(header + row + row)
    with pytest.raises(mh.StudyError) as caught:
        mh.read_study(out)
    assert "twice" in one_line_about(out, caught)


def test_an_entry_needs_no_claim(digits, tmp_path, entry):
    mine = mh.ZooEntry(entry().build, entry().recipe)
    frame = run({"mine": mine}, [0], digits, tmp_path / "a.csv")
    assert mh.check_claims(frame)["verdict"].tolist() == ["unknown"]


FOREIGN = {
    "empty.csv": b"",
    "lines.csv": b"\n\n\n",
    "words.csv": b"Seven, or nine?\n",
    "ragged.csv": b"a,b\n1,2,3\n1,2,3,4,5\n",
    "quote.csv": b'"model\n',
    "other.csv": b"model,seed,test_accuracy\nlenet,0,0.99\n",
    "recipes.csv": b'model,seed,recipe\nlenet,0,"{""epochs"": 5, ""colour"": 1}"\n',
    "bad_recipe.csv": b'model,seed,recipe\nlenet,0,"{""epochs"": 0}"\n',
    "no_recipe.csv": b"model,seed,recipe\nlenet,0,\n",
    "picture.csv": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "latin.csv": b"mod\xe8le,seed\n",
    "study.zip": b"no archive",
    "study.xz": b"no archive",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_refused_and_left_alone(entry, digits, tmp_path, fits, name):
    path = tmp_path / name
    path.write_bytes(FOREIGN[name])
    for use in (lambda: mh.read_study(path), lambda: run({"a": entry()}, [0], digits, path)):
        with pytest.raises(mh.StudyError) as caught:
            use()
        assert "name another file" in one_line_about(path, caught)
    assert path.read_bytes() == FOREIGN[name]
    assert fits.seeds == []


def test_a_folder_is_no_study(entry, digits, tmp_path, fits):
    for use in (
        lambda: mh.read_study(tmp_path),
        lambda: run({"a": entry()}, [0], digits, tmp_path),
    ):
        with pytest.raises(mh.StudyError) as caught:
            use()
        one_line_about(tmp_path, caught)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(mh.StudyError) as caught:
        mh.read_study(tmp_path / "none.csv")
    assert "no study in" in one_line_about(tmp_path / "none.csv", caught)


@pytest.fixture
def written(entry, digits, tmp_path):
    """The path of a study of two runs."""
    run({"a": entry()}, [0, 1], digits, tmp_path / "a.csv")
    return tmp_path / "a.csv"


def test_a_study_that_was_cut_is_refused(written):
    """Anywhere in its second row; whole rows that are missing cannot be told."""
    content = written.read_bytes()
    start = content.rindex(b"\n", 0, -1) + 1
    accepted = []
    for end in range(start + 1, len(content) - 1, 3):
        written.write_bytes(content[:end])
        with contextlib.suppress(mh.StudyError):
            mh.read_study(written)
            accepted.append(content[max(0, end - 20) : end])
    assert not accepted, accepted


def test_a_damaged_byte_is_an_error_of_ours_or_does_not_matter(written):
    content, refused, escaped = written.read_bytes(), 0, []
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 0x15
        written.write_bytes(bytes(damaged))
        try:
            mh.read_study(written)
        except mh.StudyError:
            refused += 1
        except Exception as error:
            escaped.append(f"at {position}: {type(error).__name__} {error}")
    assert not escaped, escaped
    assert refused > 20


@pytest.mark.parametrize(
    "column",
    [
        *("model", "seed", "source", "epochs", "test_accuracy", "test_f1_weighted", "parameters"),
        *("multiply_adds", "recipe", "validation_loss", "epoch_test_accuracy", "mistakes"),
    ],
)
def test_a_study_without_a_column_that_claims_need_is_refused(written, column):
    pd.read_csv(written, dtype=str).drop(columns=column).to_csv(written, index=False)
    with pytest.raises(mh.StudyError) as caught:
        mh.claims_table(mh.read_study(written))
    assert column in one_line_about(written, caught)


# Writing


def test_a_file_that_cannot_be_written_fails_before_training(entry, digits, tmp_path, fits):
    (tmp_path / "file").write_text("")
    with pytest.raises(mh.CheckpointError, match="cannot write"):
        run({"a": entry()}, [0], digits, tmp_path / "file" / "a.csv")
    assert fits.seeds == []


def test_the_file_is_whole_where_writing_fails(entry, digits, written, monkeypatch):
    content = written.read_bytes()

    def fsync(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fsync)
        with pytest.raises(mh.CheckpointError, match=r"cannot write .*No space"):
            run({"a": entry()}, [0, 1, 2], digits, written)
    assert written.read_bytes() == content
    assert list(written.parent.iterdir()) == [written]
    assert len(run({"a": entry()}, [0, 1, 2], digits, written)) == 3


def test_divergence_names_model_and_seed_and_leaves_the_rows(entry, digits, tmp_path):
    out = tmp_path / "a.csv"
    entries = {"a": entry(), "b": entry(learning_rate=3e38, optimizer="sgd")}
    with pytest.raises(mh.TrainingDiverged, match=r"^b, seed 3: the loss is .* in epoch 1, step"):
        run(entries, [3], digits, out)
    assert names_and_seeds(mh.read_study(out)) == [("a", 3)]


def test_rows_keep_their_figures_however_often_the_file_is_written(entry, digits, tmp_path):
    """Thirds and sevenths among them: 21 digits to test."""
    digits = dataclasses.replace(digits, test=digits.test.select(torch.arange(21)))
    first = run({"a": entry()}, [0], digits, tmp_path / "a.csv")
    last = run({"a": entry()}, range(6), digits, tmp_path / "a.csv")
    pd.testing.assert_frame_equal(first, last.head(1), check_exact=True)
    for row in last.itertuples():
        assert row.test_accuracy in row.epoch_test_accuracy


# Other data and other readings


def test_within_all_epochs_is_the_study_itself(entry, digits, tmp_path):
    frame = run({"a": entry(epochs=6)}, range(3), digits, tmp_path / "a.csv")
    assert mh.within(frame, 6)["test_accuracy"].tolist() == frame["test_accuracy"].tolist()


def test_within_fewer_epochs_is_a_shorter_training(entry, digits, tmp_path):
    long = run({"a": entry(epochs=6)}, range(2), digits, tmp_path / "long.csv")
    short = run({"a": entry(epochs=2)}, range(2), digits, tmp_path / "short.csv")
    assert mh.within(long, 2)["test_accuracy"].tolist() == short["test_accuracy"].tolist()


def test_a_study_on_a_gpu_tells_its_name(entry, digits, tmp_path, gpu):
    [row] = run({"a": entry()}, [0], digits, tmp_path / "a.csv", device=gpu).itertuples()
    assert row.device == "cuda"
    assert row.machine == torch.cuda.get_device_name(gpu)
