"""The figures of many runs, in notebooks 06, 07, 08 and 10.

An argument `study` has the rows of `read_study`, a `table` those of `check_claims` or `compare`.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mnist_helpers.plots import BLACK, BLUE, GREY, ORANGE, house_axes, log_axis
from mnist_helpers.study.claims import within


def study_curves(study: pd.DataFrame) -> Figure:
    """Loss and accuracy by epoch, a column a model: a thin line a run, a thick one the mean."""
    names = list(study["model"].unique())
    # The training accuracy of a first epoch is far lower, and would flatten all the rest.
    lowest = study["validation_accuracy"].explode().astype(float).min() - 0.002
    figure, grid = house_axes(
        2.5 * len(names) + 0.8, 5, 2, len(names), "both", squeeze=False, sharey="row", sharex="col"
    )
    for name, column in zip(names, grid.T, strict=True):
        runs = study[study["model"] == name]
        for ax, what in zip(column, ("loss", "accuracy"), strict=True):
            for part, colour, style in (("train", BLUE, "-"), ("validation", ORANGE, "--")):
                shortest = runs["epochs"].min()
                curves = np.array([curve[:shortest] for curve in runs[f"{part}_{what}"]])
                epochs = np.arange(curves.shape[1]) + 1
                ax.plot(epochs, curves.T, style, color=colour, alpha=0.5, lw=0.9)
                ax.plot(epochs, curves.mean(axis=0), style, color=colour, lw=2, label=part)
        column[0].set_title(name)
        log_axis(column[0])
        column[1].set(xlabel="epoch")
        column[1].xaxis.get_major_locator().set_params(integer=True)
    grid[0, 0].set_ylabel("loss (nats, log scale)")
    grid[1, 0].set(ylabel="accuracy", ylim=(lowest, None))
    grid[1, 0].yaxis.set_major_formatter("{x:.0%}")
    grid[0, 0].legend()
    return figure


def accuracy_by_size(table: pd.DataFrame) -> Figure:
    """Mean test accuracy and its 95 % interval against parameters and against multiply-adds.

    Of each model, the row with the most epochs is drawn.
    """
    figure, axes = house_axes(10, 3.6, 1, 2, "both", sharey=True)
    rows = table.sort_values("epochs").groupby("model", sort=False).tail(1)
    half = rows["high"] - rows["mean"]
    for ax, size in zip(axes, ("parameters", "multiply_adds"), strict=True):
        ax.errorbar(rows[size], rows["mean"], yerr=half, fmt="o", color=BLUE, capsize=4)
        for row in rows.itertuples():
            place = (getattr(row, size), row.mean)
            ax.annotate(row.model, place, (-7, 0), textcoords="offset points", ha="right")
        what = size.replace("_", "-")
        ax.set(xscale="log", xlabel=f"{what} (log scale)")
        ax.margins(x=0.3, y=0.1)
    axes[0].set_ylabel("test accuracy")
    axes[0].yaxis.set_major_formatter("{x:.1%}")
    figure.suptitle("Accuracy against size: mean over seeds, 95 % interval")
    return figure


def seed_spread(study: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Test accuracy of every run, a row a model, with the interval of one run and the claim."""
    figure, ax = house_axes(8, 0.7 * len(table) + 1.3, grid="x")
    places = np.arange(len(table))
    for place, row in zip(places, table.itertuples(), strict=True):
        runs = study[study["model"] == row.model]
        same = runs[runs["epochs"] == row.epochs]
        values = (same if len(same) else within(runs, row.epochs))["test_accuracy"]
        ax.plot(values, np.full(len(values), place), "o", color=BLUE, mfc="none", label="one run")
    ends = [table["mean"] - table["run_low"], table["run_high"] - table["mean"]]
    ax.errorbar(
        table["mean"], places + 0.22, xerr=ends, fmt="|", ms=10, color=BLACK, capsize=4,
        label="mean, and where one more\nrun is expected",
    )  # fmt: skip
    ax.plot(table["claimed"], places - 0.22, "v", color=ORANGE, label="claim")
    ax.set(title="Every seed gives another score", xlabel="test accuracy")
    ax.set_yticks(places, [f"{row.model}, {row.epochs} epochs" for row in table.itertuples()])
    ax.xaxis.set(major_locator=MaxNLocator(5, steps=(1, 2, 5, 10)), major_formatter="{x:.1%}")
    ax.invert_yaxis()
    handles, names = ax.get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    ax.legend(unique.values(), unique.keys(), loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def differences(table: pd.DataFrame, what: str = "test accuracy") -> Figure:
    """A row for each comparison of `compare`: the difference in points, and its 95 % interval.

    The mark is filled where the difference is clear (p under 0.05 after Holm), else hollow.
    `what` names the scores. Where all share a baseline it stands in the title, else in each row.
    """
    figure, ax = house_axes(8, 0.3 * len(table) + 1.3, grid="x")
    places, points = np.arange(len(table)), 100 * table[["difference", "low", "high"]]
    half = points["high"] - points["difference"]
    ax.axvline(0, color=BLACK, lw=0.8)
    kinds = {"clear (p < 0.05 after Holm)": table["holm"] < 0.05}
    kinds["not clear"] = ~kinds["clear (p < 0.05 after Holm)"]
    for (label, rows), face in zip(kinds.items(), (BLUE, "white"), strict=True):
        ax.errorbar(
            points["difference"][rows], places[rows], xerr=half[rows], fmt="o", color=BLUE,
            mfc=face, capsize=3, label=label,
        )  # fmt: skip
    shared, names = table["baseline"].nunique() == 1, table["name"]
    if not shared:
        names = names + " - " + table["baseline"]
    ax.set_yticks(places, names)
    ax.set_xlabel(f"{what}, difference in points, 95 % interval")
    ax.set_title(f"Compared with {table['baseline'].iloc[0]}" if shared else "Differences")
    ax.invert_yaxis()
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def error_by_size(runs: pd.DataFrame) -> Figure:
    """Test error against the number of training digits, both logarithmic: means and every run.

    `runs` has a row a run with the columns `change`, `size` and `error` (a fraction); a line for
    each change, five at most.
    """
    figure, ax = house_axes(8, 4.2, grid="both")
    names = list(runs["change"].unique())
    looks = zip(
        (BLUE, ORANGE, GREY, BLACK, BLUE), "os^vD", ("-", "--", "-.", ":", ":"), strict=True
    )
    for number, (name, (colour, mark, line)) in enumerate(zip(names, looks, strict=False)):
        rows = runs[runs["change"] == name]
        means = rows.groupby("size")["error"].mean()
        nudge = 1.05 ** (number - len(names) / 2)
        ax.plot(means.index * nudge, means, line, color=colour, marker=mark, label=name)
        ax.plot(
            rows["size"] * nudge, rows["error"], mark, color=colour, mfc="none", ms=4, alpha=0.6
        )
    ax.set(xscale="log", xlabel="training digits", ylabel="test error")
    ax.set_title("What helps with few digits: means, and every run")
    log_axis(ax, "{x:.0%}")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
