"""claims.py: intervals and verdicts by hand, and the table that README and notebook show."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mnist_helpers as mh
from mnist_helpers.claims import summarise, verdict

# Of Student's t distribution: 97.5 % of it lie below, by degrees of freedom. Any printed table.
T_TABLE = {1: 12.7062, 2: 4.3027, 4: 2.7764, 9: 2.2622}


def sd_by_hand(values):
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


# The interval


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_the_interval_of_a_mean_is_students(count):
    values = np.random.default_rng(count).normal(0.99, 0.001, count).tolist()
    low, high = mh.mean_interval(values)
    expected = stats.t.interval(0.95, count - 1, np.mean(values), stats.sem(values))
    assert (low, high) == pytest.approx(expected, abs=1e-12)
    half = T_TABLE[count - 1] * sd_by_hand(values) / math.sqrt(count)
    assert (high - low) / 2 == pytest.approx(half, rel=1e-4)
    assert (low + high) / 2 == pytest.approx(sum(values) / count)


def test_the_interval_of_1_2_3():
    assert mh.mean_interval([1, 2, 3]) == pytest.approx((-0.4841, 4.4841), abs=1e-4)


@pytest.mark.parametrize("values", [[], [0.99]])
def test_one_value_has_no_interval(values):
    assert all(math.isnan(end) for end in mh.mean_interval(values))


def test_equal_values_have_an_interval_of_no_width():
    assert mh.mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


# Fewer epochs


def one_run(validation, losses, test):
    return pd.DataFrame(
        {
            "model": ["lenet"],
            "epochs": [len(test)],
            "test_accuracy": [0.123],
            "test_f1_macro": [0.9],
            "test_f1_weighted": [0.9],
            "test_loss": [0.1],
            "validation_accuracy": [validation],
            "validation_loss": [losses],
            "epoch_test_accuracy": [test],
        }
    )


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, 0.91), (2, 0.92), (3, 0.92), (4, 0.94), (5, 0.94), (9, 0.94)]
)
def test_within_so_many_epochs_the_best_on_validation_counts(epochs, expected):
    study = one_run(
        validation=[0.5, 0.8, 0.8, 0.9, 0.7],
        losses=[1.0, 0.2, 0.3, 0.9, 0.1],
        test=[0.91, 0.92, 0.99, 0.94, 0.98],
    )
    [row] = mh.within(study, epochs).itertuples()
    assert (row.test_accuracy, row.epochs) == (expected, min(epochs, 5))


def test_of_equal_validation_accuracies_the_lower_loss_counts():
    study = one_run([0.8, 0.8, 0.8], [0.3, 0.1, 0.2], [0.91, 0.92, 0.93])
    assert mh.within(study, 3)["test_accuracy"].tolist() == [0.92]


def test_within_empties_the_other_test_figures_and_leaves_the_study(make_study):
    study = make_study(["lenet", "vgg"])
    before = study.copy(deep=True)
    rows = mh.within(study, 2)
    assert rows[["test_f1_macro", "test_f1_weighted", "test_loss"]].isna().all(axis=None)
    same = [name for name in study if not name.startswith("test_") and name != "epochs"]
    pd.testing.assert_frame_equal(rows[same], before[same])
    pd.testing.assert_frame_equal(study, before)


# The sum of a study


def test_a_summary_has_mean_spread_and_cost_of_each_model(make_study):
    study = make_study(["vgg", "lenet"], seeds=4)
    table = summarise(study)
    assert table["model"].tolist() == ["vgg", "lenet"]
    for row in table.itertuples():
        values = study.loc[study["model"] == row.model, "test_accuracy"].tolist()
        assert (row.runs, row.epochs) == (4, 5)
        assert row.mean == pytest.approx(sum(values) / 4)
        assert row.sd == pytest.approx(sd_by_hand(values))
        assert (row.low, row.high) == mh.mean_interval(values)
        assert row.f1 == pytest.approx(0.985 + 0.001 * 1.5)
        assert row.epoch_seconds == 3.5  # five epochs each of 2, 3, 4 and 5 seconds
        assert (row.parameters, row.multiply_adds) == (
            1_000 * (1 + len(row.model)),
            2_000_000 + len(row.model),
        )


@pytest.mark.parametrize(
    ("claimed", "low", "high", "expected"),
    [
        (0.990, 0.991, 0.993, "exceeded"),
        (0.991, 0.991, 0.993, "agrees"),
        (0.992, 0.991, 0.993, "agrees"),
        (0.993, 0.991, 0.993, "agrees"),
        (0.994, 0.991, 0.993, "missed"),
        (math.nan, 0.991, 0.993, "unknown"),
        (0.992, math.nan, math.nan, "unknown"),
        (math.nan, math.nan, math.nan, "unknown"),
    ],
)
def test_the_verdict_on_a_claim(claimed, low, high, expected):
    assert verdict(claimed, low, high) == expected


# Claims


def test_claims_come_in_the_order_of_the_zoo_and_three_conv_twice(make_study):
    study = make_study().sample(frac=1, random_state=0, ignore_index=True)
    table = mh.check_claims(study)
    assert list(zip(table["model"], table["epochs"], strict=True)) == [
        ("lenet", 5),
        ("two_conv", 5),
        ("two_conv_dropout", 8),
        ("vgg", 5),
        ("three_conv", 5),
        ("three_conv", 10),
    ]
    assert table["runs"].tolist() == [3] * 6
    claimed = table["claimed"].tolist()
    assert claimed[:5] == [0.9893, 0.989, 0.993, 0.993, 0.99]
    assert math.isnan(claimed[5])
    assert table["verdict"].tolist()[5] == "unknown"


def test_the_row_of_fewer_epochs_is_about_those_epochs(make_study):
    table = mh.check_claims(make_study(["three_conv"], seeds=3, accuracy=0.992))
    five, ten = table.itertuples()
    assert five.mean == pytest.approx(0.992 + 0.0002 - 5 * 0.001)
    assert ten.mean == pytest.approx(0.992 + 0.0002)
    assert math.isnan(five.f1)
    assert not math.isnan(ten.f1)


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [(0.9903, "exceeded"), (0.9893, "agrees"), (0.9889, "agrees"), (0.987, "missed")],
)
def test_a_claim_is_compared_with_the_interval_of_the_mean(make_study, accuracy, expected):
    """Three seeds, 0.0002 apart: the interval reaches 0.0005 to both sides of the mean."""
    [row] = mh.check_claims(make_study(["lenet"], accuracy=accuracy)).itertuples()
    assert row.high - row.mean == pytest.approx(T_TABLE[2] * 0.0002 / math.sqrt(3), rel=1e-4)
    assert row.verdict == expected


def test_on_other_digits_no_claim_is_judged(make_study):
    table = mh.check_claims(make_study(source="sample"))
    assert len(table) == 6
    assert table["claimed"].isna().all()
    assert set(table["verdict"]) == {"unknown"}


def test_one_seed_judges_no_claim(make_study):
    table = mh.check_claims(make_study(seeds=1))
    assert set(table["verdict"]) == {"unknown"}
    assert table["claimed"].notna().sum() == 5


def test_a_model_without_a_claim_gets_one_row_whatever_its_schedule(make_study):
    study = make_study(["fast_994"])
    study["recipe"] = study["recipe"].str.replace('"one_cycle"', '"step"')
    table = mh.check_claims(study)
    assert (table["epochs"].tolist(), table["verdict"].tolist()) == ([2], ["unknown"])


def test_a_model_made_for_speed_comes_after_the_published_ones_and_has_no_claim(make_study):
    table = mh.check_claims(make_study(["fast_994", "three_conv", "fast_99"]))
    assert list(zip(table["model"], table["epochs"], strict=True)) == [
        ("three_conv", 5),
        ("three_conv", 10),
        ("fast_99", 1),
        ("fast_994", 2),
    ]
    assert table["claimed"].notna().tolist() == [True, False, False, False]
    assert table["verdict"].tolist()[1:] == ["unknown"] * 3


def test_a_model_of_your_own_comes_last_and_has_no_claim(make_study):
    study = make_study(["lenet", "vgg"])
    study["model"] = study["model"].replace("lenet", "mine")
    table = mh.check_claims(study)
    assert table["model"].tolist() == ["vgg", "mine"]
    assert table["verdict"].tolist()[1] == "unknown"


@pytest.mark.parametrize("epochs", [2, 5])
def test_a_shorter_recipe_counts_each_run_once(make_study, epochs):
    table = mh.check_claims(make_study(["three_conv"], seeds=3, epochs=epochs))
    assert table["epochs"].tolist() == [epochs]
    assert table["runs"].tolist() == [3]


def test_a_schedule_that_looks_ahead_is_not_judged_midway(make_study):
    study = make_study(["three_conv"], seeds=3)
    study["recipe"] = study["recipe"].str.replace('"step"', '"one_cycle"')
    assert mh.check_claims(study)["epochs"].tolist() == [10]


def test_no_epochs_are_no_study(make_study):
    with pytest.raises(ValueError, match="at least 1"):
        mh.within(make_study(["lenet"]), 0)


def test_checking_claims_leaves_the_study(make_study):
    study = make_study()
    before = study.copy(deep=True)
    mh.check_claims(study)
    pd.testing.assert_frame_equal(study, before)


# The table


def cells(text):
    """The cells of a Markdown table, row by row."""
    rows = []
    for line in text.splitlines():
        assert line.startswith("| ")
        assert line.endswith(" |")
        rows.append([cell.strip() for cell in line[1:-1].split("|")])
    return rows


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("source", ["mnist", "sample"])
def test_every_row_of_the_table_has_as_many_cells(make_study, seeds, source):
    head, rule, *body = cells(mh.claims_table(make_study(seeds=seeds, source=source)))
    assert set(rule) == {"---"}
    assert {len(row) for row in (head, rule, *body)} == {10}
    assert [row[0] for row in body] == [f"`{name}`" for name in (*mh.PUBLISHED, "three_conv")]
    assert "nan" not in str(body)


def test_a_row_of_the_table_by_hand(make_study):
    """0.9893, 0.9895 and 0.9897: a mean of 98.95 %, and 0.05 to both sides of it."""
    [_, _, row] = cells(mh.claims_table(make_study(["lenet"], accuracy=0.9893)))
    assert row == [
        *("`lenet`", "5", "98.93%", "98.95% ± 0.02 (n 3)", "98.90% to 99.00%", "agrees"),
        *("0.9860", "6,000", "2,000,005", "3.0"),
    ]


def test_the_table_of_a_sample_names_no_claim(make_study):
    [_, _, row] = cells(mh.claims_table(make_study(["lenet"], source="sample")))
    assert (row[2], row[5]) == ("", "")
    assert row[4] != ""


def test_the_table_of_one_seed_names_no_spread(make_study):
    [_, _, row] = cells(mh.claims_table(make_study(["lenet"], seeds=1, accuracy=0.9893)))
    assert row[2:6] == ["98.93%", "98.93% (n 1)", "", ""]
