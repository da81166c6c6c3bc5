"""Does a published claim hold? A study summed up as a careful reader would (06_published_models).

One run proves little: another seed gives another score. So a claim is compared with the 95 %
interval of the mean over several seeds. (The claim itself is one run, and may have been lucky.)
"""

import json
import math

import pandas as pd
from mnist_helpers.evaluation import mean_interval
from mnist_helpers.zoo import PUBLISHED, ZOO


def within(study: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """The study as if each run had ended after so many epochs, its best one on validation kept.

    Exact for schedules that do not look ahead (`none`, `step`). Only the columns `epochs` and
    `test_accuracy` change; those of the other test figures are emptied.

    Args:
        study: rows of `read_study`. epochs: at least 1.

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


def summarise(study: pd.DataFrame) -> pd.DataFrame:
    """A row for each model and number of epochs.

    Columns: `model`, `epochs`, `runs` (how many seeds), `mean`, `sd`, `low`, `high` (of the test
    accuracy; the last two are `mean_interval`), `f1` (weighted, mean), `parameters`,
    `multiply_adds` (an image), `epoch_seconds` (median over all epochs).
    """
    accuracy = "test_accuracy"
    return (
        study.groupby(["model", "epochs"], sort=False)
        .agg(
            runs=("seed", "size"),
            mean=(accuracy, "mean"),
            sd=(accuracy, "std"),
            low=(accuracy, lambda values: mean_interval(list(values))[0]),
            high=(accuracy, lambda values: mean_interval(list(values))[1]),
            f1=("test_f1_weighted", "mean"),
            parameters=("parameters", "first"),
            multiply_adds=("multiply_adds", "first"),
            epoch_seconds=("epoch_seconds", lambda lists: lists.explode().astype(float).median()),
        )
        .reset_index()
    )


def verdict(claimed: float, low: float, high: float) -> str:
    """A claim against the interval of our mean: `exceeded`, `agrees` (it lies inside), `missed`.

    `unknown` without an interval, or without a claim.
    """
    if math.isnan(claimed) or math.isnan(low):
        return "unknown"
    if low <= claimed <= high:
        return "agrees"
    return "exceeded" if claimed < low else "missed"


def check_claims(study: pd.DataFrame) -> pd.DataFrame:
    """`summarise`, in the order of the zoo, with two columns more: `claimed` and `verdict`.

    A claim for fewer epochs than the recipe has gets a row of its own, see `within`, unless the
    schedule looks ahead. Claims are about MNIST: for other digits the verdict is `unknown`.
    """
    parts = [study]
    plain = study["recipe"].map(lambda text: json.loads(text)["schedule"] in ("none", "step"))
    for name, entry in PUBLISHED.items():
        longer = (study["model"] == name) & (study["epochs"] > entry.claimed_epochs)
        if (longer & plain).any():
            parts.append(within(study[longer & plain], entry.claimed_epochs))
    table = summarise(pd.concat(parts))
    table["place"] = table["model"].map({name: place for place, name in enumerate(ZOO)})
    table = table.sort_values(["place", "epochs"], ignore_index=True).drop(columns="place")
    claims = {}
    if (study["source"] == "mnist").all():
        claims = {(name, one.claimed_epochs): one.claimed_accuracy for name, one in ZOO.items()}
    pairs = zip(table["model"], table["epochs"], strict=True)
    table["claimed"] = [claims.get(pair, math.nan) for pair in pairs]
    table["verdict"] = [verdict(row.claimed, row.low, row.high) for row in table.itertuples()]
    return table


def claims_table(study: pd.DataFrame) -> str:
    """`check_claims` as a table in Markdown, for README, notebook and terminal."""
    lines = [
        "| model | epochs | claim | test accuracy, mean ± sd (points) | 95 % interval | claim is "
        "| weighted F1 | parameters | multiply-adds | s / epoch |",
        "| --- " * 10 + "|",
    ]
    for row in check_claims(study).itertuples():
        spread = "" if math.isnan(row.sd) else f" ± {row.sd * 100:.2f}"
        cells = [
            *(f"`{row.model}`", str(row.epochs)),
            "" if math.isnan(row.claimed) else f"{row.claimed:.2%}",
            f"{row.mean:.2%}{spread} (n {row.runs})",
            "" if math.isnan(row.low) else f"{row.low:.2%} to {row.high:.2%}",
            "" if row.verdict == "unknown" else row.verdict,
            "" if math.isnan(row.f1) else f"{row.f1:.4f}",
            *(f"{row.parameters:,}", f"{row.multiply_adds:,}", f"{row.epoch_seconds:.1f}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
