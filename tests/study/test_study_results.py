"""The committed studies of regularisation and robustness: complete, at their goals, as today."""

import json

import mnist_helpers as mh
import pandas as pd
import pytest
from regularisation import CHANGES


@pytest.fixture(scope="module")
def study():
    return mh.study.read_study(mh.results.REGULARISATION)


@pytest.fixture(scope="module")
def robustness():
    return pd.read_csv(mh.results.ROBUSTNESS)


@pytest.fixture(scope="module")
def mean_errors(robustness):
    rows = robustness[robustness["part"] == "corruptions"]
    shares = rows["errors"] / rows["total"]
    return shares.groupby([rows["model"], rows["corruption"]]).mean()


def test_every_change_was_tried_with_the_same_seeds_and_epochs(study):
    alone = study[~study["model"].str.contains("digits|record|tiny")]
    assert len(alone["model"].unique()) >= 14
    for _, runs in alone.groupby("model"):
        assert sorted(runs["seed"]) == sorted(set(alone["seed"]))
    assert alone["seed"].nunique() >= 5
    assert alone["epochs"].nunique() == 1
    assert set(alone["source"]) == {"mnist"}
    assert set(alone["test_size"]) == {10_000}


def test_every_change_was_made_with_todays_recipe(study):
    for row in study[~study["model"].isin(["record", "tiny"])].itertuples():
        entry = CHANGES[row.model.removesuffix(" digits").rsplit(", 1", 1)[0]]
        assert mh.Recipe(**json.loads(row.recipe)) == entry.recipe
        assert row.parameters == mh.count_parameters(entry.build())


def test_every_small_size_has_the_same_changes_and_seeds(study):
    small = study[study["model"].str.contains("digits")]
    found = {(*name.removesuffix(" digits").rsplit(", ", 1),) for name in small["model"]}
    changes = {change for change, _ in found}
    assert found == {(change, str(size)) for change in changes for size in (100, 1_000, 10_000)}
    seeds = {tuple(sorted(runs["seed"])) for _, runs in small.groupby("model")}
    assert len(seeds) == 1
    assert len(seeds.pop()) >= 3


@pytest.mark.parametrize(
    ("name", "seeds", "goal", "most_parameters"),
    [("record", 10, 0.9972, 10**9), ("tiny", 10, 0.994, 4_500)],
)
def test_the_mean_reaches_the_goal_with_todays_model_and_recipe(
    study, name, seeds, goal, most_parameters
):
    runs = study[study["model"] == name]
    assert sorted(runs["seed"]) == list(range(max(seeds, len(runs))))
    assert runs["test_accuracy"].mean() >= goal
    assert runs["parameters"].max() <= most_parameters
    assert runs["train_seconds"].min() <= 1_200  # of one thread: ten minutes of two
    assert set(runs["parameters"]) == {mh.count_parameters(mh.ZOO[name].build())}
    for text in runs["recipe"]:
        assert mh.Recipe(**json.loads(text)) == mh.ZOO[name].recipe


def test_corruptions_break_the_plain_model_and_not_the_robust_one(mean_errors):
    plain, robust = mean_errors["two_conv"], mean_errors["robust"]
    assert 0.12 <= plain.drop("clean").mean() <= 0.26
    assert robust.drop("clean").mean() <= 0.10
    assert robust["clean"] <= plain["clean"] + 0.002


def test_all_models_met_the_corruptions_and_attacks_with_the_same_seeds(robustness):
    parts = dict(list(robustness.groupby("part")))
    corruptions, attacks = parts["corruptions"], parts["attacks"]
    assert set(corruptions["model"]) == {"two_conv", "not augmented", "robust"}
    assert set(corruptions["corruption"]) == {"clean", *mh.robustness.CORRUPTIONS}
    for _, runs in corruptions.groupby(["model", "corruption"]):
        assert sorted(runs["seed"]) == list(range(corruptions["seed"].nunique()))
    counts = attacks.groupby(["model", "attack", "epsilon"]).size()
    assert counts.tolist() == [attacks["seed"].nunique()] * (2 * 2 * 7)
    for rows in (corruptions, attacks):
        assert rows["seed"].nunique() >= 3
        for where in ("machine", "torch"):
            assert (rows.groupby("seed")[where].nunique() == 1).all()  # those that are paired
