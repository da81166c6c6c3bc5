"""Many models, many seeds, one table that can be stopped and resumed (06_published_models.ipynb).

A study is a CSV file with a row for each model and seed. Every run learns from the same 11/12 of
the training digits, compares epochs on the other 1/12, and opens the test set after training. Then,
when nothing is left to choose, the weights of every epoch are tested as well.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from mnist_helpers.data import DigitSet, Mnist
from mnist_helpers.device import machine_name, versions
from mnist_helpers.evaluation import evaluate, loss_and_accuracy
from mnist_helpers.files import load_weights
from mnist_helpers.models import count_multiply_adds, count_parameters
from mnist_helpers.recipes import Recipe
from mnist_helpers.results import LISTS, PUBLISHED, ResultsError, add_rows, read_rows
from mnist_helpers.study.parallel import side_by_side
from mnist_helpers.trainer import TrainingDiverged, copy_weights
from mnist_helpers.training import fit
from mnist_helpers.zoo import ZooEntry
from torch import Tensor

COLUMNS = (
    *("model", "seed", "source", "parameters", "multiply_adds", "epochs"),
    *("test_accuracy", "test_f1_macro", "test_f1_weighted", "test_loss", "test_size"),
    *("train_seconds", "device", "precision", "machine", "python", "torch", "mnist_helpers"),
    *("recipe", *LISTS),
)


def read_study(path: str | Path = PUBLISHED) -> pd.DataFrame:
    """The rows of a study, one for each model and seed; by default the published one.

    The columns in `LISTS` hold lists: a number for each epoch, and in `mistakes` the positions of
    the test digits that were read wrongly. `test_accuracy` is of the weights that the recipe
    keeps; `epoch_test_accuracy` of those after each epoch. Accuracies are fractions, losses nats.

    Raises:
        ResultsError: the file is missing or holds no study.
    """
    return read_rows(path, _check_study)


def _check_study(frame: pd.DataFrame) -> None:
    """ValueError, LookupError or TypeError unless these are rows of a study."""
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise ValueError(f"as a study it lacks {', '.join(missing)}")
    if list(frame) != list(COLUMNS):
        raise ValueError("it has other columns than a study, or in another order")
    if frame.duplicated(["model", "seed"]).any():
        raise ValueError("it has a model and seed twice")
    for row in frame.itertuples():
        Recipe(**json.loads(row.recipe))
        if any(len(getattr(row, name)) != row.epochs for name in LISTS if name != "mistakes"):
            raise ValueError(f"{row.model}, seed {row.seed}, lacks epochs")


def run_study(
    entries: Mapping[str, ZooEntry],
    seeds: Iterable[int],
    digits: Mnist,
    out: str | Path,
    *,
    device: str | torch.device = "auto",
    verbose: bool = True,
    jobs: int | None = None,
    scheduler: str | None = None,
) -> pd.DataFrame:
    """Train every entry with every seed; add a row to the CSV file `out` after each run.

    Runs in `out` are not repeated, so a study that was stopped goes on, also on another machine:
    each row tells machine, device and precision. Ctrl-C ends it; what was running is lost, the rows
    before are not. Rows come in the order of their ends, with their seconds beside other runs.

    Args:
        entries: what to train, by the name it gets in the table.
        seeds: each decides the initial weights, the order of the images and dropout.
        digits: `train` is split, `test` is opened after each training.
        out: the file; its folder is made.
        device: `auto`, `cpu`, `cuda` or `mps`. verbose: print a line a run.
        jobs, scheduler: how many run at once, and where; see `side_by_side`.

    Returns:
        All rows of `out`; see `read_study`.

    Raises:
        ValueError: there is no entry, or no seed.
        ResultsError: `out` is no study, or one of other recipes, models or digits.
        CheckpointError: `out` cannot be written.
        TrainingDiverged: a loss is NaN or infinite; the rows so far stay.
        RecipeError, ConnectionError: see `side_by_side`.
    """
    out = Path(out)
    plan = [(name, seed) for seed in dict.fromkeys(seeds) for name in entries]
    if not plan:
        raise ValueError("name at least one model and one seed")
    finished = _finished(out, entries, digits)
    missing = [run for run in plan if run not in finished]
    parts = (*digits.train.split(1 / 12, seed=0), digits.test)
    work = partial(_named, entries, device)
    rows = side_by_side(work, missing, parts, jobs=jobs, scheduler=scheduler, device=device)
    if missing:
        add_rows(out, [], COLUMNS)  # a file that cannot be written fails before the first training
    try:
        for number, ((name, seed), row) in enumerate(rows, start=len(plan) - len(missing) + 1):
            add_rows(out, [{"model": name, "seed": seed, "source": digits.source, **row}], COLUMNS)
            if verbose:
                result = f"test accuracy {row['test_accuracy']:.2%}, {row['train_seconds']:.0f} s"
                print(f"[{number}/{len(plan)}] {name}, seed {seed}: {result}", flush=True)
    except KeyboardInterrupt:
        if verbose:
            print(f"stopped; what was finished is in {out}")
    finally:
        rows.close()
    return read_study(out)


def _named(
    entries: Mapping[str, ZooEntry], device: Any, run: tuple[str, int], *digits: Any
) -> dict[str, Any]:
    """`measure` for a name and a seed; where it diverges, the error tells which."""
    name, seed = run
    try:
        return measure(entries[name], seed, *digits, device)  # type: ignore[call-arg]
    except TrainingDiverged as error:
        raise TrainingDiverged(f"{name}, seed {seed}: {error}") from error


def measure(
    entry: ZooEntry,
    seed: int,
    train: DigitSet,
    validation: DigitSet,
    test: DigitSet,
    device: str | torch.device = "auto",
) -> dict[str, Any]:
    """Train, then test: one row of a study, without its name, seed and source.

    The reported test accuracy is that of the weights that the recipe keeps. Afterwards the weights
    of every epoch are tested too, which shows what choosing the epoch on the test set would have
    gained; no choice is made with that.

    Raises:
        TrainingDiverged: the loss is NaN or infinite.
        KeyboardInterrupt: Ctrl-C.
    """
    recipe, model = replace(entry.recipe, seed=seed), entry.build(seed=seed)
    weights: list[dict[str, Tensor]] = []
    history = fit(
        *(model, train, validation, recipe),
        device=device,
        verbose=False,
        after_epoch=lambda trained: weights.append(copy_weights(trained)),
    )
    if history.interrupted:
        raise KeyboardInterrupt
    report = evaluate(model, test)
    frame = history.to_frame().round(5).rename(columns={"seconds": "epoch_seconds"})
    return {
        "parameters": count_parameters(model),
        "multiply_adds": count_multiply_adds(model),
        "epochs": len(history.epochs),
        "test_accuracy": report.accuracy,
        "test_f1_macro": round(report.f1_macro, 6),
        "test_f1_weighted": round(report.f1_weighted, 6),
        "test_loss": round(report.loss, 6),
        "test_size": len(test),
        "train_seconds": round(history.seconds, 2),
        "device": torch.device(history.device).type,
        "precision": history.precision,
        "machine": machine_name(torch.device(history.device)),
        **versions(),
        "recipe": json.dumps({key: v for key, v in asdict(recipe).items() if key != "seed"}),
        **{name: frame[name].tolist() for name in LISTS if name in frame},
        "epoch_test_accuracy": [_accuracy_with(one, model, test) for one in weights],
        "mistakes": sorted(report.mistakes().tolist()),
    }


def _accuracy_with(weights: dict[str, Tensor], model: torch.nn.Module, test: DigitSet) -> float:
    load_weights(model, weights)
    return loss_and_accuracy(model, test)[1]


def _finished(out: Path, entries: Mapping[str, ZooEntry], digits: Mnist) -> set[tuple[str, int]]:
    """Which models and seeds stand in `out`; ResultsError if they were measured otherwise."""
    if not out.exists():
        return set()
    frame = read_study(out)
    parameters = {name: count_parameters(entry.build()) for name, entry in entries.items()}
    for row in frame.itertuples():
        other = ""
        if (row.source, row.test_size) != (digits.source, len(digits.test)):
            other = f"runs on {row.source}, {row.test_size} test digits"
        elif row.model in entries:
            theirs = Recipe(**json.loads(row.recipe))
            if theirs != replace(entries[row.model].recipe, seed=theirs.seed):
                other = f"{row.model} with another recipe ({theirs.summary()})"
            elif row.parameters != parameters[row.model]:
                other = f"another {row.model}, of {row.parameters:,} parameters"
        if other:
            raise ResultsError(f"{out} holds {other}: name another file")
    return set(zip(frame["model"], frame["seed"], strict=True))
