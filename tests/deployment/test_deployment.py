"""What leaves Python: the ONNX file against torch, what the web page holds, and mistakes."""

import base64
import json
import re
import sys
import zlib

import mnist_helpers as mh
import numpy as np
import pytest
import torch
from mnist_helpers.__main__ import app
from mnist_helpers.deployment import ExportError, onnx_logits, onnx_model, web_page
from torch import nn
from typer.testing import CliRunner

QUICK = ("fast_99", "tiny")
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in mh.ZOO]


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx", reason="needs the extra deploy")


def used(name):
    """A fresh model, as if it were trained: its batch normalisation has numbers of its own."""
    model = mh.ZOO[name].build(seed=0).eval().to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                tensor.data.uniform_(0.5, 2, generator=generator)
    return model


def save(folder, model):
    """A run of a model, with a certainty whose centres are made up."""
    certainty = mh.Certainty(1.5, 0.75, centres=torch.eye(784)[:20].half(), farthest=0.5)
    mh.save_run(folder, model, mh.Recipe(), None, mh.History("cpu", "float32"), certainty)
    return folder


def call(*words):
    return CliRunner().invoke(app, ["export", *map(str, words)])


def assert_one_line(result, *expected):
    assert result.exit_code == 2, (result.output, result.exception)
    [line] = result.stderr.splitlines()
    assert all(words in line for words in ("mnist-helpers: ", *expected)), line


@pytest.mark.parametrize("name", NAMES)
def test_an_onnx_file_gives_torchs_logits_for_any_batch(onnx, name, sample):
    model = used(name).train()
    content = onnx_model(model, {"model": name})
    assert model.training
    images = sample.test.images[:501]
    theirs = onnx_logits(content, images)  # batches of 500 and of 1
    torch.testing.assert_close(theirs, mh.predict_logits(model, images), atol=1e-4, rtol=1e-4)
    assert theirs.dtype == torch.float32
    proto = onnx.load_from_string(content)
    shape = proto.graph.input[0].type.tensor_type
    assert [proto.graph.input[0].name, proto.graph.output[0].name] == ["images", "logits"]
    assert shape.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_value for d in shape.shape.dim] == [0, 1, 28, 28]
    assert {prop.key: prop.value for prop in proto.metadata_props} == {"model": name}


def test_eight_bits_are_smaller_and_nearly_the_same(onnx, sample):
    model, images = used("two_conv"), sample.train.images
    sizes = [len(onnx_model(model, {}, part)) for part in (None, images)]
    assert sizes[1] < 0.3 * sizes[0]
    rough = onnx_logits(onnx_model(model, {}, images), sample.test.images)
    exact = mh.predict_logits(model, sample.test.images)
    assert 0 < (rough - exact).abs().mean() < 0.1 * exact.std()
    with pytest.raises(ExportError, match="no digits to calibrate"):
        onnx_model(model, {}, images[:0])
    with pytest.raises(ExportError, match="can't read it"):
        onnx_logits(b"no ONNX file", images)


def stored(page):
    """The network of a page, and its numbers, decoded here once more."""
    network = json.loads(re.search(r"^const NETWORK = (.*);$", page, re.M)[1])
    packed = base64.b64decode(re.search(r'^const WEIGHTS = "(.*)";$', page, re.M)[1])
    content, at, arrays = zlib.decompress(packed), 4, []
    described = [
        layer[name] for layer in network["layers"] for name in ("weight", "bias") if name in layer
    ]
    described += [network[name] for name in ("centres", "within") if name in network]
    for tensor in described:
        kind = {"float32": "<f4", "bfloat16": "<u2", "int8": "i1"}[tensor["type"]]
        count = int(np.prod(tensor["shape"]))
        values = np.frombuffer(content, kind, count, at)
        at += values.nbytes
        if kind == "<u2":
            values = (values.astype("<u4") << 16).view("<f4")
        arrays.append(values.reshape(tensor["shape"]))
    assert at == len(content)
    return network, arrays


def test_a_page_holds_the_weights_the_limits_and_nothing_from_outside(sample):
    model = used("fast_99")
    centres, within = torch.eye(128)[:30].half() / 2, torch.eye(128)[:, 50:53].half()
    certainty = mh.Certainty(1.5, 0.75, centres, 0.5, 0.9, within)
    page = web_page(model, certainty)
    network, arrays = stored(page)
    kinds = [layer["kind"] for layer in network["layers"]]
    assert kinds == [
        *("crop", "normalize", "convolution", "relu", "convolution", "relu"),
        *("flattenPixels", "linear", "scale", "relu", "linear"),
    ]
    weights = [weight for weight in model.parameters() if weight.ndim > 1]
    for weight, array in zip(weights, [a for a in arrays[:-2] if a.ndim > 1], strict=True):
        assert (weight.detach().bfloat16().float().numpy() == array).all()
    assert (arrays[-2] == 127 * np.eye(128)[:30]).all()
    assert (arrays[-1] == np.eye(128)[:, 50:53]).all()
    limits = [network[name] for name in ("temperature", "threshold", "farthest", "no_digit")]
    assert [*limits, network["largest"]] == [1.5, 0.75, 0.5, 0.9, 0.5]
    assert len(page) < 400_000
    assert len(web_page(used("tiny"))) < 100_000
    assert not re.search(r"https?:|src=|@import|fetch\(|XMLHttp|import\(", page)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Sigmoid(),
        nn.MaxPool2d(3, stride=2),
        nn.MaxPool2d(2, return_indices=True),
        nn.BatchNorm2d(1, affine=False),
        nn.Linear(28, 10),
        nn.Conv2d(1, 4, 3, dilation=2),
        nn.Conv2d(1, 4, (3, 5)),
        nn.Conv2d(1, 4, 3, padding="same"),
        nn.BatchNorm2d(1, track_running_stats=False),
    ],
    ids=str,
)
def test_a_layer_that_the_page_does_not_know_is_an_error(layer):
    with pytest.raises(ExportError, match=type(layer).__name__):
        web_page(nn.Sequential(mh.Normalize(), layer))


class Doubled(nn.Sequential):
    def forward(self, images):
        return 2 * super().forward(images)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
        nn.Sequential(mh.Normalize(), mh.Normalize(), nn.Flatten(), nn.Linear(784, 10)),
        Doubled(mh.Normalize(), nn.Flatten(), nn.Linear(784, 10)),
    ],
    ids=["without Normalize", "with two", "with a forward of its own"],
)
def test_a_model_that_the_page_would_compute_in_another_way_is_an_error(model):
    with pytest.raises(ExportError, match=r"must begin with Normalize|plain nn\.Sequential"):
        web_page(model)


def test_the_command_writes_both_files(onnx, tmp_path, sample, no_variables):
    run = save(tmp_path / "run", used("lenet"))
    files = tmp_path / "new" / "model.onnx", tmp_path / "new" / "page.html"
    result = call(run, "--onnx", files[0], "--html", files[1], "--source", "sample")
    assert result.exit_code == 0, (result.output, result.exception)
    first, second = result.stdout.splitlines()
    assert "0 of 1,000 test digits get another answer" in first
    assert (
        second == f"{files[1]}: {len(files[1].read_bytes()) / 1000:,.0f} kB; open it in a browser"
    )
    assert sorted(path.name for path in files[0].parent.iterdir()) == ["model.onnx", "page.html"]
    properties = {p.key: p.value for p in onnx.load(files[0]).metadata_props}
    assert properties["model"] == "lenet"
    assert [properties[name] for name in ("temperature", "threshold")] == ["1.5", "0.75"]
    assert json.loads(properties["recipe"])["epochs"] == mh.Recipe().epochs
    images = sample.test.images[:10]
    assert onnx_logits(files[0], images).allclose(
        mh.predict_logits(mh.load_run(run)[0], images), atol=1e-4
    )


def test_a_mistake_is_answered_in_one_line_and_writes_nothing(
    tmp_path, monkeypatch, quick_sample, no_variables
):
    run = save(tmp_path / "run", used("lenet"))
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "file").write_text("no folder")
    assert_one_line(call(run), "--onnx model.onnx", "--html page.html")
    assert_one_line(call(run, "--html", out / "a.html", "--int8"), "--onnx model.onnx")
    assert_one_line(call(run, "--html", out / "page.txt"), "page.txt", ".html")
    both = ("--onnx", out / "a.onnx", "--html", out / "page.txt", "--source", "sample")
    assert_one_line(call(run, *both), "page.txt", ".html")
    assert_one_line(call(run, "--html", tmp_path / "file" / "a.html"), "cannot write")
    assert_one_line(call(tmp_path / "none", "--html", out / "a.html"), "no run in")
    weights = run / "model.safetensors"
    for damaged in (weights.read_bytes()[:-4], b""):
        weights.write_bytes(damaged)
        assert_one_line(call(run, "--html", out / "a.html"), "model.safetensors")
    strange = save(tmp_path / "strange", nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
    assert_one_line(call(strange, "--html", out / "a.html"), "which is none of")
    whole = save(tmp_path / "whole", used("lenet"))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    onnx_file = ("--onnx", out / "a.onnx", "--source", "sample")
    assert_one_line(call(whole, *onnx_file), "pip install --upgrade onnx onnxscript onnxruntime")
    assert not list(out.iterdir())


def test_other_answers_than_torchs_are_not_written(onnx, tmp_path, monkeypatch, sample):
    model, run = mh.load_run(save(tmp_path / "run", used("lenet")))
    from mnist_helpers.deployment import writing

    monkeypatch.setattr(writing, "onnx_logits", lambda _, images: -mh.predict_logits(model, images))
    with pytest.raises(ExportError, match="other answers than torch"):
        writing.export_onnx(tmp_path / "a.onnx", model, run, sample)
    assert not (tmp_path / "a.onnx").exists()
