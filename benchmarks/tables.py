"""The tables of benchmarks/README.md from the rows in mnist_helpers/results: `make tables`.

They are made of the rows alone, so they can be made again anywhere. The scripts about speed give
their rows to `measured`. tests/test_results.py holds README and tables together.
"""

import math
import re
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import mnist_helpers as mh
import pandas as pd
from mnist_helpers import results
from torch import nn

RECORDS = ("record", "tiny")
CHOSEN = {  # what the zoo has of the candidates in open_choices.py
    "lenet": "normalised, batch_size 10, learning_rate 0.001",
    "two_conv": "scaled to [0, 1], learning_rate 0.001",
    "two_conv_dropout": "normalised, learning_rate 0.003",
}
README = Path(__file__).with_name("README.md")


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """The type of an argument that must be one of the names."""

    def check(text: str) -> str:
        if text not in names:
            raise ArgumentTypeError(f"no {text!r}: choose of {', '.join(names)}")
        return text

    return check


def positive(text: str) -> int:
    """The type of an argument that counts something: without it the old rows would go for none."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def device(text: str) -> str:
    """The type of an argument that must name a device which is there."""
    try:
        return str(mh.resolve_device(text))
    except mh.RecipeError as error:
        raise ArgumentTypeError(str(error)) from error


def add_places(parser: ArgumentParser) -> None:
    """The options `--jobs` and `--scheduler`, as those of `study`."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--jobs", type=positive, help="runs at once; default: one a core")
    group.add_argument("--scheduler", help="of a Dask cluster: tcp://...")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """A user's mistake, or a cluster that is gone: one line, and exit code 2. Stopped: 130."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # to end its processes too
    mistakes = (mh.DataError, mh.RecipeError, mh.CheckpointError, mh.TrainingDiverged)
    try:
        yield
    except (*mistakes, results.ResultsError, OSError, ImportError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        sys.exit(130)
    finally:
        signal.signal(signal.SIGTERM, before)


def measure_missing(
    out: Path,
    plan: Iterable[Mapping[str, Any]],
    work: Callable[..., list[dict[str, Any]]],
    sets: Any,
    columns: Sequence[str] = (),
    **places: Any,
) -> None:
    """Do what `plan` names and `out` lacks, and add the rows of each piece as soon as it is done.

    Each piece of the plan names cells that its rows have, such as a model and a seed. `work` gets a
    piece and the sets, and returns its rows, without these cells. See `side_by_side` for `places`.
    A file that holds other results or can't be written is refused before anything is measured.
    """
    plan = list(plan)
    keys = list(plan[0])
    if not out.exists():
        results.add_rows(out, [], columns or keys)
    rows = results.read_rows(out, lambda frame: frame[keys])[keys]
    done = set(rows.itertuples(index=False, name=None))
    missing = [piece for piece in plan if tuple(piece.values()) not in done]
    for piece, new in mh.study.side_by_side(work, missing, sets, device="cpu", **places):
        results.add_rows(out, [{**piece, **row} for row in new], columns)
        print(", ".join(map(str, piece.values())), f"{len(new)} rows", sep=": ", flush=True)


def where(device: str = "cpu") -> dict[str, str]:
    """The machine and the version of torch that numbers come from."""
    machine = mh.device.machine_name(mh.resolve_device(device))
    return {"machine": machine, "torch": mh.versions()["torch"]}


def fitted(model: nn.Module, *arguments: Any, **options: Any) -> mh.History:
    """`fit` on the CPU without a word; a stopped training ends the script, and is no result."""
    history = mh.fit(model, *arguments, device="cpu", verbose=False, **options)
    if history.interrupted:
        raise KeyboardInterrupt
    return history


def measured(
    table: str, rows: Iterable[dict[str, Any]], device: str = "cpu", **same: str
) -> pd.DataFrame:
    """Put `rows` in the place of what speed.csv has under `table`; return them.

    With `same`, such as `name="lenet"`, only rows that have this too are replaced.
    """
    key = {"table": table, **same}
    new = [{**key, **rounded(row), **where(device)} for row in rows]
    results.add_rows(results.SPEED, new, replacing=key)
    return speed(table)


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Five digits are enough."""
    return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in row.items()}


def speed(table: str) -> pd.DataFrame:
    """The rows of speed.csv under `table`."""
    rows = results.read_rows(results.SPEED)
    return rows[rows["table"] == table]


def markdown(header: str, rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown; `header` names the columns, parted by bars."""
    columns = header.split("|")
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def spread(values: "pd.Series[float]", unit: float = 100, digits: int = 2) -> str:
    """Mean, standard deviation and n, such as `99.17 ± 0.07 (n 30)`."""
    values = unit * values
    sd = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{sd} (n {len(values)})"


def interval(values: "pd.Series[float]") -> str:
    """The 95 % interval of the mean in points, of three values at least."""
    low, high = mh.mean_interval(list(values))
    return f"{100 * low:.2f} to {100 * high:.2f}" if len(values) > 2 else ""


def published() -> str:
    """The five published models, and what became of their claims."""
    return mh.study.claims_table(mh.study.read_study())


def own_protocol() -> str:
    """The same under their own protocol, as far as it is known."""
    return mh.study.claims_table(mh.study.read_study(results.OWN_PROTOCOL))


def annealed() -> str:
    """Two of them with another schedule."""
    return mh.study.claims_table(mh.study.read_study(results.ANNEALED))


def open_choices() -> str:
    """What the published READMEs leave open: each candidate beside the one that the zoo has."""
    rows = results.read_rows(results.OPEN_CHOICES)
    tables = []
    for name, of_model in rows.groupby("model", sort=False):
        scores = of_model.pivot(index="seed", columns="candidate", values="accuracy")
        scores = scores[of_model["candidate"].unique()]
        table = beside(scores, dict.fromkeys(scores, CHOSEN[name]))
        table = table.rename(index={CHOSEN[name]: f"**{CHOSEN[name]}**"})
        tables.append(table.assign(model=f"`{name}`"))
    compared = pd.concat(tables)
    compared["holm"] = mh.study.holm(compared["p"].tolist())  # over all models
    lines = [(row.model, row.Index, *cells(row)) for row in compared.itertuples()]
    columns = "validation accuracy, mean ± sd (points)|less the zoo's, paired"
    return markdown(f"model|candidate|{columns}|95 % interval|p (Holm)", lines)


def beside(scores: pd.DataFrame, baselines: Mapping[str, str]) -> pd.DataFrame:
    """Each column of `scores` and how it differs from its baseline, by seed; see `cells`."""
    pairs = [(name, base) for name, base in baselines.items() if name != base]
    compared = mh.study.compare(scores, pairs).set_index("name").reindex(list(scores))
    return compared.assign(runs=[scores[name].dropna() for name in scores])


def cells(row: Any) -> list[str]:
    """Of a row of `beside`: mean and spread; difference, interval and p, but for a baseline."""
    if math.isnan(row.low):
        return [spread(row.runs), "", "", ""]
    difference, low, high = (f"{100 * v:+z.2f}" for v in (row.difference, row.low, row.high))
    return [spread(row.runs), difference, f"{low} to {high}", f"{row.holm:.2g}"]


def rungs() -> str:
    """From mean images to convolutions, at about the same number of numbers."""
    rows = results.read_rows(results.RUNGS)
    lines = []
    for name, runs in rows.groupby("rung", sort=False):
        shares = [spread(runs[column]) for column in ("accuracy", "moved", "shuffled")]
        lines.append((name, f"{runs['parameters'].iloc[0]:,}", *shares))
    header = "|numbers|test accuracy, mean ± sd (points)|moved by two pixels|pixels shuffled"
    return markdown(header, lines)


def against_plain(few: bool) -> str:
    """The changes of notebook 07, with all digits or with few: differences, paired by seed."""
    study = mh.study.read_study(results.REGULARISATION)
    study = study[~study["model"].isin(RECORDS)]
    study = study[study["model"].str.contains("digits") == few]
    names = list(study["model"].unique())
    size = {name: name.partition(", ")[2] if few else "" for name in names}
    base = {name: ", ".join(filter(None, ("plain", size[name]))) for name in names}
    scores = study.pivot(index="seed", columns="model", values="test_accuracy")[names]
    lines = [(row.Index, *cells(row)) for row in beside(scores, base).itertuples()]
    header = "|test accuracy, mean ± sd (points)|less plain, paired|95 % interval|p (Holm)"
    return markdown(header, lines)


def records() -> str:
    """The most accurate network and the smallest, with both kinds of luck."""
    study = mh.study.read_study(results.REGULARISATION)
    lines = []
    for name in RECORDS:
        runs = study[study["model"] == name]
        accuracy, first = runs["test_accuracy"], runs.iloc[0]
        low, high = mh.wilson_interval(round(accuracy.mean() * 10_000), 10_000)
        digits = f"{100 * low:.2f} to {100 * high:.2f}"
        cells = f"{first['parameters']:,}", first["epochs"], spread(accuracy), interval(accuracy)
        lines.append((name, *cells, digits, f"{runs['train_seconds'].mean() / 60:.1f}"))
    header = "|parameters|epochs|test accuracy, mean ± sd (points)|over seeds, 95 %"
    return markdown(f"{header}|over digits, 95 %|minutes", lines)


def corruptions() -> str:
    """Mean error under groups of the fifteen corruptions, on clean digits, and under the worst."""
    rows = results.read_rows(results.ROBUSTNESS)
    rows = rows[rows["part"] == "corruptions"].assign(error=lambda part: part.errors / part.total)
    relatives = list(mh.robustness.RELATIVES)
    lines = []
    for name, runs in rows.groupby("model", sort=False):
        table = runs.pivot(index="seed", columns="corruption", values="error")
        clean = table.pop("clean")
        others = table.drop(columns=relatives)
        groups = (table, table[relatives], others, others.drop(columns="stripe"))
        means = [spread(group.mean(axis=1), digits=1) for group in groups]
        worst = table.mean().idxmax()
        lines.append((name, *means, spread(clean), f"{worst}, {100 * table[worst].mean():.1f}"))
    header = "|mean error of the fifteen, %|the six|the nine|the nine less stripe"
    return markdown(f"{header}|clean digits|the worst", lines)


def attacks() -> str:
    """What is left under FGSM and PGD, mean ± sd over the seeds."""
    rows = results.read_rows(results.ROBUSTNESS)
    rows = rows[rows["part"] == "attacks"].assign(right=lambda part: 1 - part.errors / part.total)
    groups = rows.groupby(["model", "attack", "epsilon"], sort=False)["right"]
    table = groups.agg(lambda runs: spread(runs, digits=1).split(" (")[0]).unstack()
    lines = [(*names, *line) for names, line in zip(table.index, table.to_numpy(), strict=True)]
    steps = "|".join(f"{epsilon:g}" for epsilon in table.columns)
    return markdown(f"trained (n {groups.size().min()})|attack|{steps}", lines)


def handwriting() -> str:
    """Digits that do not look like MNIST's, things that are none, and the time it takes."""
    rows = results.read_rows(results.HANDWRITING)
    rows = rows[~rows["part"].isin(["nonsense", "pages", "pages, before", "fresh"])]
    groups = rows.groupby(["name", "unit"], sort=False)["value"]
    lines = [(name, f"{spread(runs, unit=1)}", unit) for (name, unit), runs in groups]
    return markdown("|mean ± sd|unit", lines)


def nonsense() -> str:
    """What of made nonsense and of mistakes is flagged, by each way, in per cent."""
    rows = results.read_rows(results.HANDWRITING)
    values = rows[rows["part"] == "nonsense"].groupby("name", sort=False)["value"]
    cells = {str(name): spread(runs, unit=1) for name, runs in values}
    ways = [name.removeprefix("nonsense: ") for name in cells if name.startswith("nonsense")]
    kinds = "nonsense", "mistakes", "letters"
    lines = [(way, *(cells[f"{kind}: {way}"] for kind in kinds)) for way in ways]
    return markdown("flagged by|nonsense, %|mistakes on validation, %|other letters, %", lines)


def pages_by_kind() -> str:
    """Whole pages right in per cent, as it was, as it is, and on pages that nobody looked at."""
    rows = results.read_rows(results.HANDWRITING)
    parts = [rows[rows["part"] == part] for part in ("pages, before", "pages", "fresh")]
    columns: list[dict[Any, str]] = [
        {kind: spread(runs, unit=1) for kind, runs in part.groupby("name", sort=False)["value"]}
        for part in parts
    ]
    lines = [(kind, *(column.get(kind, "") for column in columns)) for kind in columns[1]]
    return markdown("pages|before, % right|now, % right|fresh pages, % right", lines)


def deployment() -> str:
    """The models as ONNX, as they are and in 8 bits, and as a web page."""
    lines = [
        (
            f"`{row.model}`",
            *(f"{size / 1000:,.0f}" for size in (row.onnx_bytes, row.int8_bytes, row.page_bytes)),
            *(row.onnx_differs, f"{row.largest_gap:.0e}", row.int8_differs),
            f"{row.wrong}, {row.int8_wrong} ({row.p_value:.2f})",
            f"{row.torch_one:.2f}, {row.onnx_one:.1f}, {row.int8_one:.1f}",
            f"{row.torch_many:.3f}, {row.onnx_many:.1f}, {row.int8_many:.1f}",
        )
        for row in results.read_rows(results.DEPLOYMENT).itertuples()
    ]
    sizes = "ONNX, kB|8 bits, kB|web page, kB|ONNX: other answers|largest gap of logits"
    answers = "8 bits: other answers|mistakes of torch, of 8 bits (p)"
    fast = "one: torch's ms, ONNX and 8 bits times as fast|500 at once"
    return markdown(f"{sizes}|{answers}|{fast}", lines)


def race(table: str = "race") -> str:
    """The race to 99 %, the slowest first."""
    rows = speed(table)
    seconds = rows.groupby("name")["seconds"].mean().sort_values(ascending=False)
    lines = []
    for name in seconds.index:
        runs = rows[rows["name"] == name]
        accuracy, time = runs["accuracy"], runs["seconds"]
        ratio = seconds[name] / seconds["fast_99"]
        times = f"{ratio:.1f}" if ratio < 100 else f"{round(ratio, -1):.0f}"
        took = f"{time.mean():.2f} ± {time.std():.2f}"
        lines.append((name, spread(accuracy), interval(accuracy), took, times))
    header = "|test accuracy, mean ± sd (points)|95 % interval|seconds, mean ± sd"
    return markdown(f"{header}|times as long as `fast_99`", lines)


def cold() -> str:
    """Where the seconds of a whole process go."""
    groups = speed("cold").groupby("name", sort=False)["seconds"]
    return markdown("|seconds, mean ± sd", [(n, spread(runs, unit=1)) for n, runs in groups])


def fit_ratios(name: str = "fit") -> dict[str, dict[str, float]]:
    """By precision and model: the usual loop's seconds divided by those of `fit`, median."""
    table = speed(name).pivot(index="seed", columns="name", values="seconds")
    ratios: dict[str, dict[str, float]] = {}
    for column in table:
        model, _, way = str(column).rpartition(", ")
        if way != "plain":
            ratio = (table[f"{model}, plain"] / table[column]).median()
            ratios.setdefault(way, {})[model] = ratio
    for way, of_models in ratios.items():
        logs = [math.log(ratio) for ratio in of_models.values()]
        ratios[way] = {**of_models, "geometric mean": math.exp(sum(logs) / len(logs))}
    return ratios


def fit_speed(name: str = "fit") -> str:
    """One epoch with the usual loop and with `fit`."""
    rows, ratios = speed(name), fit_ratios(name)
    accuracy = {name: spread(runs) for name, runs in rows.groupby("name")["accuracy"]}
    lines = []
    for model in next(iter(ratios.values())):
        cells = [accuracy.get(f"{model}, {way}", "") for way in ("plain", *ratios)]
        lines.append((model, *(f"{of[model]:.2f}" for of in ratios.values()), *cells))
    header = "|".join(f"usual loop / `fit`, {way}" for way in ratios)
    ways = "|".join(f"`fit`, {way}" for way in ratios)
    return markdown(f"model|{header}|accuracy: usual loop|{ways}", lines)


def scaling() -> str:
    """Seconds and memory against the number of digits."""
    rows = speed("scaling").astype({"name": int})
    seconds = rows.pivot(index="seed", columns="name", values="seconds")
    first, lines = min(seconds.columns), []
    for size in seconds.columns:
        ratio = (seconds[size] / seconds[first]).median() / (size / first)
        memory = rows[rows["name"] == size]["memory"].max()
        lines.append(
            (f"{size:,}", f"{seconds[size].median():.1f}", f"{ratio:.2f}", f"{memory:.2f}")
        )
    return markdown("digits|seconds|of proportional|memory, in raw sets", lines)


def busy() -> str:
    """Alone, beside a process that counts, and beside a second training: seconds, medians."""
    rows = speed("busy")
    rows[["model", "beside", "setting"]] = rows["name"].str.split(", ", expand=True).to_numpy()
    seconds = rows.pivot_table(
        "seconds", "setting", ["model", "beside"], aggfunc="median", sort=False
    )
    lines = [(name, *(f"{value:.2f}" for value in line)) for name, line in seconds.iterrows()]
    header = "|".join(", ".join(column) for column in seconds.columns)
    return markdown(f"waiting|{header}", lines)


def jobs() -> str:
    """Many runs at once, compared with one after the other on one thread: medians."""
    rows = speed("jobs")
    rows[["model", "way"]] = rows["name"].str.split(": ", expand=True).to_numpy()
    lines = []
    for model, runs in rows.groupby("model", sort=False):
        wide = runs.pivot(index="seed", columns="way", values=["seconds", "rate"])
        seconds, rate = wide["seconds"], wide["rate"]
        for way in runs["way"].unique():
            whole = (seconds["`--jobs 1`"] / seconds[way]).median()
            running = (rate[way] / rate["`--jobs 1`"]).median()
            took = f"{seconds[way].median():.0f}"
            lines.append((f"`{model}`", way, took, f"{whole:.2f}", f"{running:.2f}"))
    return markdown("model|four runs|seconds|times as fast|training only", lines)


def latency() -> str:
    """Naps on more and more workers."""
    rows = speed("latency").astype({"name": int})
    base = rows.iloc[0]
    lines = []
    for row in rows.itertuples():
        share = row.rate / base["rate"] / (row.name / base["name"])
        lines.append((row.name, f"{row.rate:.1f}", f"{share:.2f}"))
    return markdown("workers|naps a second|of linear from 16", lines)


def classic() -> str:
    """Methods without a network, and two networks beside them."""
    rows = speed("classic").sort_values("accuracy")
    lines = [
        (
            *(row.name, f"{100 * row.accuracy:.2f}"),
            "" if math.isnan(row.choice) else f"{row.choice:.1f}",
            *(f"{row.seconds:.1f}", f"{row.read:.1f}", f"{row.memory:,.0f}"),
        )
        for row in rows.itertuples(index=False)
    ]
    header = "|test accuracy, points|choosing, s|learning, s|reading the test set, s|memory, MiB"
    return markdown(header, lines)


def validation(table: str) -> str:
    """Entries that were compared on validation digits: accuracy, its lower end, and seconds."""
    lines = []
    for name, runs in speed(table).groupby("name", sort=False):
        low, _ = mh.mean_interval(list(runs["accuracy"]))
        cells = spread(runs["accuracy"]), f"{100 * low:.3f}", f"{runs['seconds'].median():.2f}"
        lines.append((name, *cells))
    return markdown("|validation accuracy, mean ± sd (points)|lower end|seconds, median", lines)


TABLES: dict[str, Callable[[], str]] = {
    "published": published,
    "own protocol": own_protocol,
    "annealed": annealed,
    "open choices": open_choices,
    "rungs": rungs,
    "records": records,
    "changes": lambda: against_plain(few=False),
    "small": lambda: against_plain(few=True),
    "corruptions": corruptions,
    "attacks": attacks,
    "handwriting": handwriting,
    "nonsense": nonsense,
    "pages": pages_by_kind,
    "deployment": deployment,
    "race": race,
    "cold": cold,
    "fit": fit_speed,
    "scaling": scaling,
    "busy": busy,
    "jobs": jobs,
    "latency": latency,
    "classic": classic,
    **{name: partial(validation, name) for name in ("ladder", "alone", "steps")},
}


def with_tables(text: str) -> str:
    """The text with a fresh table after each `<!-- table: NAME -->`, up to the next empty line."""

    def fresh(match: re.Match[str]) -> str:
        return f"{match[1]}\n{TABLES[match[2]]()}\n"

    return re.sub(r"(<!-- table: ([\w ]+) -->)\n(?:\|.*\n)*", fresh, text)


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
