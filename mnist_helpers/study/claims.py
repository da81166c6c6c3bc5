"""Does a published claim hold? A study summed up as a careful reader would (06_published_models).

A claim is one run, and another seed gives another score. So it is compared with the interval in
which one more run of ours would lie, not with that of our mean.
"""

import json
import math

import pandas as pd
from mnist_helpers.evaluation import mean_interval
from mnist_helpers.study.comparison import prediction_interval
from mnist_helpers.zoo import PUBLISHED, ZOO


def within(study: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """The study as if each run had ended after so many epochs, the weights kept as its recipe says.

    Exact for schedules that do not look ahead (`none`, `step`). Only the columns `epochs` and
    `test_accuracy` change; those of the other test figures are emptied.

    Args:
        study: rows of `read_study`. epochs: at least 1.

    Raises:
        ValueError: `epochs` is less.
    """
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}: it must be at least 1")
    ends, scores = [], []
    for row in study.itertuples():
        pairs = list(zip(row.validation_accuracy, row.validation_loss, strict=True))[:epochs]
        kept = max(range(len(pairs)), key=lambda epoch: (pairs[epoch][0], -pairs[epoch][1]))
        if json.loads(row.recipe)["keep"] == "last":
            kept = len(pairs) - 1
        ends.append(len(pairs))
        scores.append(row.epoch_test_accuracy[kept])
    others = dict.fromkeys(("test_f1_macro", "test_f1_weighted", "test_loss"), math.nan)
    return study.assign(epochs=ends, test_accuracy=scores, **others)


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
    """A claim against the interval of one run.

    `reached`: it lies below, so nearly every run of ours is better. `not reached`: it lies above,
    so nearly none is as good. `not distinguishable`: it lies inside, so it could be a run of ours.
    `unknown` without an interval, or without a claim.
    """
    if math.isnan(claimed) or math.isnan(low):
        return "unknown"
    if low <= claimed <= high:
        return "not distinguishable"
    return "reached" if claimed < low else "not reached"


def check_claims(study: pd.DataFrame) -> pd.DataFrame:
    """`summarise`, in the order of the zoo, with what became of each claim.

    Columns more: `claimed`; `run_low` and `run_high`, between which one more run lies with 95 %
    probability (where the claim is "more than": above the one, and also below the other, with
    95 %); `reaching`, how many runs are as good as claimed (NaN without a claim); `verdict`.

    A claim for fewer epochs than the recipe has gets a row of its own, see `within`, unless the
    schedule looks ahead. Claims are about MNIST: for other digits the verdict is `unknown`.
    """
    parts = [study]
    plain = study["recipe"].map(lambda text: json.loads(text)["schedule"] in ("none", "step"))
    for name, entry in PUBLISHED.items():
        for epochs in entry.claimed_epochs:
            longer = (study["model"] == name) & (study["epochs"] > epochs)
            if (longer & plain).any():
                parts.append(within(study[longer & plain], epochs))
    runs = pd.concat(parts)
    table = summarise(runs)
    table["place"] = table["model"].map({name: place for place, name in enumerate(ZOO)})
    table = table.sort_values(["place", "epochs"], ignore_index=True).drop(columns="place")
    about_mnist = bool((study["source"] == "mnist").all())
    judged = []
    for row in table.itertuples():
        same = runs[(runs["model"] == row.model) & (runs["epochs"] == row.epochs)]
        judged.append(_judge(row.model, row.epochs, same["test_accuracy"].tolist(), about_mnist))
    columns = ["claimed", "run_low", "run_high", "reaching", "verdict"]
    table[columns] = pd.DataFrame(judged, index=table.index, columns=columns)
    return table


def _judge(name: str, epochs: int, scores: list[float], about_mnist: bool) -> tuple[object, ...]:
    """The last five columns of `check_claims` for a model after so many epochs."""
    entry = ZOO.get(name)
    if entry is None or epochs not in entry.claimed_epochs or not about_mnist:
        return (math.nan, *prediction_interval(scores), math.nan, "unknown")
    claimed, more = entry.claimed_accuracy, entry.claims_more
    ends = prediction_interval(scores, 0.90 if more else 0.95)
    reaching = sum(score > claimed or (score == claimed and not more) for score in scores)
    return (claimed, *ends, reaching, verdict(claimed, *ends))


def claims_table(study: pd.DataFrame) -> str:
    """`check_claims` as a table in Markdown, for README, notebook and terminal."""
    lines = [
        "| model | epochs | claim | test accuracy, mean ± sd (points) | one run, 95 % "
        "| runs as good | claim is | weighted F1 | s / epoch |",
        "| --- " * 9 + "|",
    ]
    for row in check_claims(study).itertuples():
        spread = "" if math.isnan(row.sd) else f" ± {row.sd * 100:.2f}"
        judged = not math.isnan(row.claimed)
        more = judged and ZOO[row.model].claims_more
        ends = f"over {row.run_low:.2%}" if more else f"{row.run_low:.2%} to {row.run_high:.2%}"
        cells = [
            *(f"`{row.model}`", str(row.epochs)),
            f"{'over ' * more}{row.claimed:.2%}" if judged else "",
            f"{row.mean:.2%}{spread} (n {row.runs})",
            "" if math.isnan(row.run_low) else ends,
            f"{row.reaching:.0f} of {row.runs}" if judged else "",
            "" if row.verdict == "unknown" else row.verdict,
            "" if math.isnan(row.f1) else f"{row.f1:.4f}",
            f"{row.epoch_seconds:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
