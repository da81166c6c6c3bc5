"""Does a published claim hold? A study summed up as a careful reader would (06_published_models).

One run proves little: another seed gives another score. So a claim is compared with the 95 %
interval of the mean over several seeds. (The claim itself is one run, and may have been lucky.)
"""

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mnist_helpers.zoo import PUBLISHED, ZOO

if TYPE_CHECKING:
    import pandas as pd

SUMMARY = (
    *("model", "epochs", "runs", "mean", "sd", "low", "high", "f1"),
    *("parameters", "multiply_adds", "epoch_seconds"),
)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of a few measurements, (low, high), by Student's t distribution.

    It covers what another draw of seeds would change, not another test set. NaN for one value.
    """
    import numpy as np
    from scipy.stats import t  # here: slow to import

    if len(values) < 2:
        return math.nan, math.nan
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return float(np.mean(values) - half), float(np.mean(values) + half)


def within(study: "pd.DataFrame", epochs: int) -> "pd.DataFrame":
    """The study as if each run had ended after so many epochs, its best one on validation kept.

    Exact for schedules that do not look ahead (`none`, `step`). Only the columns `epochs` and
    `test_accuracy` change; those of the other test figures are emptied.

    Args:
        study: rows of `read_study`.
        epochs: at least 1.

    Raises:
        ValueError: `epochs` is less.
    """
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}: it must be at least 1")
    rows = study.copy()
    for index, row in study.iterrows():
        pairs = list(zip(row["validation_accuracy"], row["validation_loss"], strict=True))[:epochs]
        best = max(range(len(pairs)), key=lambda epoch: (pairs[epoch][0], -pairs[epoch][1]))
        rows.at[index, "epochs"] = len(pairs)
        rows.at[index, "test_accuracy"] = row["epoch_test_accuracy"][best]
    rows[["test_f1_macro", "test_f1_weighted", "test_loss"]] = math.nan
    return rows


def summarise(study: "pd.DataFrame") -> "pd.DataFrame":
    """A row for each model and number of epochs.

    Columns: `model`, `epochs`, `runs` (how many seeds), `mean`, `sd`, `low`, `high` (of the test
    accuracy; the last two are `mean_interval`), `f1` (weighted, mean), `parameters`,
    `multiply_adds` (an image), `epoch_seconds` (median over all epochs).
    """
    import pandas as pd  # here: slow to import

    rows: list[dict[str, Any]] = []
    for (name, epochs), runs in study.groupby(["model", "epochs"], sort=False):
        low, high = mean_interval(runs["test_accuracy"].tolist())
        rows.append(
            {
                "model": name,
                "epochs": epochs,
                "runs": len(runs),
                "mean": runs["test_accuracy"].mean(),
                "sd": runs["test_accuracy"].std(),
                "low": low,
                "high": high,
                "f1": runs["test_f1_weighted"].mean(),
                "parameters": runs["parameters"].iloc[0],
                "multiply_adds": runs["multiply_adds"].iloc[0],
                "epoch_seconds": runs["epoch_seconds"].explode().astype(float).median(),
            }
        )
    return pd.DataFrame(rows, columns=list(SUMMARY))


def verdict(claimed: float, low: float, high: float) -> str:
    """A claim against the interval of our mean: `exceeded`, `agrees` (it lies inside), `missed`.

    `unknown` without an interval, or without a claim.
    """
    if math.isnan(claimed) or math.isnan(low):
        return "unknown"
    if low <= claimed <= high:
        return "agrees"
    return "exceeded" if claimed < low else "missed"


def check_claims(study: "pd.DataFrame") -> "pd.DataFrame":
    """`summarise`, in the order of the zoo, with two columns more: `claimed` and `verdict`.

    A claim for fewer epochs than the recipe has gets a row of its own, see `within`, unless the
    schedule looks ahead. Claims are about MNIST: for other digits the verdict is `unknown`.
    """
    import pandas as pd  # here: slow to import

    parts = [study]
    plain = study["recipe"].map(lambda text: json.loads(text)["schedule"] in ("none", "step"))
    for name, entry in PUBLISHED.items():
        longer = (study["model"] == name) & (study["epochs"] > entry.claimed_epochs)
        if (longer & plain).any():
            parts.append(within(study[longer & plain], entry.claimed_epochs))
    table = summarise(pd.concat(parts))
    order = {name: index for index, name in enumerate(ZOO)}
    table = table.sort_values(
        ["model", "epochs"],
        key=lambda column: column.map(order) if column.name == "model" else column,
        ignore_index=True,
    )
    on_mnist = bool((study["source"] == "mnist").all())
    table["claimed"] = [
        ZOO[row.model].claimed_accuracy
        if on_mnist and row.model in ZOO and row.epochs == ZOO[row.model].claimed_epochs
        else math.nan
        for row in table.itertuples()
    ]
    table["verdict"] = [verdict(row.claimed, row.low, row.high) for row in table.itertuples()]
    return table


def claims_table(study: "pd.DataFrame") -> str:
    """`check_claims` as a table in Markdown, for README, notebook and terminal."""
    lines = [
        "| model | epochs | claim | test accuracy, mean ± sd (points) | 95 % interval | claim is "
        "| weighted F1 | parameters | multiply-adds | s / epoch |",
        "| --- " * 10 + "|",
    ]
    for row in check_claims(study).itertuples():
        claimed = "" if math.isnan(row.claimed) else f"{row.claimed:.2%}"
        f1 = "" if math.isnan(row.f1) else f"{row.f1:.4f}"
        spread = "" if math.isnan(row.sd) else f" ± {row.sd * 100:.2f}"
        interval = "" if math.isnan(row.low) else f"{row.low:.2%} to {row.high:.2%}"
        cells = [
            f"`{row.model}`",
            str(row.epochs),
            claimed,
            f"{row.mean:.2%}{spread} (n {row.runs})",
            interval,
            "" if row.verdict == "unknown" else row.verdict,
            f1,
            f"{row.parameters:,}",
            f"{row.multiply_adds:,}",
            f"{row.epoch_seconds:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
