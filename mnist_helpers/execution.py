"""Run notebooks from top to bottom, and keep what they print and draw."""

import json
import os
import time
from base64 import b64decode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat.reader import NotJSONError
from nbformat.validator import ValidationError

from mnist_helpers.storage import damage_named, write_whole

CELL_TIMEOUT_SECONDS = 1_800


class NotebookError(RuntimeError):
    """A notebook is missing, or a cell of it failed; the message names both and the error."""


def find_notebooks(folder: Path, numbers: Iterable[str] | None = None) -> list[Path]:
    """The notebooks `NN_*.ipynb` in `folder` in order: all, or those with the numbers.

    Raises:
        NotebookError: there is none, or none with that number.
    """
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise NotebookError(f"no notebooks in {folder}: run this where the repository lies")
    if not numbers:
        return paths
    by_number = {path.name[:2]: path for path in paths}
    wanted = [number.zfill(2) for number in numbers]
    unknown = [number for number in wanted if number not in by_number]
    if unknown:
        raise NotebookError(f"no notebook {unknown[0]}: choose from {', '.join(by_number)}")
    return [by_number[number] for number in sorted(wanted)]


def execute_notebooks(paths: list[Path], out: Path, source: str) -> str:
    """Execute into `out`, figures into `out/figures`, runs into `out/runs`; a summary in lines.

    Each notebook gets a fresh kernel that works in `out`, with `source` as MNIST_SOURCE.

    Raises:
        NotebookError: a cell failed; the notebook so far is in `out`.
        CheckpointError: `out` cannot be written.
    """
    environment = _kernel_environment(source)
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


def _kernel_environment(source: str) -> dict[str, str]:
    """The environment with the source, an absolute data folder and no progress bars."""
    environment = {**os.environ, "TQDM_DISABLE": "1", "MNIST_SOURCE": source}
    if environment.get("MNIST_DATA_DIR"):
        environment["MNIST_DATA_DIR"] = str(Path(environment["MNIST_DATA_DIR"]).absolute())
    return environment


def _execute(path: Path, out: Path, environment: dict[str, str]) -> int:
    """Run one notebook, write it and its figures; return how many figures."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except (NotJSONError, ValidationError, ValueError) as error:
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
    failure = None
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        failure = f"cell {_failed_cell(notebook)}: {error.ename}: {error.evalue}"
    except (CellTimeoutError, DeadKernelError) as error:
        failure = str(error)
    notebook.metadata.pop("language_info", None)  # the version of this Python tells nothing
    _leave_out_widgets(notebook)
    write_whole(out / path.name, (nbformat.writes(notebook) + "\n").encode())
    if failure is not None:
        raise NotebookError(f"{path.name}, {failure}; see {out / path.name}")
    return _write_figures(notebook, path.stem, out / "figures")


def _leave_out_widgets(notebook: Any) -> None:
    """A widget without its kernel shows an error: keep its line of text instead."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)


def _failed_cell(notebook: Any) -> int:
    """The position, from 1, of the cell with the error."""
    for index, cell in enumerate(notebook.cells, start=1):
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            return index
    return 0


def _write_figures(notebook: Any, stem: str, folder: Path) -> int:
    """Write each PNG among the outputs as `stem-1.png`, `stem-2.png`, ..."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    images = [
        output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})
    ]
    for number, image in enumerate(images, start=1):
        write_whole(folder / f"{stem}-{number}.png", b64decode(image))
    return len(images)


def _results(out: Path, source: str, start: float) -> list[str]:
    """What the runs reached on the test set that were saved since `start`, on that source."""
    lines = []
    for path in sorted(out.glob("runs/*/metrics.json")):
        if path.stat().st_mtime < start:  # of an earlier call
            continue
        with damage_named(path):
            values = json.loads(path.read_text(encoding="utf-8"))
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
