"""Rows of measurements into the CSV file that the package carries and notebook 10 reads."""

from collections.abc import Iterable
from typing import Any

import pandas as pd
import torch

import mnist_helpers as mh


def replace_table(table: str, rows: Iterable[dict[str, Any]], device: str = "cpu") -> pd.DataFrame:
    """Put `rows` in the place of what the file has under `table`; return them."""
    machine = mh.machine_name(mh.resolve_device(device))
    where = {"machine": machine, "torch": torch.__version__.split("+")[0]}
    new = pd.DataFrame([{"table": table, **row, **where} for row in rows])
    old = pd.read_csv(mh.SPEED_CSV) if mh.SPEED_CSV.exists() else pd.DataFrame({"table": []})
    frame = pd.concat([old[old["table"] != table], new])
    frame = frame.sort_values("table", kind="stable")
    frame.to_csv(mh.SPEED_CSV, index=False, float_format="%.5g")
    return new


def summary(rows: pd.DataFrame) -> str:
    """A line for each name: accuracy and seconds as mean, spread and n."""
    lines = []
    for name, group in rows.groupby("name", sort=False):
        accuracy, seconds = 100 * group["accuracy"], group["seconds"]
        low, _ = mh.mean_interval(group["accuracy"])
        lines.append(
            f"{name:<44} {accuracy.mean():6.2f} % ± {accuracy.std():.2f} "
            f"(lower bound {100 * low:.2f})  {seconds.mean():8.3f} s ± {seconds.std():.3f}, "
            f"median {seconds.median():.3f}  n {len(group)}"
        )
    return "\n".join(lines)


def race_table(race: pd.DataFrame) -> str:
    """The table `race` in Markdown, the slowest first."""
    lines = [
        "| | test accuracy, mean ± sd (points) | 95 % interval | seconds, mean ± sd "
        "| times as long as `fast_99` |",
        "| --- | --- | --- | --- | --- |",
    ]
    seconds = race.groupby("name")["seconds"].mean().sort_values(ascending=False)
    for name in seconds.index:
        runs = race[race["name"] == name]
        accuracy, time = 100 * runs["accuracy"], runs["seconds"]
        low, high = mh.mean_interval(accuracy)
        interval = f"{low:.2f} to {high:.2f}" if len(runs) > 2 else ""
        lines.append(
            f"| {name} | {accuracy.mean():.2f} ± {accuracy.std():.2f} (n {len(runs)}) "
            f"| {interval} | {time.mean():.2f} ± {time.std():.2f} "
            f"| {seconds[name] / seconds['fast_99']:.1f} |"
        )
    return "\n".join(lines)
