"""run.py: its rows against training and testing by hand, and how it stops, fails and goes on."""

import dataclasses
import json
from functools import partial
from unittest.mock import Mock

import mnist_helpers as mh
import pandas as pd
import pytest
import torch
from mnist_helpers.study import run as study

RECIPE = mh.Recipe(epochs=3, batch_size=16, learning_rate=1e-3, precision="float32", seed=99)
SECONDS = ["train_seconds", "epoch_seconds"]
HISTORY = ["train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]
measure = partial(study.measure, device="cpu")


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
    """The seeds that fit was called with."""
    seeds, fit = [], study.fit

    def counted(model, train, validation, recipe, **more):
        seeds.append(recipe.seed)
        return fit(model, train, validation, recipe, **more)

    monkeypatch.setattr(study, "fit", counted)
    return seeds


def run(entries, seeds, digits, out, **more):
    return mh.study.run_study(
        entries, seeds, digits, out, **{"device": "cpu", "verbose": False, "jobs": 1, **more}
    )


def names_and_seeds(frame):
    return list(zip(frame["model"], frame["seed"], strict=True))


def refusal(use, path):
    """The message of the error of `use()`, which is one line and names the file."""
    with pytest.raises(mh.results.ResultsError) as caught:
        use()
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


# What it measures


def test_a_study_has_a_row_for_each_model_and_seed(entry, digits, tmp_path):
    out, before = tmp_path / "new" / "study.csv", torch.get_rng_state()
    frame = run({"a": entry(), "b": entry(epochs=2)}, [4, 0], digits, out)
    assert names_and_seeds(frame) == [("a", 4), ("b", 4), ("a", 0), ("b", 0)]
    assert frame["source"].tolist() == ["made"] * 4
    assert frame["epochs"].tolist() == [3, 2, 3, 2]
    assert [path.name for path in out.parent.iterdir()] == ["study.csv"]
    pd.testing.assert_frame_equal(frame, mh.study.read_study(out), check_exact=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_row_is_that_of_fit_and_evaluate(entry, digits, tmp_path):
    slow = entry(learning_rate=3e-4)
    [row] = run({"a": slow}, [5], digits, tmp_path / "a.csv").itertuples()
    train, validation = digits.train.split(1 / 12, seed=0)
    model, recipe = slow.build(seed=5), dataclasses.replace(slow.recipe, seed=5)
    history = mh.fit(model, train, validation, recipe, device="cpu", verbose=False)
    report = mh.evaluate(model, digits.test)
    assert row.test_accuracy == report.accuracy
    assert row.test_f1_macro == pytest.approx(report.f1_macro, abs=1e-6)
    assert row.test_f1_weighted == pytest.approx(report.f1_weighted, abs=1e-6)
    assert row.test_loss == pytest.approx(report.loss, abs=1e-6)
    wrong = (model(digits.test.images).argmax(dim=1) != digits.test.labels).nonzero().flatten()
    assert row.mistakes == wrong.tolist()
    assert 0 < len(wrong) < 30
    for name in HISTORY:
        expected = [getattr(record, name) for record in history.epochs]
        assert getattr(row, name) == pytest.approx(expected, abs=1e-5)
    assert (row.parameters, row.multiply_adds, row.test_size) == (7_850, 7_840, 30)
    assert {**json.loads(row.recipe), "seed": 5} == dataclasses.asdict(recipe)
    assert (row.device, row.precision) == ("cpu", "float32")
    assert "1 threads" in row.machine
    assert {name: getattr(row, name) for name in mh.versions()} == mh.versions()
    assert row.train_seconds == pytest.approx(sum(row.epoch_seconds), abs=0.01)
    assert len(row.epoch_seconds) == 3


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_epoch_is_chosen_on_validation_and_not_on_the_test_set(entry, make_digits, keep):
    """The labels of validation are shifted, so its best epoch is the one that learned least."""
    train = make_digits(110, seed=1)
    shifted = mh.DigitSet(train.images, (train.labels + 1) % 10, "made/shifted")
    row = measure(entry(learning_rate=3e-4, keep=keep), 0, train, shifted, train)
    best = max(range(3), key=lambda epoch: row["validation_accuracy"][epoch])
    assert best < 2
    kept = best if keep == "best" else 2
    assert row["test_accuracy"] == row["epoch_test_accuracy"][kept]
    assert row["epoch_test_accuracy"][best] < max(row["epoch_test_accuracy"])


def test_the_test_set_has_no_influence_on_training_but_the_seed_has(entry, digits):
    parts, test = digits.train.split(1 / 12, seed=0), digits.test
    other = mh.DigitSet(test.images.flip(3), test.labels.flip(0), "made/other")
    one, again, two = (measure(entry(), 0, *parts, part) for part in (test, test, other))
    assert {**one, **dict.fromkeys(SECONDS)} == {**again, **dict.fromkeys(SECONDS)}
    assert {name: one[name] for name in HISTORY} == {name: two[name] for name in HISTORY}
    assert one["test_accuracy"] != two["test_accuracy"]
    assert one["train_loss"] != measure(entry(), 1, *parts, test)["train_loss"]


# Stopping and going on


def test_a_stopped_study_goes_on_to_the_same_end(entry, digits, tmp_path, fits, capsys):
    """A run of `a` has three epochs of seven steps; Ctrl-C comes in the last of the second run."""
    plain, short, count = entry(), entry(epochs=2), 0

    def stop(module, _):
        nonlocal count
        count += module.training
        if module.training and count == 7 * 5 + 1:
            raise KeyboardInterrupt

    def build(seed=0):
        model = plain.build(seed=seed)
        model.register_forward_pre_hook(stop)
        return model

    out, straight = tmp_path / "a.csv", tmp_path / "straight.csv"
    entries = {"a": dataclasses.replace(plain, build=build), "b": short}
    frame = run(entries, [0, 1], digits, out, verbose=True)
    assert names_and_seeds(frame) == [("a", 0), ("b", 0)]
    assert f"stopped; what was finished is in {out}" in capsys.readouterr().out
    frame = run(entries, [0, 1], digits, out, verbose=True)
    assert fits == [0, 0, 1, 1, 1]  # the third was stopped, and is trained again
    lines = capsys.readouterr().out.splitlines()
    for line, row in zip(lines, frame.tail(2).itertuples(), strict=True):
        start = f"[{row.Index + 1}/4] {row.model}, seed 1: test accuracy "
        assert line.startswith(f"{start}{row.test_accuracy:.2%}")
    run({"a": plain, "b": short}, [0, 1], digits, straight)
    assert capsys.readouterr().out == ""
    one, two = (mh.study.read_study(path).drop(columns=SECONDS) for path in (out, straight))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


@pytest.mark.parametrize("where", ["fit", "evaluate"])
def test_ctrl_c_in_the_very_first_run_is_no_error(entry, digits, tmp_path, monkeypatch, where):
    monkeypatch.setattr(study, where, Mock(side_effect=KeyboardInterrupt))
    frame = run({"a": entry()}, [0, 1], digits, tmp_path / "a.csv")
    assert len(frame) == len(mh.study.read_study(tmp_path / "a.csv")) == 0
    assert "| model |" in mh.study.claims_table(frame)


def test_nothing_is_trained_twice(entry, digits, tmp_path, fits):
    """Also not after the seed of the recipe has changed: it is not part of the study."""
    out = tmp_path / "a.csv"
    run({"a": entry(seed=1)}, [0], digits, out)
    more = {"a": entry(seed=2), "b": entry(epochs=1)}
    frame = run(more, [0, 0, 1], digits, out)
    assert names_and_seeds(frame) == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert fits == [0, 0, 1, 1]
    content = out.read_bytes()
    pd.testing.assert_frame_equal(run(more, range(2), digits, out), frame, check_exact=True)
    assert (len(fits), out.read_bytes()) == (4, content)


# Refusals


def test_a_study_of_something_else_is_not_gone_on_with(entry, digits, tmp_path, fits):
    out = tmp_path / "a.csv"
    run({"a": entry(), "b": entry()}, [0], digits, out)
    content = out.read_bytes()
    renamed = dataclasses.replace(digits, source="mnist")
    fewer = dataclasses.replace(digits, test=digits.test.select(torch.arange(20)))
    larger = dataclasses.replace(entry(), build=mh.ZOO["lenet"].build)
    for entries, used, told in (
        ({"b": entry(epochs=2)}, digits, "b with another recipe"),
        ({"b": entry(gamma=0.7)}, digits, "b with another recipe"),
        ({"b": entry(keep="last")}, digits, "b with another recipe"),
        ({"c": entry()}, renamed, "runs on made, 30 test digits"),
        ({"c": entry()}, fewer, "runs on made, 30 test digits"),
        ({"a": larger}, digits, "another a, of 7,850 parameters"),
    ):
        plan = partial(run, entries, [0, 1], used, out)
        assert f"holds {told}" in refusal(plan, out)
        assert out.read_bytes() == content
    assert fits == [0, 0]


def test_a_study_of_nothing_is_refused(entry, digits, tmp_path):
    for entries, seeds in (({}, [0]), ({"a": entry()}, [])):
        with pytest.raises(ValueError, match="at least one model and one seed"):
            run(entries, seeds, digits, tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def written(entry, digits, tmp_path):
    """The path of a study of two runs."""
    run({"a": entry()}, [0, 1], digits, tmp_path / "a.csv")
    return tmp_path / "a.csv"


# What becomes of a study's text, and what the refusal says.
DAMAGE = {
    "nothing": (lambda text: "", "No columns"),
    "words": (lambda text: "Seven, or nine?\n", "lacks model"),
    "ragged": (lambda text: "a,b\n1,2,3\n1,2,3,4,5\n", "fields"),
    "a picture": (lambda text: "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "decode"),
    "a row twice": (lambda text: text + text.splitlines(keepends=True)[-1], "twice"),
    "an impossible recipe": (lambda text: text.replace('epochs"": 3', 'epochs"": 0'), "epochs"),
    "a recipe of another kind": (lambda text: text.replace("gamma", "colour"), "colour"),
    "an epoch less": (lambda text: text.replace(",3,", ",2,"), "lacks epochs"),
    "a column more": (lambda text: "x," + text.replace("\na,", "\n1,a,"), "other columns"),
    "no end of the line": (lambda text: text[:-1], "end is missing"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_foreign_or_edited_file_is_refused_and_left_alone(entry, digits, written, fits, damage):
    change, told = DAMAGE[damage]
    written.write_text(change(written.read_text()), encoding="latin-1")
    before, trained = written.read_bytes(), len(fits)
    for use in (mh.study.read_study, partial(run, {"a": entry()}, [0, 1, 2], digits)):
        message = refusal(partial(use, written), written)
        assert told in message
        assert message.endswith("name another file")
    assert (written.read_bytes(), len(fits)) == (before, trained)


def test_a_folder_an_archive_and_a_missing_file_are_no_study(entry, digits, tmp_path):
    archive, missing = tmp_path / "study.zip", tmp_path / "none.csv"
    archive.write_text("no archive")
    for path in (tmp_path, archive):
        refusal(lambda path=path: mh.study.read_study(path), path)
        refusal(lambda path=path: run({"a": entry()}, [0], digits, path), path)
    assert "no results in" in refusal(lambda: mh.study.read_study(missing), missing)


def test_a_study_without_a_column_is_refused(written):
    frame = pd.read_csv(written, dtype=str)
    for column in frame:
        frame.drop(columns=column).to_csv(written, index=False)
        assert f"lacks {column})" in refusal(lambda: mh.study.read_study(written), written)


@pytest.mark.slow
def test_a_cut_is_refused_and_a_damaged_byte_is_too_or_does_not_matter(written):
    """A cut anywhere in the second row; whole rows that are missing cannot be told."""
    content, refused = written.read_bytes(), 0
    for end in range(content.rindex(b"\n", 0, -1) + 2, len(content) - 1, 3):
        written.write_bytes(content[:end])
        refusal(lambda: mh.study.read_study(written), written)
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 0x15
        written.write_bytes(bytes(damaged))
        try:
            mh.study.read_study(written)
        except mh.results.ResultsError:
            refused += 1
    assert refused > 20


# Writing


def test_a_file_that_cannot_be_written_fails_before_training(entry, digits, tmp_path, fits):
    (tmp_path / "file").write_text("")
    with pytest.raises(mh.CheckpointError, match="cannot write"):
        run({"a": entry()}, [0], digits, tmp_path / "file" / "a.csv")
    assert fits == []


def test_the_file_is_whole_where_writing_fails(entry, digits, written, monkeypatch):
    content = written.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", Mock(side_effect=OSError(28, "No space left on device")))
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
    assert names_and_seeds(mh.study.read_study(out)) == [("a", 3)]


def test_rows_keep_their_figures_however_often_the_file_is_written(entry, digits, tmp_path):
    """Thirds and sevenths among them: 21 digits to test; and no mistake at all in some."""
    digits = dataclasses.replace(digits, test=digits.test.select(torch.arange(21)))
    first = run({"a": entry()}, [0], digits, tmp_path / "a.csv")
    last = run({"a": entry()}, range(6), digits, tmp_path / "a.csv")
    pd.testing.assert_frame_equal(first, last.head(1), check_exact=True)
    for row in last.itertuples():
        assert row.test_accuracy in row.epoch_test_accuracy
        assert len(row.mistakes) == round(21 * (1 - row.test_accuracy))
    assert [] in last["mistakes"].tolist()


# Other readings


def test_within_fewer_epochs_is_a_shorter_training(entry, digits, tmp_path):
    """And the test accuracy of each epoch is that of the last weights of so long a training."""
    long = run({"a": entry()}, range(2), digits, tmp_path / "long.csv")
    for epochs in (1, 2, 3):
        entries = {keep: entry(epochs=epochs, keep=keep) for keep in ("best", "last")}
        short = run(entries, range(2), digits, tmp_path / f"{epochs}.csv")["test_accuracy"].tolist()
        assert mh.study.within(long, epochs)["test_accuracy"].tolist() == short[::2]
        assert long["epoch_test_accuracy"].str[epochs - 1].tolist() == short[1::2]


def test_a_study_on_a_gpu_tells_its_name(entry, digits, tmp_path, gpu):
    [row] = run({"a": entry()}, [0], digits, tmp_path / "a.csv", device=gpu).itertuples()
    assert row.device == "cuda"
    assert row.machine == torch.cuda.get_device_name(gpu)
