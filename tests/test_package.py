"""The package as a whole: what importing it does, who imports whom, and that all is documented."""

import ast
import importlib
import inspect
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import mnist_helpers as mh

FOLDER = Path(mh.__file__).parent
# A module may import those of lower ranks only.
RANKS = {
    "mnist_files": 0,
    "storage": 0,
    "augmentation": 0,
    "history": 0,
    "ink": 0,
    "memory": 0,
    "muon": 0,
    "paper": 0,
    "recipes": 1,
    "models": 1,
    "data": 1,
    "image_files": 1,
    "marks": 1,
    "study_files": 2,
    "evaluation": 2,
    "handwriting": 2,
    "certainty": 3,
    "corruptions": 3,
    "checkpoints": 4,
    "training": 5,
    "speedrun": 6,
    "adversarial": 6,
    "zoo": 7,
    "claims": 8,
    "study": 8,
    "prediction": 9,
    "plots": 10,
    "execution": 9,
    "drawing": 10,
    "__init__": 10,
    "__main__": 11,
}
SLOW = (
    *("pandas", "sklearn", "scipy", "matplotlib", "seaborn"),
    *("torchvision", "typer", "mlxtend", "PIL", "skimage"),
)
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
    assert not list(tmp_path.iterdir())


def runtime_imports(path):
    """The modules of the package that a module imports when it runs, in functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    names = {name.split(".")[1] for name in found if name.startswith("mnist_helpers.")}
    package = {"__init__"} if "mnist_helpers" in found and not names & RANKS.keys() else set()
    return (names & RANKS.keys()) | package


def test_every_module_has_a_rank():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(RANKS)


@pytest.mark.parametrize("name", RANKS)
def test_imports_run_downwards(name):
    imported = runtime_imports(FOLDER / f"{name}.py")
    upwards = [other for other in imported if RANKS[other] >= RANKS[name]]
    assert not upwards, f"{name} imports {upwards}"
    assert imported or RANKS[name] <= 1


def test_all_names_what_is_public():
    assert mh.__all__ == sorted(mh.__all__, key=lambda name: (not name.isupper(), name))
    assert len(mh.__all__) == len(set(mh.__all__))
    for name in mh.__all__:
        assert getattr(mh, name) is not None
    imported = {name for name, value in vars(mh).items() if not name.startswith("_")}
    modules = {name for name in RANKS if not name.startswith("_")}
    assert imported - modules == set(mh.__all__)


def public_objects():
    """Functions, classes, methods and properties of the package by their full name."""
    for stem in RANKS:
        module = importlib.import_module(f"mnist_helpers.{stem}".removesuffix(".__init__"))
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isclass(value) or inspect.isfunction(value):
                yield f"{stem}.{name}", value
            if inspect.isclass(value):
                for part, method in vars(value).items():
                    if isinstance(method, classmethod | staticmethod):
                        method = method.__func__
                    if isinstance(method, property):
                        method = method.fget
                    written = inspect.isfunction(method) and method.__module__ == module.__name__
                    if written and (not part.startswith("_") or part == "__init__"):
                        yield f"{stem}.{name}.{part}", method


PUBLIC = dict(public_objects())


def test_the_list_of_public_objects_is_not_empty():
    assert {"training.fit", "data.DigitSet", "data.DigitSet.split", "storage.write_whole"} <= set(
        PUBLIC
    )
    assert {"evaluation.Report.mistakes", "models.Normalize.forward"} <= set(PUBLIC)
    assert {"study.run_study", "claims.claims_table", "evaluation.McNemar"} <= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_object_is_documented_and_annotated(name):
    value = PUBLIC[name]
    if not name.endswith("__init__"):
        assert len((value.__doc__ or "").split()) >= 3
    if inspect.isfunction(value):
        signature = inspect.signature(value)
        given = [part for part in signature.parameters if part not in ("self", "cls")]
        assert [part for part in given if part not in value.__annotations__] == []
        assert "return" in value.__annotations__


def test_every_module_has_a_docstring():
    for path in FOLDER.glob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path.name


def test_the_command_is_installed():
    from mnist_helpers.__main__ import app

    [entry] = metadata.entry_points(group="console_scripts", name="mnist-helpers")
    assert entry.load() is app
