"""runs.py and files.py: runs in a folder, whole, harmless and checked."""

import dataclasses
import functools
import json
import pickle
import re
import shutil
from pathlib import Path

import mnist_helpers as mh
import pandas as pd
import pytest
import torch
from mnist_helpers.files import read_tensors, tensor_file, write_whole
from torch import nn

RECIPE = mh.Recipe(epochs=2, batch_size=16, precision="float32", seed=4)


@pytest.fixture(scope="module")
def run(make_digits, tmp_path_factory):
    """A saved run: folder, model, report and history."""
    folder = tmp_path_factory.mktemp("run") / "new" / "folder"
    train, test = make_digits(50, seed=1), make_digits(30, seed=2, name="made/test")
    model = mh.ZOO["two_conv_dropout"].build()
    history = mh.fit(model, train, test, RECIPE, device="cpu", verbose=False)
    report = mh.evaluate(model, test)
    mh.save_run(folder, model, RECIPE, report, history)
    return folder, model, report, history


@pytest.fixture
def folder(run, tmp_path):
    """A copy of the saved run, to be damaged."""
    return Path(shutil.copytree(run[0], tmp_path / "run"))


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# There and back


def test_weights_come_back_and_predict_bit_for_bit(run, make_digits):
    folder, model, _, _ = run
    loaded, _ = mh.load_run(folder)
    assert loaded.name == "two_conv_dropout"
    assert not any(module.training for module in loaded.modules())
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)
    images = make_digits(20).images
    assert torch.equal(mh.predict(loaded, images), mh.predict(model, images))


def test_the_files_hold_the_history_and_the_metrics_of_the_report(run):
    folder, _, report, history = run
    assert sorted(files(folder)) == ["history.csv", "metrics.json", "model.safetensors", "run.json"]
    read = pd.read_csv(folder / "history.csv")
    pd.testing.assert_frame_equal(read, history.to_frame(), rtol=1e-14)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics.pop("train_seconds") == pytest.approx(history.seconds, abs=1e-3)
    assert metrics == {
        "source": "made",
        "model": "two_conv_dropout",
        "parameters": 225_034,
        "seed": 4,
        "epochs": 2,
        "device": "cpu",
        "precision": "float32",
        "test_loss": report.loss,
        "test_accuracy": report.accuracy,
        "test_accuracy_interval": list(report.accuracy_interval),
        "test_f1_macro": report.f1_macro,
        "test_f1_weighted": report.f1_weighted,
    }


def test_a_run_tells_its_model_recipe_versions_and_device(run):
    folder, _, report, _ = run
    values = json.loads((folder / "run.json").read_text())
    assert mh.Recipe(**values["recipe"]) == RECIPE
    assert values["device"] == "cpu"
    assert values["versions"] == mh.versions()
    assert values["versions"]["torch"] in (torch.__version__, torch.__version__.split("+")[0])
    _, saved = mh.load_run(folder)
    assert isinstance(saved, mh.Run)
    assert (saved.model, saved.epochs, saved.finished) == ("two_conv_dropout", 2, True)
    assert saved.recipe == dataclasses.asdict(RECIPE)
    assert saved.metrics["test_accuracy"] == report.accuracy


def test_a_report_may_be_saved_later(run, make_digits, tmp_path):
    folder, model, report, history = run
    mh.save_run(tmp_path, model, RECIPE, report, history)
    mh.save_run(tmp_path, model, RECIPE, None, history)
    assert mh.load_run(tmp_path)[1].metrics == {}
    assert not (tmp_path / "metrics.json").exists()
    mh.save_report(tmp_path, report)
    assert (tmp_path / "metrics.json").read_bytes() == (folder / "metrics.json").read_bytes()


class Own(nn.Module):
    """A reader's model."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear = mh.Normalize(), nn.Linear(784, 10)

    def forward(self, images):
        return self.linear(self.norm(images).flatten(1))


def nameless():
    return mh.models.DigitClassifier(mh.Normalize(), nn.Flatten(), nn.Linear(784, 10))


@pytest.mark.parametrize(("build", "name"), [(Own, "Own"), (nameless, "DigitClassifier")])
def test_a_model_of_ones_own_is_saved_under_its_class_and_filled(
    run, make_digits, tmp_path, build, name
):
    _, _, report, history = run
    model, other = build(), build()
    mh.save_run(tmp_path, model, RECIPE, report, history)
    with pytest.raises(mh.CheckpointError, match=f"holds a {name}, .*pass a fresh one as model="):
        mh.load_run(tmp_path)
    loaded, saved = mh.load_run(tmp_path, model=other)
    assert loaded is other
    assert saved.model == name
    images = make_digits(10).images
    assert torch.equal(mh.predict(loaded, images), mh.predict(model, images))


# Models with options


@pytest.mark.parametrize("finished", [False, True])
def test_a_model_with_options_comes_back_bit_for_bit(finished, make_digits, tmp_path):
    """Killed after its training, a run would leave its checkpoint only."""
    train, test = make_digits(50, seed=1), make_digits(30, seed=2)
    model = mh.ZOO["two_conv"].build(seed=3, batch_norm=True, dropout=True)
    history = mh.fit(model, train, test, RECIPE, device="cpu", verbose=False, run_dir=tmp_path)
    if finished:
        mh.save_run(tmp_path, model, RECIPE, mh.evaluate(model, test), history)
    loaded, saved = mh.load_run(tmp_path)
    assert loaded.name == saved.model == "two_conv+batch_norm+dropout"
    assert saved.metrics.get("model") == (saved.model if finished else None)
    assert (saved.finished, saved.parameters) == (finished, 225_034 + 192)
    assert [str(layer) for layer in loaded] == [str(layer) for layer in model]
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    assert torch.equal(mh.predict(loaded, test.images), mh.predict(model, test.images))


@pytest.mark.parametrize(
    "name",
    ["two_conv+flips", "two_conv_dropout+dropout", "nothing+dropout", "two_conv+", "", "resnet", 5],
)
def test_a_model_or_options_that_there_are_not_are_refused_in_one_line(folder, name):
    values = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**values, "model": name}))
    with pytest.raises(mh.CheckpointError) as caught:
        mh.load_run(folder)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{folder} holds a {name}, which is none of lenet, two_conv, ")
    assert line.endswith("pass a fresh one as model=")


# Load, or train first


@pytest.fixture
def quick_zoo(monkeypatch):
    """The zoo with a recipe of one short epoch."""
    entry = mh.ZOO["two_conv"]
    recipe = mh.Recipe(epochs=1, batch_size=32, precision="float32", seed=6)
    monkeypatch.setitem(mh.ZOO, "two_conv", dataclasses.replace(entry, recipe=recipe))
    return recipe


@pytest.fixture
def mnist(make_digits):
    return mh.Mnist(make_digits(240, name="made/train"), make_digits(20, seed=1), "made")


def test_a_model_is_trained_once_as_in_notebook_3_and_then_loaded(
    quick_zoo, mnist, tmp_path, capsys
):
    first = mh.load_or_train("two_conv", mnist, tmp_path)
    assert "training one first" in capsys.readouterr().out
    saved = files(tmp_path)
    second = mh.load_or_train("two_conv", mnist, tmp_path)
    assert capsys.readouterr().out == ""
    assert files(tmp_path) == saved
    by_hand = mh.ZOO["two_conv"].build(seed=6)
    train, validation = mnist.train.split(1 / 12, seed=0)
    mh.fit(by_hand, train, validation, quick_zoo, verbose=False)
    for model in (first, second):
        assert not model.training
        for name, weight in by_hand.state_dict().items():
            assert torch.equal(model.state_dict()[name].cpu(), weight.cpu())
    _, run = mh.load_run(tmp_path)
    assert (run.finished, run.epochs, run.metrics) == (True, 1, {})


def test_an_entry_may_have_another_name_than_its_model(
    quick_zoo, mnist, tmp_path, monkeypatch, capsys
):
    entry = mh.ZOO["two_conv"]
    build = functools.partial(entry.build, dropout=True)
    monkeypatch.setitem(mh.ZOO, "other", dataclasses.replace(entry, build=build))
    first = mh.load_or_train("other", mnist, tmp_path)
    assert first.name == "two_conv+dropout"
    assert "training one first" in capsys.readouterr().out
    second = mh.load_or_train("other", mnist, tmp_path)
    assert capsys.readouterr().out == ""
    assert torch.equal(second[-1].weight.cpu(), first[-1].weight.cpu())
    mh.load_or_train("two_conv", mnist, tmp_path)
    assert "training one first" in capsys.readouterr().out


def test_a_run_of_an_older_version_counts_but_not_for_a_recipe_with_the_new(
    quick_zoo, mnist, tmp_path, monkeypatch, capsys
):
    mh.load_or_train("two_conv", mnist, tmp_path)
    run = json.loads(files(tmp_path)["run.json"])
    del run["recipe"]["augmentation"], run["recipe"]["epoch_size"]
    (tmp_path / "run.json").write_text(json.dumps(run))
    saved = files(tmp_path)
    capsys.readouterr()
    mh.load_or_train("two_conv", mnist, tmp_path)
    assert capsys.readouterr().out == ""
    assert files(tmp_path) == saved
    recipe = dataclasses.replace(quick_zoo, epoch_size=100)
    monkeypatch.setitem(mh.ZOO, "two_conv", dataclasses.replace(mh.ZOO["two_conv"], recipe=recipe))
    mh.load_or_train("two_conv", mnist, tmp_path)
    assert "training one first" in capsys.readouterr().out
    assert json.loads(files(tmp_path)["run.json"])["recipe"] == dataclasses.asdict(recipe)


@pytest.mark.parametrize(
    "change", [{"finished": False}, {"recipe": {}}, {"recipe": None}, {"parameters": 5}]
)
def test_a_stopped_run_or_one_of_another_recipe_or_of_other_layers_does_not_count(
    quick_zoo, mnist, tmp_path, capsys, change
):
    mh.load_or_train("two_conv", mnist, tmp_path)
    saved = files(tmp_path)["run.json"]
    (tmp_path / "run.json").write_text(json.dumps({**json.loads(saved), **change}))
    capsys.readouterr()
    mh.load_or_train("two_conv", mnist, tmp_path)
    assert "training one first" in capsys.readouterr().out
    again = json.loads(files(tmp_path)["run.json"])
    assert (again["finished"], again["recipe"]) == (True, json.loads(saved)["recipe"])


def test_a_damaged_run_is_not_trained_again(quick_zoo, mnist, tmp_path):
    mh.load_or_train("two_conv", mnist, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    before = files(tmp_path)
    with pytest.raises(mh.CheckpointError, match=r"model\.safetensors"):
        mh.load_or_train("two_conv", mnist, tmp_path)
    assert files(tmp_path) == before


# Damage


@pytest.mark.parametrize(
    "save", [torch.save, lambda bomb, path: path.write_bytes(pickle.dumps(bomb))]
)
@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint.safetensors"])
def test_a_pickle_under_the_name_of_weights_is_not_run(folder, bomb, name, save):
    if name == "checkpoint.safetensors":
        (folder / "run.json").unlink()
    save(bomb, folder / name)
    with pytest.raises(mh.CheckpointError, match=re.escape(str(folder / name))):
        mh.load_run(folder)
    assert not bomb.marker.exists()
    pickle.loads(pickle.dumps(bomb))
    assert bomb.marker.exists()  # it is a live one


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:4],
        lambda content: b"",
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: content + b"\0",
    ],
    ids=["one byte less", "four bytes", "empty", "huge header", "longer"],
)
def test_damaged_weights_are_refused_by_name(folder, damage):
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(mh.CheckpointError, match=re.escape(str(path))):
        mh.load_run(folder)


def eleven_classes():
    """The same layers, but for the width of the last."""
    model = mh.ZOO["two_conv_dropout"].build()
    model[-1] = nn.Linear(128, 11)
    return model


def test_layers_that_share_a_weight_are_saved_with_it(tmp_path):
    one, two = nn.Linear(4, 4), nn.Linear(4, 4)
    one.weight = two.weight
    path = tmp_path / "tied.safetensors"
    write_whole(path, tensor_file(nn.Sequential(one, two).state_dict(), {}))
    found, _ = read_tensors(path)
    assert torch.equal(found["0.weight"], one.weight)
    assert torch.equal(found["1.weight"], one.weight)


def test_one_flipped_bit_in_the_weights_is_refused_but_an_older_run_has_no_checksum(folder):
    weights, description = folder / "model.safetensors", folder / "run.json"
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1  # among the numbers: the file is well formed
    weights.write_bytes(content)
    with pytest.raises(mh.CheckpointError, match=r"model\.safetensors is damaged .*SHA-256"):
        mh.load_run(folder)
    values = json.loads(description.read_text(encoding="utf-8"))
    del values["weights_sha256"]
    description.write_text(json.dumps(values), encoding="utf-8")
    mh.load_run(folder)


@pytest.mark.parametrize("build", [mh.ZOO["two_conv"].build, Own, eleven_classes])
def test_weights_of_another_model_are_refused_and_change_nothing(folder, build):
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(mh.CheckpointError, match="does not fit this model"):
        mh.load_run(folder, model=model)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("run.json", [b"", b"{", b"[1, 2]", b"null", b"\xff\xfe", b"{}", b'{"model": "two_conv"}']),
        ("metrics.json", [b"", b"{", b"[1, 2]", b"null", b"\xff\xfe"]),
    ],
)
def test_a_broken_json_file_is_refused_by_name(folder, name, contents):
    for content in contents:
        (folder / name).write_bytes(content)
        with pytest.raises(mh.CheckpointError, match=re.escape(str(folder / name))):
            mh.load_run(folder)


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_without_a_run_is_refused_by_name(run, tmp_path, there):
    folder = tmp_path / "nothing"
    if there:
        folder.mkdir()
    for use in (mh.load_run, lambda folder: mh.save_report(folder, run[2])):
        with pytest.raises(mh.CheckpointError, match=f"no run in {re.escape(str(folder))}"):
            use(folder)
    assert folder.exists() == there


def test_a_run_needs_its_weights_but_no_metrics(folder):
    (folder / "metrics.json").unlink()
    assert mh.load_run(folder)[1].metrics == {}
    (folder / "model.safetensors").unlink()
    with pytest.raises(mh.CheckpointError, match=r"model\.safetensors is missing"):
        mh.load_run(folder)


# Writing


def test_a_folder_that_cannot_be_written_is_an_error(run, tmp_path):
    _, model, report, history = run
    (tmp_path / "file").write_text("mine")
    with pytest.raises(mh.CheckpointError, match=r"cannot write .*choose a folder"):
        mh.save_run(tmp_path / "file" / "run", model, RECIPE, report, history)
    assert files(tmp_path) == {"file": b"mine"}


def test_a_full_disk_leaves_the_old_files_and_no_other(run, folder):
    """The kernel refuses files of more than 10,000 bytes, as a full disk would."""
    resource = pytest.importorskip("resource")
    _, _, report, history = run
    before = files(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(mh.CheckpointError, match=r"cannot write .*model\.safetensors"):
            mh.save_run(folder, mh.ZOO["two_conv"].build(), RECIPE, report, history)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(folder) == before


def test_a_run_that_is_cut_off_while_it_is_saved_is_none(run, folder, monkeypatch):
    """Not a damaged one: run.json of the run before must not stand beside other weights."""
    _, model, report, history = run

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mnist_helpers.runs.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        mh.save_run(folder, model, RECIPE, report, history)
    with pytest.raises(mh.CheckpointError, match="no run in"):
        mh.load_run(folder)


def test_a_checkpoint_that_came_later_counts_more_than_a_saved_run(tmp_path, make_digits):
    train, validation, model = make_digits(40), make_digits(20, seed=1), mh.ZOO["lenet"].build()
    recipe, options = mh.Recipe(epochs=1), {"run_dir": tmp_path, "verbose": False}
    mh.save_run(tmp_path, model, recipe, None, mh.fit(model, train, validation, recipe, **options))
    assert mh.load_run(tmp_path)[1].finished

    def stop(_):
        raise KeyboardInterrupt

    longer = dataclasses.replace(recipe, epochs=5)
    mh.fit(model, train, validation, longer, **options, resume=True, after_epoch=stop)
    run = mh.load_run(tmp_path)[1]
    assert (run.epochs, run.finished) == (2, False)


def test_permission_is_not_called_damage(folder, monkeypatch):
    def locked(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", locked)
    with pytest.raises(mh.CheckpointError, match=r"run\.json cannot be read"):
        mh.load_run(folder)


def test_a_write_that_fails_midway_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(mh.CheckpointError, match=r"No space left .*choose a folder"):
        write_whole(path, b"new" * 1_000)
    assert files(tmp_path) == {"file": b"old"}


def test_a_file_is_written_over_a_file_but_not_over_a_folder(tmp_path):
    write_whole(tmp_path / "file", b"old")
    write_whole(tmp_path / "file", b"new")
    assert files(tmp_path) == {"file": b"new"}
    (tmp_path / "folder").mkdir()
    with pytest.raises(mh.CheckpointError, match="cannot write"):
        write_whole(tmp_path / "folder", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists its mappings")
def test_a_file_that_was_read_can_be_replaced_on_windows_too(tmp_path):
    """Windows replaces no file that is still mapped into memory."""
    path = tmp_path / "file.safetensors"
    write_whole(path, tensor_file({"weight": torch.ones(100_000)}, {}))
    tensors, _ = read_tensors(path)
    assert str(path) not in Path("/proc/self/maps").read_text()
    assert tensors["weight"].sum() == 100_000
