"""The package as a whole: what importing it does, its public face, the size of its rooms."""

import ast
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import mnist_helpers as mh
import pytest

FOLDER = Path(mh.__file__).parent
MODULES = sorted(FOLDER.rglob("*.py"))
SLOW = ("pandas", "sklearn", "scipy", "matplotlib", "seaborn", "torchvision", "typer", "PIL")
PROGRAM = """
import json, random, socket, sys
import numpy, torch
torch.manual_seed(7); random.seed(7); numpy.random.seed(7)
def state():
    return [
        torch.get_rng_state().tolist(), str(torch.get_default_dtype()), repr(random.getstate()),
        repr(numpy.random.get_state()), torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(), torch.is_grad_enabled(), socket.getdefaulttimeout(),
        torch.cuda.is_initialized(),
    ]
before, loaded = state(), set(sys.modules)
import mnist_helpers
print(json.dumps([sorted(set(sys.modules) - loaded), state() == before]))
"""


def test_importing_the_package_does_no_work(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    loaded, unchanged = json.loads(result.stdout)
    assert unchanged
    assert not [name for name in loaded if name.split(".")[0] in SLOW]
    assert "mnist_helpers.zoo" in loaded
    assert "mnist_helpers.study" not in loaded
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("own", "first", "spins"),
    [
        ({}, "mnist_helpers", "2000"),
        ({"GOMP_SPINCOUNT": "77"}, "mnist_helpers", "77"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "mnist_helpers", "0"),
        ({}, "torch", "300000"),  # too late, and nothing breaks
    ],
)
def test_waiting_threads_soon_give_up_their_cores_unless_the_user_decides(own, first, spins):
    names = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"}
    others = {name: value for name, value in os.environ.items() if name not in names}
    result = subprocess.run(
        [sys.executable, "-c", f"import {first}, mnist_helpers, torch; print(torch.ones(9).sum())"],
        **{"capture_output": True, "text": True, "timeout": 120},
        env={**others, "OMP_DISPLAY_ENV": "verbose", **own},
    )
    assert result.returncode == 0, result.stderr
    assert "9" in result.stdout
    found = re.findall(r"GOMP_SPINCOUNT = '(\w+)'", result.stderr)  # libgomp's own word
    if not found:
        pytest.skip("torch brings another OpenMP than libgomp")
    assert found[0] == spins


def test_the_public_face_is_small_and_topics_are_loaded_when_used():
    assert len(mh.__all__) <= 40
    assert {"fit", "load_mnist", "Recipe", "evaluate", "ZOO", "save_run"} <= set(mh.__all__)
    for room in (
        "deployment",
        "explanation",
        "handwriting",
        "plots",
        "results",
        "robustness",
        "speed",
        "study",
    ):
        assert getattr(mh, room).__name__ == f"mnist_helpers.{room}"
        assert room in dir(mh)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = mh.nonsense


def functions(path):
    """Each function's name and its lines, the docstring not counted."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            first, documented = node.body[0], ast.get_docstring(node) is not None
            docstring = first.end_lineno - first.lineno + 1 if documented else 0
            yield node.name, node.end_lineno - node.lineno + 1 - docstring


def test_rooms_stay_small():
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in MODULES}
    assert max(lines.values()) <= 300
    assert sum(lines.values()) <= 7_705
    for path in MODULES:
        for name, length in functions(path):
            assert length <= 40, f"{path.name}: {name} has {length} lines"


def test_the_command_is_installed():
    from mnist_helpers.__main__ import app

    [entry] = metadata.entry_points(group="console_scripts", name="mnist-helpers")
    assert entry.load() is app


def test_an_older_torch_is_told_in_one_line(tmp_path):
    (tmp_path / "torch.py").write_text("__version__ = '2.9.0+cu126'")
    result = subprocess.run(
        [sys.executable, "-c", "import mnist_helpers"],
        **{"capture_output": True, "text": True, "timeout": 120},
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{FOLDER.parent}"},
    )
    assert result.returncode != 0
    line = result.stderr.splitlines()[-1]
    assert "needs PyTorch 2.10 or newer, this is 2.9.0+cu126: in Colab choose" in line
    pyproject = (FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert '"torch>=2.10"' in pyproject
