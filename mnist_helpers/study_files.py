"""The CSV file of a study: a row for each model and seed (06_published_models.ipynb)."""

import json
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_helpers.recipes import Recipe
from mnist_helpers.storage import write_whole

if TYPE_CHECKING:
    import pandas as pd

# The five published models with five seeds each, measured by the command in 06.
PUBLISHED_CSV = Path(__file__).with_name("published.csv")
# What benchmarks/regularisation.py measured, for 07.
REGULARISATION_CSV = Path(__file__).with_name("regularisation.csv")
# What benchmarks/robustness.py measured, for 08.
ROBUSTNESS_CSV = Path(__file__).with_name("robustness.csv")
COLUMNS = (
    *("model", "seed", "source", "parameters", "multiply_adds", "epochs"),
    *("test_accuracy", "test_f1_macro", "test_f1_weighted", "test_loss", "test_size"),
    *("train_seconds", "device", "precision", "machine", "python", "torch", "mnist_helpers"),
    "recipe",
)
# More columns: each cell holds a number for every epoch, or for every mistake, parted by spaces.
LISTS = {
    "train_loss": float,
    "train_accuracy": float,
    "validation_loss": float,
    "validation_accuracy": float,
    "epoch_test_accuracy": float,
    "epoch_seconds": float,
    "mistakes": int,
}


class StudyError(ValueError):
    """A file holds no study, or one that this study cannot go on with."""


def read_study(path: str | Path = PUBLISHED_CSV) -> "pd.DataFrame":
    """The rows of a study, one for each model and seed; by default the published one.

    The columns in `LISTS` hold lists: a number for each epoch, and in `mistakes` the positions of
    the test digits that were read wrongly. `test_accuracy` is of the weights that the recipe
    keeps; `epoch_test_accuracy` of those after each epoch. Accuracies are fractions, losses nats.

    Raises:
        StudyError: the file is missing or holds no study.
    """
    import pandas as pd  # here: slow to import

    def numbers(kind: type) -> Any:
        return lambda text: [kind(part) for part in text.split()]

    converters = {name: numbers(kind) for name, kind in LISTS.items()}
    try:
        text = Path(path).read_text(encoding="utf-8")
        frame = pd.read_csv(StringIO(text), converters=converters)
        missing = [name for name in (*COLUMNS, *LISTS) if name not in frame]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        if list(frame) != [*COLUMNS, *LISTS]:
            raise ValueError("it has other columns, or in another order")
        if frame.duplicated(["model", "seed"]).any():
            raise ValueError("it has a model and seed twice")
        for row in frame.itertuples():
            Recipe(**json.loads(row.recipe))
            if any(len(getattr(row, n)) != row.epochs for n in LISTS if n != "mistakes"):
                raise ValueError(f"{row.model}, seed {row.seed}, lacks epochs")
        if not text.endswith("\n"):
            raise ValueError("its end is missing")
    except FileNotFoundError as error:
        raise StudyError(f"no study in {path}: check its name, or run one") from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise StudyError(f"{path} is damaged or no study ({reason}): name another file") from error
    return frame


def add_rows(out: Path, rows: list[dict[str, Any]]) -> None:
    """Write the file again with more rows; those that it has stay as they are.

    Args:
        out: the file; it is made where there is none.
        rows: each with all of `COLUMNS` and `LISTS`.

    Raises:
        StudyError: the file is there and holds no study.
        CheckpointError: it cannot be written.
    """
    import pandas as pd  # here: slow to import

    old = ""
    if out.exists():
        read_study(out)
        old = out.read_text(encoding="utf-8")
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *LISTS])
    for name in LISTS:
        frame[name] = [" ".join(str(value) for value in values) for values in frame[name]]
    new = frame.to_csv(index=False, header=not old, lineterminator="\n")
    write_whole(out, (old + new).encode())
