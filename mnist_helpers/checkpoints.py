"""Save and load a run: weights, recipe, results, resume state (03_training.ipynb)."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mnist_helpers.certainty import Certainty
from mnist_helpers.models import BUILDERS, count_parameters, named_model
from mnist_helpers.storage import (
    CheckpointError,
    damage_named,
    load_weights,
    read_tensors,
    write_tensors,
    write_whole,
)

if TYPE_CHECKING:
    from mnist_helpers.evaluation import Report
    from mnist_helpers.history import History
    from mnist_helpers.recipes import Recipe

WEIGHTS, RUN, METRICS = "model.safetensors", "run.json", "metrics.json"
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Run:
    """What `run.json` says of a saved run, and its metrics.

    Attributes:
        model: name of the model.
        parameters: how many weights it has.
        recipe: the fields of its `Recipe`.
        epochs: how many epochs were trained.
        finished: False for a run that was stopped and can be resumed.
        device: where it was trained. precision: in what, `float32` or `bfloat16`.
        train_seconds: wall time of all epochs.
        versions: of Python, torch and this package.
        certainty: temperature and threshold of its probabilities; None if they were not fitted.
        metrics: the contents of `metrics.json`; empty before an evaluation.
    """

    model: str
    parameters: int
    recipe: dict[str, Any]
    epochs: int
    finished: bool
    device: str
    precision: str
    train_seconds: float
    versions: dict[str, str]
    certainty: Certainty | None = None
    metrics: dict[str, Any] = field(default_factory=dict)


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    names = {"torch": "torch", "mnist_helpers": "mnist-helpers"}
    found = {"python": platform.python_version()}
    for name, distribution in names.items():
        try:
            found[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:  # a folder on the path, not installed
            found[name] = "unknown"
    return found


def model_name(model: nn.Module) -> str:
    """The name under which the model is saved."""
    return str(getattr(model, "name", "") or type(model).__name__)


def describe_run(model: nn.Module, recipe: "Recipe", history: "History", finished: bool) -> Run:
    """What there is to say of a run before it is evaluated."""
    return Run(
        model=model_name(model),
        parameters=count_parameters(model),
        recipe=asdict(recipe),
        epochs=len(history.epochs),
        finished=finished,
        device=history.device,
        precision=history.precision,
        train_seconds=round(history.seconds, 3),
        versions=versions(),
    )


def save_run(
    run_dir: str | Path,
    model: nn.Module,
    recipe: "Recipe",
    report: "Report | None",
    history: "History",
    certainty: Certainty | None = None,
) -> None:
    """Write `model.safetensors`, `run.json`, `history.csv` and `metrics.json` into `run_dir`.

    Files of those names are replaced. Without a report there is no `metrics.json`: give one to
    `save_report` later. The weights are saved as they are in `model`, a `certainty` as part of
    the run.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    folder = Path(run_dir)
    run = asdict(describe_run(model, recipe, history, finished=not history.interrupted))
    del run["metrics"]
    run["certainty"] = asdict(certainty) if certainty else None
    write_tensors(folder / WEIGHTS, model.state_dict(), {"model": model_name(model)})
    write_whole(folder / "history.csv", history.to_frame().to_csv(index=False).encode())
    (folder / METRICS).unlink(missing_ok=True)
    write_whole(folder / RUN, _as_json(run))
    if report is not None:
        save_report(folder, report)


def save_report(run_dir: str | Path, report: "Report") -> None:
    """Write `metrics.json` into the folder of a saved run: how it does on the test set.

    Raises:
        CheckpointError: there is no run, or the folder cannot be written.
    """
    run = _read_run(Path(run_dir))
    metrics = {
        "source": report.source,
        "model": run.model,
        "parameters": run.parameters,
        "seed": run.recipe.get("seed"),
        "epochs": run.epochs,
        "device": run.device,
        "precision": run.precision,
        "train_seconds": run.train_seconds,
        "test_loss": report.loss,
        "test_accuracy": report.accuracy,
        "test_accuracy_interval": list(report.accuracy_interval),
        "test_f1_macro": report.f1_macro,
        "test_f1_weighted": report.f1_weighted,
    }
    write_whole(Path(run_dir) / METRICS, _as_json(metrics))


def load_run(run_dir: str | Path, model: nn.Module | None = None) -> tuple[nn.Module, Run]:
    """The model of a run, on the CPU in evaluation mode, and what is known of the run.

    Reads what `save_run` wrote; or, of a run that was stopped, the best weights so far from its
    last checkpoint (then `run.finished` is False).

    Args:
        run_dir: the folder of the run.
        model: a fresh model to fill, needed only if it is none of this package's.

    Raises:
        CheckpointError: there is no run, a file of it is damaged, or it does not fit the model.
    """
    folder = Path(run_dir)
    if (folder / RUN).is_file():
        run = _read_run(folder)
        weights, _ = read_tensors(folder / WEIGHTS)
    elif (folder / CHECKPOINT).is_file():
        tensors, state = read_tensors(folder / CHECKPOINT)
        weights = _under("best/", tensors)
        run = _as_run(state.get("run", {}), folder / CHECKPOINT)
    else:
        raise CheckpointError(f"no run in {folder}: it has neither {RUN} nor {CHECKPOINT}")
    if model is None:
        try:
            model = named_model(str(run.model))
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"{folder} holds a {run.model}, which is none of {', '.join(BUILDERS)}: "
                "pass a fresh one as model="
            ) from error
    load_weights(model, weights, str(folder))
    # The layout of `fit`: another one adds up in another order, to other last digits.
    model = model.to(memory_format=torch.channels_last)
    return model.eval(), run


def _read_run(folder: Path) -> Run:
    """`run.json`, with `metrics.json` where it is there."""
    if not (folder / RUN).is_file():
        raise CheckpointError(f"no run in {folder}: there is no {RUN}; train first")
    values: dict[str, Any] = {METRICS: {}}
    for path in (folder / RUN, folder / METRICS):
        if path.is_file():
            with damage_named(path):
                values[path.name] = dict(json.loads(path.read_text(encoding="utf-8")))
    return _as_run({**values[RUN], "metrics": values[METRICS]}, folder / RUN)


def _as_run(values: Mapping[str, Any], path: Path) -> Run:
    """A `Run` of the values that belong to one."""
    with damage_named(path):
        fields = {name: values[name] for name in Run.__annotations__ if name in values}
        if fields.get("certainty"):
            fields["certainty"] = Certainty(**fields["certainty"])
        return Run(**fields)


def _as_json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()


def save_state(
    path: Path,
    model: nn.Module,
    best_weights: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    info: Mapping[str, Any],
) -> None:
    """Write all that a run needs to go on, as one file; `info` is what JSON can hold.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in best_weights.items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if value is not None:
                tensors[f"optimizer/{index}/{name}"] = value
    write_tensors(path, tensors, info)


def load_state(
    path: Path,
    tensors: Mapping[str, Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> dict[str, Tensor]:
    """Fill `model` and `optimizer` from the tensors of `save_state`; return the best weights.

    Raises:
        CheckpointError: the tensors do not fit the model.
    """
    load_weights(model, _under("model/", tensors), str(path))
    weights = optimizer.param_groups[0]["params"]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _under("optimizer/", tensors).items():
        index, name = key.split("/")
        weight = weights[int(index)]
        # A moment has the memory layout of its weight: the fused optimizers count on it.
        if value.shape == weight.shape:
            value = torch.empty_like(weight).copy_(value)
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return _under("best/", tensors)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
