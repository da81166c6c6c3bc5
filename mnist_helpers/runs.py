"""A run on disk: weights, recipe, results, and what it needs to go on (03_training.ipynb)."""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mnist_helpers.certainty import Certainty
from mnist_helpers.data import DigitSet
from mnist_helpers.device import versions
from mnist_helpers.evaluation import Report, lay_out
from mnist_helpers.files import (
    CheckpointError,
    damage_named,
    load_weights,
    read_json,
    read_tensors,
    tensor_file,
    write_json,
    write_whole,
)
from mnist_helpers.history import EpochRecord, History
from mnist_helpers.models import BUILDERS, count_parameters, named_model
from mnist_helpers.recipes import Recipe
from torch import Tensor, nn

WEIGHTS, RUN, METRICS = "model.safetensors", "run.json", "metrics.json"
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Run:
    """What `run.json` says of a saved run, and its metrics.

    Attributes:
        model: name of the model. parameters: how many weights it has.
        recipe: the fields of its `Recipe`. epochs: how many were trained.
        finished: False for a run that was stopped and can be resumed.
        device: where it was trained. precision: `float32`, `bfloat16`, or one then the other.
        train_seconds: wall time of all epochs.
        versions: of Python, torch and this package.
        certainty: temperature and limits of its answers; None if they were not fitted.
        weights_sha256: of `model.safetensors`; empty in older runs.
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
    weights_sha256: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)


def save_run(
    run_dir: str | Path,
    model: nn.Module,
    recipe: Recipe,
    report: Report | None,
    history: History,
    certainty: Certainty | None = None,
) -> None:
    """Write `model.safetensors`, `run.json`, `history.csv` and `metrics.json` into `run_dir`.

    Files of those names are replaced. Without a report there is no `metrics.json`: `save_report`
    adds it. Weights are saved as in `model`, the centres of a `certainty` in `centres.safetensors`.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    folder = Path(run_dir)
    run = _describe(model, recipe, history, finished=not history.interrupted)
    content = tensor_file(model.state_dict(), {"model": run["model"]})
    run["weights_sha256"] = hashlib.sha256(content).hexdigest()
    epochs = history.to_frame().to_csv(index=False).encode()  # first: pandas is slow to import
    write_whole(folder / WEIGHTS, content)
    for name in (RUN, METRICS):  # of a run before: they don't fit from here on
        (folder / name).unlink(missing_ok=True)
    run["certainty"] = certainty.save(folder) if certainty else None
    write_whole(folder / "history.csv", epochs)
    write_json(folder / RUN, run)
    if report is not None:
        save_report(folder, report)


def save_report(run_dir: str | Path, report: Report) -> None:
    """Write `metrics.json` into the folder of a saved run: how it does on the test set.

    Raises:
        CheckpointError: there is no run, or the folder cannot be written.
    """
    run = read_run(Path(run_dir))
    metrics = {
        "source": report.name.split("/")[0],
        **{name: getattr(run, name) for name in ("model", "parameters", "epochs")},
        "seed": run.recipe.get("seed"),
        **{name: getattr(run, name) for name in ("device", "precision", "train_seconds")},
        "test_loss": report.loss,
        "test_accuracy": report.accuracy,
        "test_accuracy_interval": list(report.accuracy_interval),
        "test_f1_macro": report.f1_macro,
        "test_f1_weighted": report.f1_weighted,
    }
    write_json(Path(run_dir) / METRICS, metrics)


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
        run = read_run(folder)
        weights, _ = read_tensors(folder / WEIGHTS, run.weights_sha256)
    elif (folder / CHECKPOINT).is_file():
        tensors, state = read_tensors(folder / CHECKPOINT)
        weights, run = _under("best/", tensors), _as_run(state.get("run", {}), folder / CHECKPOINT)
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
    lay_out(model, torch.device("cpu"))
    return model.eval(), run


@dataclass
class State:
    """What a training run has in hand between two epochs: what a checkpoint holds.

    Attributes:
        model, optimizer, recipe, history: of the run. best_weights: of its best epoch so far.
        train, validation: the digits; a checkpoint knows them by name, size and checksums.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    history: History
    best_weights: dict[str, Tensor]
    train: DigitSet
    validation: DigitSet

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        sets = (self.train, self.validation)
        data = [[digits.name, len(digits), *_checksums(digits)] for digits in sets]
        return {"model": model_name(self.model), "recipe": asdict(self.recipe), "data": data}

    def save(self, run_dir: Path) -> None:
        """Write the checkpoint, all in one file.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        info = {
            **self.identity,
            "epochs": [asdict(record) for record in self.history.epochs],
            "run": _describe(self.model, self.recipe, self.history, finished=False),
        }
        tensors = {"step_losses": torch.tensor(self.history.step_losses, dtype=torch.float64)}
        tensors |= {f"model/{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in self.best_weights.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if value is not None:
                    tensors[f"optimizer/{index}/{name}"] = value
        write_whole(run_dir / CHECKPOINT, tensor_file(tensors, info))

    def restore(self, run_dir: Path) -> None:
        """Go back to the state of the checkpoint.

        Raises:
            CheckpointError: it is missing, damaged, or of another model, recipe or data.
        """
        path = run_dir / CHECKPOINT
        tensors, info = read_tensors(path)
        self._check_fits(info, path)
        with damage_named(path):
            self.history.epochs = [EpochRecord(**record) for record in info["epochs"]]
            self.history.step_losses = info.get("step_losses") or tensors["step_losses"].tolist()
            load_weights(self.model, _under("model/", tensors), str(path))
            self.best_weights = _under("best/", tensors)
            self._restore_optimizer(_under("optimizer/", tensors))
            ways = [*info["run"]["precision"].split(", then "), self.history.precision]
            self.history.precision = ", then ".join(dict.fromkeys(ways))

    def _restore_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        weights = self.optimizer.param_groups[0]["params"]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            index, name = key.split("/")
            weight = weights[int(index)]
            # A moment has the memory layout of its weight: the fused optimizers count on it.
            if value.shape == weight.shape:
                value = torch.empty_like(weight).copy_(value)
            state.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _check_fits(self, info: Mapping[str, Any], path: Path) -> None:
        """CheckpointError unless this run may go on from a checkpoint with that info."""
        theirs = {name: info.get(name) for name in self.identity}
        if isinstance(theirs["recipe"], dict):  # an older checkpoint lacks the newer fields
            theirs["recipe"] = {**asdict(Recipe()), **theirs["recipe"]}
            before, now = theirs["recipe"]["epochs"], self.recipe.epochs
            if self.recipe.schedule in ("none", "step") and before in range(now):
                theirs["recipe"]["epochs"] = now  # these do not look ahead
        for name, mine in self.identity.items():
            if mine != theirs[name]:
                raise CheckpointError(
                    f"{path} was made with another {name} ({_difference(theirs[name], mine)}): "
                    "resume with that one, or train in another folder"
                )


def _difference(theirs: Any, mine: Any) -> str:
    """What differs between a checkpoint's value and this run's."""
    if not isinstance(theirs, dict) or not isinstance(mine, dict):
        return f"{theirs}, here {mine}"
    names = [name for name in mine if theirs.get(name) != mine[name]]
    return "; ".join(f"{name} {theirs.get(name)}, here {mine[name]}" for name in names)


def _checksums(digits: DigitSet) -> list[int]:
    """CRC-32 of images and labels: another split of the same data has another."""
    parts = (digits.images, digits.labels)
    return [zlib.crc32(part.cpu().contiguous().numpy().data) for part in parts]


def model_name(model: nn.Module) -> str:
    """The name under which the model is saved."""
    return str(getattr(model, "name", "") or type(model).__name__)


def _describe(model: nn.Module, recipe: Recipe, history: History, finished: bool) -> dict[str, Any]:
    """The fields of a `Run` that are known before it is evaluated."""
    return {
        "model": model_name(model),
        "parameters": count_parameters(model),
        "recipe": asdict(recipe),
        "epochs": len(history.epochs),
        "finished": finished,
        "device": history.device,
        "precision": history.precision,
        "train_seconds": round(history.seconds, 3),
        "versions": versions(),
    }


def read_run(folder: Path) -> Run:
    """`run.json`, with `metrics.json` where it is there."""
    if not (folder / RUN).is_file():
        raise CheckpointError(f"no run in {folder}: there is no {RUN}; train first")
    values: dict[str, Any] = {METRICS: {}}
    for path in (folder / RUN, folder / METRICS):
        if path.is_file():
            values[path.name] = read_json(path)
    return _as_run({**values[RUN], "metrics": values[METRICS]}, folder / RUN)


def _as_run(values: Mapping[str, Any], path: Path) -> Run:
    """A `Run` of the values that belong to one."""
    with damage_named(path):
        fields = {name: values[name] for name in Run.__annotations__ if name in values}
        if fields.get("certainty"):
            fields["certainty"] = Certainty.load(path.parent, fields["certainty"])
        return Run(**fields)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {k.removeprefix(prefix): value for k, value in tensors.items() if k.startswith(prefix)}
