"""The committed measurements of speed: complete, and at their goals."""

import mnist_helpers as mh
import pandas as pd
import pytest
from scipy.stats import gmean


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(mh.results.SPEED)


@pytest.fixture(scope="module")
def race(table):
    return table[table["table"] == "race"]


def test_the_file_has_every_table_and_tells_where_it_is_from(table):
    assert set(table["table"]) >= {"alone", "busy", "cold", "fit", "ladder"}
    assert set(table["table"]) >= {"race", "scaling", "steps"}
    assert table[["machine", "torch"]].notna().all(axis=None)


def test_the_lower_end_of_the_interval_reaches_the_goal(race):
    for name, goal in {"fast_99": 0.99, "fast_99, float32": 0.99, "fast_994": 0.994}.items():
        runs = race[race["name"] == name]
        assert sorted(runs["seed"]) == list(range(len(runs)))
        assert len(runs) >= 30
        assert mh.mean_interval(runs["accuracy"])[0] >= goal


def test_fast_99_is_far_ahead_on_the_same_machine(race):
    """The record's 0.762 s is of another machine: what counts here is the ratio on one machine."""
    assert race["machine"].nunique() == 1
    mean = race.groupby("name")["seconds"].mean()
    assert mean["record's recipe"] / mean["fast_99"] >= 8
    assert mean["usual script"] / mean["fast_99"] >= 100
    assert mean["fast_99, float32"] / mean["fast_99"] <= 2.5


def test_the_number_of_steps_was_decided_on_validation(table):
    steps = table[table["table"] == "steps"]
    low = {name: mh.mean_interval(runs["accuracy"])[0] for name, runs in steps.groupby("name")}
    for model, goal in (("fast_99", 0.99), ("fast_994", 0.994)):
        recipe = mh.ZOO[model].recipe
        count = recipe.epochs * recipe.epoch_of(50_000)[1]
        assert low[f"{model}, {count} steps"] >= goal
        fewer = [name for name in low if name.startswith(f"{model},")]
        assert all(low[name] < goal for name in fewer if name != f"{model}, {count} steps")


def test_the_recipe_takes_two_thirds_of_the_time_of_the_one_before(table):
    alone = table[table["table"] == "alone"].pivot(index="seed", columns="name", values="seconds")
    assert (alone["fast_99"] / alone["the recipe before this one"]).median() <= 0.68


def test_beside_another_training_it_takes_at_most_three_times_as_long(table):
    busy = table[table["table"] == "busy"].groupby("name")["seconds"].median()
    for model in ("fast_99", "two_conv"):
        assert busy[f"{model}, twin, 2000"] <= 3 * busy[f"{model}, alone, 2000"]


def test_time_grows_in_proportion_and_memory_stays_under_three_sets(table):
    scaling = table[table["table"] == "scaling"].astype({"name": int})
    median = scaling.groupby("name")["seconds"].median()
    assert median.index.max() == 600_000
    for size, seconds in median.items():
        assert abs(seconds / median.iloc[0] * median.index[0] / size - 1) <= 0.15
    assert scaling["memory"].max() < 3


def test_fit_learns_as_well_as_the_usual_loop_and_much_faster(table):
    runs = table[table["table"] == "fit"]
    seconds = runs.pivot(index="seed", columns="name", values="seconds")
    accuracy = runs.groupby("name")["accuracy"].agg(["mean", "min", "max"])
    for how, at_least in (("bfloat16", 2.4), ("float32", 1.8)):
        ratios = []
        for name in mh.PUBLISHED:
            usual, ours = f"{name}, plain", f"{name}, {how}"
            ratios.append((seconds[usual] / seconds[ours]).median())
            spread = accuracy.loc[[usual, ours]].eval("max - min").max()
            assert accuracy["mean"][usual] - accuracy["mean"][ours] <= spread
        assert gmean(ratios) >= at_least
