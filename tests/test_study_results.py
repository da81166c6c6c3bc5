"""The committed studies of regularisation and robustness: complete, at their goals, as today."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

import mnist_helpers as mh

ROOT = Path(__file__).parent.parent
SIZES = (100, 1_000, 10_000)


@pytest.fixture(scope="module")
def study():
    return mh.read_study(mh.REGULARISATION_CSV)


@pytest.fixture(scope="module")
def robustness():
    return pd.read_csv(mh.ROBUSTNESS_CSV)


@pytest.fixture(scope="module")
def mean_errors(robustness):
    rows = robustness[robustness["part"] == "corruptions"]
    shares = rows["errors"] / rows["total"]
    return shares.groupby([rows["model"], rows["corruption"]]).mean()


def test_every_change_was_tried_with_the_same_five_seeds_and_epochs(study):
    alone = study[~study["model"].str.contains("digits|record|tiny")]
    assert len(alone["model"].unique()) >= 14
    for _, runs in alone.groupby("model"):
        assert sorted(runs["seed"]) == [0, 1, 2, 3, 4]
    assert alone["epochs"].nunique() == 1
    assert set(alone["source"]) == {"mnist"}
    assert set(alone["test_size"]) == {10_000}


def test_every_small_size_has_the_same_changes_and_seeds(study):
    small = study[study["model"].str.contains("digits")]
    found = {(*name.removesuffix(" digits").rsplit(", ", 1),) for name in small["model"]}
    changes = {change for change, _ in found}
    assert found == {(change, str(size)) for change in changes for size in SIZES}
    seeds = {tuple(sorted(runs["seed"])) for _, runs in small.groupby("model")}
    assert len(seeds) == 1
    assert len(seeds.pop()) >= 3


@pytest.mark.parametrize(
    ("name", "seeds", "goal", "most_parameters", "most_epochs"),
    [("record", 5, 0.9965, 10**9, 10**9), ("tiny", 10, 0.994, 6_000, 15)],
)
def test_the_mean_reaches_the_goal(study, name, seeds, goal, most_parameters, most_epochs):
    runs = study[study["model"] == name]
    assert sorted(runs["seed"]) == list(range(seeds))
    assert runs["test_accuracy"].mean() >= goal
    assert runs["parameters"].max() <= most_parameters
    assert runs["epochs"].max() <= most_epochs
    assert runs["train_seconds"].max() <= 600


@pytest.mark.parametrize("name", ["record", "tiny"])
def test_it_was_made_with_todays_model_and_recipe(study, name):
    for row in study[study["model"] == name].itertuples():
        assert mh.Recipe(**json.loads(row.recipe)) == mh.ZOO[name].recipe
        assert row.parameters == mh.count_parameters(mh.ZOO[name].build())


def test_corruptions_break_the_plain_model(mean_errors):
    plain = mean_errors["two_conv"].drop("clean")
    assert set(plain.index) == set(mh.CORRUPTIONS)
    assert 0.12 <= plain.mean() <= 0.26


def test_the_robust_model_reaches_its_goal_and_stays_good_on_clean_digits(mean_errors):
    plain, robust = mean_errors["two_conv"], mean_errors["robust"]
    assert robust.drop("clean").mean() <= 0.10
    assert robust["clean"] <= plain["clean"] + 0.002


def test_three_models_met_the_corruptions_with_the_same_seeds(robustness):
    rows = robustness[robustness["part"] == "corruptions"]
    assert set(rows["model"]) == {"two_conv", "not augmented", "robust"}
    for _, runs in rows.groupby(["model", "corruption"]):
        assert sorted(runs["seed"]) == [0, 1, 2]
    assert set(rows["corruption"]) == {"clean", *mh.CORRUPTIONS}


def test_attacks_were_measured_on_both_models_at_every_epsilon(robustness):
    rows = robustness[robustness["part"] == "attacks"]
    counts = rows.groupby(["model", "attack", "epsilon"]).size()
    assert len(counts) == 2 * 2 * 7
    assert set(counts) == {3}


@pytest.mark.parametrize("name", ["record", "tiny"])
def test_the_readme_quotes_the_study(study, name):
    runs = study[study["model"] == name]["test_accuracy"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
    quoted = re.search(r"(\d\d\.\d\d) ± (\d\.\d\d) \(n (\d+)\)", row)
    assert quoted[1] == f"{100 * runs.mean():.2f}"
    assert quoted[2] == f"{100 * runs.std():.2f}"
    assert quoted[3] == str(len(runs))
