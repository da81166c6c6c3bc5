"""The tensor and training code behind the MNIST notebooks. Importing it does no work.

The names of the pipeline (01 to 05) stand here. All else is reached by its room, which is loaded
when it is first used: `mh.robustness.CORRUPTIONS`, `mh.plots.image_grid`.
"""

# Threads that wait for each other keep their cores busy; beside another program training crawls.
# So they soon give them up, unless you decide. OpenMP reads this once, when torch is loaded: import
# this package first. No result depends on it. How many looks are best: benchmarks/busy.py.
import os as _os

if "OMP_WAIT_POLICY" not in _os.environ:
    _os.environ.setdefault("GOMP_SPINCOUNT", "2000")

from importlib import import_module as _import_module
from types import ModuleType as _ModuleType
from typing import Any as _Any

import torch as _torch

# Colab's older runtimes have an older one, and `pip install --no-deps` doesn't look.
if tuple(map(int, _torch.__version__.split(".")[:2])) < (2, 10):
    raise ImportError(
        f"mnist_helpers needs PyTorch 2.10 or newer, this is {_torch.__version__}: in Colab choose "
        "the latest runtime version, elsewhere run `pip install --upgrade torch torchvision`"
    )

from mnist_helpers.certainty import Certainty, fit_certainty
from mnist_helpers.data import DigitSet, Mnist, load_mnist
from mnist_helpers.device import RecipeError, resolve_device, versions
from mnist_helpers.evaluation import (
    Report,
    evaluate,
    expected_calibration_error,
    loss_and_accuracy,
    mcnemar,
    mean_interval,
    predict_logits,
    wilson_interval,
)
from mnist_helpers.exercises import check
from mnist_helpers.files import CheckpointError
from mnist_helpers.history import History
from mnist_helpers.mnist_files import DataError
from mnist_helpers.models import Normalize, count_multiply_adds, count_parameters
from mnist_helpers.prediction import predict
from mnist_helpers.recipes import Recipe
from mnist_helpers.runs import Run, load_run, save_report, save_run
from mnist_helpers.trainer import TrainingDiverged
from mnist_helpers.training import fit
from mnist_helpers.zoo import PUBLISHED, ZOO, ZooEntry, load_or_train

__all__ = sorted(
    name
    for name, value in globals().items()
    if not name.startswith("_") and not isinstance(value, _ModuleType)
)
_ROOMS = (
    "deployment", "diagrams", "explanation", "handwriting", "plots",
    "results", "robustness", "speed", "study",
)  # fmt: skip


def __getattr__(name: str) -> _Any:
    if name in _ROOMS:
        return _import_module(f"mnist_helpers.{name}")
    raise AttributeError(f"module 'mnist_helpers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
