"""Files of results, a row a run: one reader and one writer for notebooks, README and benchmarks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
from mnist_helpers.files import ResultsError, write_whole

FOLDER = Path(__file__).parent
# The five published models, measured by the command in 06; then by the scripts of these names in
# benchmarks/ (`speed` by those that the table in its README names).
PUBLISHED, OWN_PROTOCOL, ANNEALED, OPEN_CHOICES = (
    FOLDER / f"{name}.csv" for name in ("published", "own_protocol", "annealed", "open_choices")
)
RUNGS, REGULARISATION, ROBUSTNESS, HANDWRITING, SPEED, DEPLOYMENT = (
    FOLDER / f"{name}.csv"
    for name in ("rungs", "regularisation", "robustness", "handwriting", "speed", "deployment")
)
# In these columns, each cell holds a number for every epoch, or for every mistake.
LISTS = {
    "train_loss": float,
    "train_accuracy": float,
    "validation_loss": float,
    "validation_accuracy": float,
    "epoch_test_accuracy": float,
    "epoch_seconds": float,
    "mistakes": int,
}


def read_rows(
    path: str | Path, check: Callable[[pd.DataFrame], None] = lambda frame: None
) -> pd.DataFrame:
    """The rows of a file of results; the columns in `LISTS` hold lists of numbers.

    Args:
        path: a CSV file, such as `SPEED`.
        check: raises a ValueError, a LookupError or a TypeError if the rows are not what is
            expected.

    Raises:
        ResultsError: the file is missing, damaged or not what is expected.
    """

    def numbers(kind: type) -> Callable[[str], list[Any]]:
        return lambda text: [kind(part) for part in text.split()]

    converters: dict[Any, Any] = {name: numbers(kind) for name, kind in LISTS.items()}
    try:
        text = Path(path).read_text(encoding="utf-8")
        kinds: dict[str, Any] = {"converters": converters, "dtype": {"model": str}}
        kinds |= {"keep_default_na": False, "na_values": ["", "nan", "NaN"]}  # "NA" may be a name
        frame = pd.read_csv(StringIO(text), **kinds)
        check(frame)
        if not text.endswith("\n"):
            raise ValueError("its end is missing")
    except FileNotFoundError as error:
        raise ResultsError(f"no results in {path}: check its name, or measure them") from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = " ".join(str(error).split())
        message = f"{path} is damaged or holds other results ({reason}): name another file"
        raise ResultsError(message) from error
    return frame


def add_rows(
    path: Path,
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str] = (),
    replacing: Mapping[str, str] | None = None,
) -> None:
    """Write the file again with more rows; the cells that it has stay as they are.

    Args:
        path: the file; it is made where there is none.
        rows: by column; lists become numbers parted by spaces, a missing cell stays empty.
        columns: the first columns of a new file; those of the rows come after them.
        replacing: rows that have these cells are left out, such as `{"table": "ladder"}`.

    Raises:
        ResultsError: the file is there and is no such file.
        CheckpointError: it cannot be written.
    """
    kept = pd.DataFrame(columns=list(columns), dtype=str)
    if path.exists():
        read_rows(path)
        kept = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    if replacing is not None:
        kept = kept[(kept.reindex(columns=list(replacing)) != pd.Series(replacing)).any(axis=1)]
    new = pd.DataFrame([{name: _as_text(value) for name, value in row.items()} for row in rows])
    text = pd.concat([kept, new]).fillna("").to_csv(index=False, lineterminator="\n")
    write_whole(path, text.encode())


def _as_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(str(part) for part in value)
    return "" if value is None else str(value)
