"""claims.py: intervals and verdicts by hand, and the table that README and notebook show."""

import math

import mnist_helpers as mh
import numpy as np
import pandas as pd
import pytest
from mnist_helpers.study.claims import summarise, verdict
from scipy import stats


def test_the_interval_of_a_mean_is_students():
    for count in (2, 3, 10):
        values = np.random.default_rng(count).normal(0.99, 0.001, count).tolist()
        expected = stats.t.interval(0.95, count - 1, np.mean(values), stats.sem(values))
        assert mh.mean_interval(values) == pytest.approx(expected, abs=1e-12)
    assert mh.mean_interval([1, 2, 3]) == pytest.approx((-0.4841, 4.4841), abs=1e-4)  # by hand
    assert mh.mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)
    for few in ([], [0.99]):
        assert all(math.isnan(end) for end in mh.mean_interval(few))


def test_within_so_many_epochs_the_best_on_validation_counts(make_study):
    """Of equal accuracies that with the lower loss."""
    study = make_study(["lenet"], seeds=1, epochs=6)
    study.at[0, "validation_accuracy"] = [0.5, 0.8, 0.8, 0.8, 0.9, 0.7]
    study.at[0, "validation_loss"] = [1.0, 0.3, 0.2, 0.4, 0.9, 0.1]
    study.at[0, "epoch_test_accuracy"] = [0.91, 0.92, 0.99, 0.93, 0.94, 0.98]
    before = study.copy(deep=True)
    for epochs, expected in ((1, 0.91), (2, 0.92), (3, 0.99), (4, 0.99), (5, 0.94), (9, 0.94)):
        rows = mh.study.within(study, epochs)
        assert (rows.test_accuracy.item(), rows.epochs.item()) == (expected, min(epochs, 6))
    assert rows[["test_f1_macro", "test_f1_weighted", "test_loss"]].isna().all(axis=None)
    same = [name for name in study if not name.startswith("test_") and name != "epochs"]
    pd.testing.assert_frame_equal(rows[same], before[same])
    pd.testing.assert_frame_equal(study, before)
    with pytest.raises(ValueError, match="at least 1"):
        mh.study.within(study, 0)


def test_a_summary_has_mean_spread_and_cost_of_each_model(make_study):
    study = make_study(["vgg", "lenet"], seeds=4)
    table = summarise(study)
    assert table["model"].tolist() == ["vgg", "lenet"]
    for row in table.itertuples():
        values = study.loc[study["model"] == row.model, "test_accuracy"]
        assert (row.runs, row.epochs) == (4, 5)
        assert row.mean == pytest.approx(np.mean(values))
        assert row.sd == pytest.approx(np.std(values, ddof=1))
        assert (row.low, row.high) == mh.mean_interval(values.tolist())
        assert row.f1 == pytest.approx(0.985 + 0.001 * 1.5)
        assert row.epoch_seconds == 3.5  # five epochs each of 2, 3, 4 and 5 seconds
        assert row.parameters == 1_000 * (1 + len(row.model))
        assert row.multiply_adds == 2_000_000 + len(row.model)


def test_the_ends_of_the_interval_belong_to_it():
    verdicts = [verdict(claimed, 0.991, 0.993) for claimed in (0.990, 0.991, 0.993, 0.994)]
    assert verdicts == ["exceeded", "agrees", "agrees", "missed"]
    assert verdict(math.nan, 0.991, 0.993) == verdict(0.992, math.nan, math.nan) == "unknown"


# Claims


def test_claims_come_in_the_order_of_the_zoo_and_three_conv_twice(make_study):
    study = make_study().sample(frac=1, random_state=0, ignore_index=True)
    before = study.copy(deep=True)
    table = mh.study.check_claims(study)
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
    *_, five, ten = table.itertuples()
    assert five.mean == pytest.approx(0.99 + 0.0002 - 5 * 0.001)
    assert ten.mean == pytest.approx(0.99 + 0.0002)
    assert math.isnan(five.f1)
    assert not math.isnan(ten.f1)
    pd.testing.assert_frame_equal(study, before)


def test_a_claim_is_compared_with_the_interval_of_the_mean(make_study):
    """Three seeds, 0.0002 apart: the interval reaches 0.0005 to both sides of the mean."""
    for accuracy, expected in ((0.9903, "exceeded"), (0.9889, "agrees"), (0.987, "missed")):
        [row] = mh.study.check_claims(make_study(["lenet"], accuracy=accuracy)).itertuples()
        assert row.high - row.mean == pytest.approx(4.3027 * 0.0002 / math.sqrt(3), rel=1e-4)
        assert row.verdict == expected


def test_other_digits_and_a_single_seed_judge_no_claim(make_study):
    table = mh.study.check_claims(make_study(source="sample"))
    assert table["claimed"].isna().all()
    assert set(table["verdict"]) == {"unknown"}
    table = mh.study.check_claims(make_study(seeds=1))
    assert table["claimed"].notna().sum() == 5
    assert set(table["verdict"]) == {"unknown"}


def test_models_without_a_claim_come_last_and_once_whatever_their_schedule(make_study):
    study = make_study(["lenet", "fast_994", "three_conv", "fast_99"])
    study["model"] = study["model"].replace("lenet", "mine")
    study["recipe"] = study["recipe"].str.replace('"one_cycle"', '"step"')
    table = mh.study.check_claims(study)
    assert list(zip(table["model"], table["epochs"], strict=True)) == [
        ("three_conv", 5),
        ("three_conv", 10),
        ("fast_99", 1),
        ("fast_994", 2),
        ("mine", 5),
    ]
    assert table["claimed"].notna().tolist() == [True, *[False] * 4]
    assert table["verdict"].tolist()[1:] == ["unknown"] * 4


def test_a_short_recipe_and_a_schedule_that_looks_ahead_have_one_row(make_study):
    for epochs in (2, 5):
        table = mh.study.check_claims(make_study(["three_conv"], seeds=3, epochs=epochs))
        assert (table["epochs"].tolist(), table["runs"].tolist()) == ([epochs], [3])
    study = make_study(["three_conv"], seeds=3)
    study["recipe"] = study["recipe"].str.replace('"step"', '"one_cycle"')
    assert mh.study.check_claims(study)["epochs"].tolist() == [10]


# The table


def cells(study):
    """The cells of the Markdown table, row by row."""
    lines = mh.study.claims_table(study).splitlines()
    assert all(line.startswith("| ") and line.endswith(" |") for line in lines)
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def test_every_row_of_the_table_has_as_many_cells(make_study):
    for study in (make_study(), make_study(seeds=1), make_study(source="sample")):
        head, rule, *body = cells(study)
        assert set(rule) == {"---"}
        assert {len(row) for row in (head, rule, *body)} == {10}
        assert [row[0] for row in body] == [f"`{name}`" for name in (*mh.PUBLISHED, "three_conv")]
        assert "nan" not in str(body)


def test_a_row_of_the_table_by_hand(make_study):
    """0.9893, 0.9895 and 0.9897: a mean of 98.95 %, and 0.05 to both sides of it."""
    [_, _, row] = cells(make_study(["lenet"], accuracy=0.9893))
    assert row == [
        *("`lenet`", "5", "98.93%", "98.95% ± 0.02 (n 3)", "98.90% to 99.00%", "agrees"),
        *("0.9860", "6,000", "2,000,005", "3.0"),
    ]
    [_, _, row] = cells(make_study(["lenet"], accuracy=0.9893, source="sample"))  # no claim
    assert (row[2], row[4], row[5]) == ("", "98.90% to 99.00%", "")
    [_, _, row] = cells(make_study(["lenet"], seeds=1, accuracy=0.9893))  # no spread
    assert row[2:6] == ["98.93%", "98.93% (n 1)", "", ""]
