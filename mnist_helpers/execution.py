"""Run notebooks from top to bottom, and keep what they print and draw."""

import os
import time
from base64 import b64decode
from collections.abc import Iterable
from pathlib import Path

import nbformat
from mnist_helpers.files import CheckpointError, read_json, write_whole
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat.reader import NotJSONError
from nbformat.validator import ValidationError

CELL_TIMEOUT_SECONDS = 1_800


class NotebookError(CheckpointError):
    """A notebook is missing, or a cell of it failed; the message names both and the error."""


def find_notebooks(folder: Path, numbers: Iterable[str] | None = None) -> list[Path]:
    """The notebooks `NN_*.ipynb` in `folder` in order: all, or those with the numbers.

    Raises:
        NotebookError: there is none, or none with that number.
    """
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise NotebookError(f"no notebooks in {folder}: run this where the repository lies")
    known = {path.name[:2] for path in paths}
    wanted = {number.zfill(2) for number in numbers or known}
    for number in sorted(wanted - known):
        raise NotebookError(f"no notebook {number}: choose from {', '.join(sorted(known))}")
    return [path for path in paths if path.name[:2] in wanted]


def execute_notebooks(paths: list[Path], out: Path, source: str) -> str:
    """Execute into `out`, figures into `out/figures`, runs into `out/runs`; a summary in lines.

    Each notebook gets a fresh kernel that works in `out`, with `source` as MNIST_SOURCE.

    Raises:
        NotebookError: `out` cannot be made, or a cell failed; the notebook so far is in `out`.
        CheckpointError: a file in `out` cannot be written.
    """
    environment = {**os.environ, "TQDM_DISABLE": "1", "MNIST_SOURCE": source}
    if environment.get("MNIST_DATA_DIR"):
        environment["MNIST_DATA_DIR"] = str(Path(environment["MNIST_DATA_DIR"]).absolute())
    try:
        (out / "figures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotebookError(
            f"cannot write {out} ({error.strerror}): choose another --out"
        ) from error
    figures, start = 0, time.time()
    for path in paths:
        print(f"{path.name} ...", flush=True)
        figures += _execute(path, out, environment)
    return "\n".join([*_results(out, source, start), f"{figures} figures in {out / 'figures'}"])


def _execute(path: Path, out: Path, environment: dict[str, str]) -> int:
    """Run one notebook, write it and its figures; return how many figures."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except (NotJSONError, ValidationError, ValueError, AttributeError) as error:
        raise NotebookError(f"{path} is not a notebook ({error})") from error
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_SECONDS,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],  # else a warning at the start of each kernel
        resources={"metadata": {"path": str(out)}},
        record_timing=False,
        coalesce_streams=True,
    )
    for cell in notebook.cells:
        cell.update({"outputs": []} if cell.cell_type == "code" else {})
    failure = None
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        kinds = [[one.output_type for one in cell.get("outputs", [])] for cell in notebook.cells]
        number = max((n for n, found in enumerate(kinds, start=1) if "error" in found), default=0)
        failure = f"cell {number}: {error.ename}: {error.evalue}"
    except (CellTimeoutError, DeadKernelError) as error:
        failure = str(error)
    shown = [one.get("data", {}) for cell in notebook.cells for one in cell.get("outputs", [])]
    notebook.metadata.pop("widgets", None)
    for data in shown:  # a widget without its kernel shows an error: keep its line of text
        data.pop("application/vnd.jupyter.widget-view+json", None)
    write_whole(out / path.name, (nbformat.writes(notebook) + "\n").encode())
    if failure is not None:
        raise NotebookError(f"{path.name}, {failure}; see {out / path.name}")
    images = [data["image/png"] for data in shown if "image/png" in data]
    for number, image in enumerate(images, start=1):
        write_whole(out / "figures" / f"{path.stem}-{number}.png", b64decode(image))
    return len(images)


def _results(out: Path, source: str, start: float) -> list[str]:
    """What the runs reached on the test set that were saved since `start`, on that source."""
    lines = []
    for path in sorted(out.glob("runs/*/metrics.json")):
        if path.stat().st_mtime < start:  # of an earlier call
            continue
        values = read_json(path)
        if values["source"] != source:
            continue
        low, high = values["test_accuracy_interval"]
        lines += [
            f"source: {values['source']}, model: {values['model']}",
            f"test accuracy: {values['test_accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%})",
            f"macro F1: {values['test_f1_macro']:.4f}",
            f"weighted F1: {values['test_f1_weighted']:.4f}",
        ]
    return lines
