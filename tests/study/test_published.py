"""published.csv: whole, made with today's models and recipes, good enough."""

import dataclasses
import json
import tomllib
from pathlib import Path

import mnist_helpers as mh
import pytest
from mnist_helpers.results import LISTS, OWN_PROTOCOL, PUBLISHED


@pytest.fixture(scope="module")
def study():
    return mh.study.read_study()


@pytest.fixture(scope="module")
def own():
    return mh.study.read_study(OWN_PROTOCOL)


def test_it_has_the_same_seeds_of_each_of_five_models(study):
    seeds = study["seed"].nunique()
    assert seeds >= 5
    found = sorted(zip(study["model"], study["seed"], strict=True))
    assert found == sorted((name, seed) for name in mh.PUBLISHED for seed in range(seeds))
    assert set(study["source"]) == {"mnist"}
    assert set(study["test_size"]) == {10_000}


@pytest.mark.parametrize("name", list(mh.PUBLISHED))
def test_it_was_made_with_todays_models_and_recipes(study, name):
    entry, runs = mh.ZOO[name], study[study["model"] == name]
    for text in runs["recipe"]:
        assert mh.Recipe(**json.loads(text)) == entry.recipe
    assert set(runs["epochs"]) == {entry.recipe.epochs}
    assert set(runs["parameters"]) == {mh.count_parameters(entry.build())}
    assert set(runs["multiply_adds"]) == {mh.count_multiply_adds(entry.build())}


def test_the_epoch_chosen_is_the_best_on_validation(study):
    for row in study.itertuples():
        assert {len(getattr(row, name)) for name in LISTS.keys() - {"mistakes"}} == {row.epochs}
        merits = zip(row.validation_accuracy, row.validation_loss, strict=True)
        merits = [(accuracy, -loss) for accuracy, loss in merits]
        assert row.test_accuracy == row.epoch_test_accuracy[merits.index(max(merits))]


def test_the_mistakes_are_as_many_as_the_accuracy_says_and_never_the_same(study):
    for row in study.itertuples():
        assert row.mistakes == sorted(set(row.mistakes))
        assert 0 <= row.mistakes[0] <= row.mistakes[-1] < 10_000
        assert len(row.mistakes) == round(10_000 * (1 - row.test_accuracy))
        assert row.test_f1_weighted == pytest.approx(row.test_accuracy, abs=1e-3)
    assert len({tuple(mistakes) for mistakes in study["mistakes"]}) == len(study)


def test_machine_and_versions_are_told_and_the_same_for_runs_that_are_paired(study, own):
    for name in ("device", "precision", "machine", *mh.versions()):
        for rows in (study, own):
            told = set(rows[name].astype(str).str.strip())
            assert told.isdisjoint({"", "unknown", "nan"}), name
        same = "model" if name == "precision" else "seed"  # which pays depends on the batch
        assert (study.groupby(same)[name].nunique() == 1).all()


def test_under_their_own_protocol_nothing_is_chosen(own):
    assert set(own["source"]) == {"mnist"}
    for name, entry in mh.PUBLISHED.items():
        runs = own[own["model"] == name]
        assert sorted(runs["seed"]) == list(range(len(runs)))
        assert len(runs) >= 3
        epochs = max(entry.claimed_epochs)
        same = {"epochs": epochs, "keep": "last", "precision": "float32"}
        for text in runs["recipe"]:
            assert mh.Recipe(**json.loads(text)) == dataclasses.replace(entry.recipe, **same)
        assert [row.test_accuracy for row in runs.itertuples()] == [
            row.epoch_test_accuracy[epochs - 1] for row in runs.itertuples()
        ]


def test_the_measurements_travel_with_the_package():
    project = Path(__file__).parents[2] / "pyproject.toml"
    setuptools = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert setuptools["package-data"]["*"] == ["*.csv", "*.html", "*.js"]
    assert len(list(mh.results.FOLDER.glob("*.csv"))) >= 5
    for path in (PUBLISHED, mh.results.REGULARISATION, mh.results.ROBUSTNESS, mh.results.SPEED):
        assert path.is_file()


def test_the_means_are_not_below_their_floors(study):
    """The means of lenet and vgg stay below their claims (98.93 and 99.3 %)."""

    def mean(name, epochs):
        return mh.study.within(study[study["model"] == name], epochs)["test_accuracy"].mean()

    assert mean("two_conv", 5) >= 0.989
    assert mean("two_conv_dropout", 8) >= 0.993
    assert mean("three_conv", 5) > 0.99
    assert mean("three_conv", 10) >= 0.993
    f1 = study.loc[study["model"] == "two_conv_dropout", ["test_f1_macro", "test_f1_weighted"]]
    assert f1.mean().min() >= 0.993
