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


def test_within_so_many_epochs_the_weights_count_that_the_recipe_keeps(make_study):
    """The best on validation, of equal accuracies that with the lower loss; or the last."""
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
    study["recipe"] = study["recipe"].str.replace('"best"', '"last"')
    assert mh.study.within(study, 4).test_accuracy.item() == 0.93
    with pytest.raises(ValueError, match="at least 1"):
        mh.study.within(study, 0)
    two = pd.concat([study, study], ignore_index=False)  # of two machines: the index repeats
    two["epoch_test_accuracy"] = [[0.1] * 6, [0.2] * 6]
    assert mh.study.within(two, 4).test_accuracy.tolist() == [0.1, 0.2]


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
    assert verdicts == ["reached", *["not distinguishable"] * 2, "not reached"]
    assert verdict(math.nan, 0.991, 0.993) == verdict(0.992, math.nan, math.nan) == "unknown"


# Claims


def test_claims_come_in_the_order_of_the_zoo_and_some_models_twice(make_study):
    study = make_study().sample(frac=1, random_state=0, ignore_index=True)
    before = study.copy(deep=True)
    table = mh.study.check_claims(study)
    assert list(zip(table["model"], table["epochs"], strict=True)) == [
        ("lenet", 5),
        ("two_conv", 5),
        ("two_conv_dropout", 8),
        ("vgg", 2),
        ("vgg", 5),
        ("three_conv", 5),
        ("three_conv", 10),
    ]
    assert table["runs"].tolist() == [3] * 7
    claimed = table["claimed"].tolist()
    assert claimed[:6] == [0.9893, 0.989, 0.993, 0.993, 0.993, 0.99]
    assert math.isnan(claimed[6])
    assert table["verdict"].tolist()[6] == "unknown"
    *_, five, ten = table.itertuples()
    assert five.mean == pytest.approx(0.99 + 0.0002 - 5 * 0.001)
    assert ten.mean == pytest.approx(0.99 + 0.0002)
    assert math.isnan(five.f1)
    assert not math.isnan(ten.f1)
    pd.testing.assert_frame_equal(study, before)


def test_a_claim_is_compared_with_the_interval_of_one_run(make_study):
    """Three seeds, 0.0002 apart: one more run lies within 0.00099 of the mean."""
    for accuracy, expected, good in (
        (0.9912, "reached", 3),
        (0.9892, "not distinguishable", 2),  # 98.92, 98.94 and 98.96 %; claimed are 98.93
        (0.988, "not reached", 0),
    ):
        [row] = mh.study.check_claims(make_study(["lenet"], accuracy=accuracy)).itertuples()
        assert row.run_high - row.mean == pytest.approx(
            4.3027 * 0.0002 * math.sqrt(4 / 3), rel=1e-4
        )
        assert row.high - row.mean == pytest.approx(4.3027 * 0.0002 / math.sqrt(3), rel=1e-4)
        assert (row.verdict, row.reaching) == (expected, good)


def test_a_claim_of_more_than_is_judged_on_one_side_and_not_reached_by_as_much(make_study):
    """t is 2.92 at 95 % on one side: 0.00067 below the mean."""
    study = make_study(["three_conv"], accuracy=0.99, epochs=5)  # 99.00, 99.02 and 99.04 %
    [row] = mh.study.check_claims(study).itertuples()
    assert row.mean - row.run_low == pytest.approx(2.92 * 0.0002 * math.sqrt(4 / 3), rel=1e-4)
    assert (row.reaching, row.verdict) == (2, "not distinguishable")
    clear = make_study(["three_conv"], accuracy=0.9906, epochs=5)  # two-sided it would not be
    [row] = mh.study.check_claims(clear).itertuples()
    assert (row.reaching, row.verdict) == (3, "reached")
    assert mh.study.prediction_interval(clear["test_accuracy"].tolist())[0] < 0.99


def test_other_digits_and_a_single_seed_judge_no_claim(make_study):
    table = mh.study.check_claims(make_study(source="sample"))
    assert table["claimed"].isna().all()
    assert set(table["verdict"]) == {"unknown"}
    table = mh.study.check_claims(make_study(seeds=1))
    assert table["claimed"].notna().sum() == 6
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
        assert {len(row) for row in (head, rule, *body)} == {9}
        names = ["lenet", "two_conv", "two_conv_dropout", *["vgg"] * 2, *["three_conv"] * 2]
        assert [row[0] for row in body] == [f"`{name}`" for name in names]
        assert "nan" not in str(body)


def test_a_row_of_the_table_by_hand(make_study):
    """0.9893, 0.9895 and 0.9897: a mean of 98.95 %, and for one run 0.10 to both sides of it."""
    [_, _, row] = cells(make_study(["lenet"], accuracy=0.9893))
    assert row == [
        *("`lenet`", "5", "98.93%", "98.95% ± 0.02 (n 3)", "98.85% to 99.05%", "3 of 3"),
        *("not distinguishable", "0.9860", "3.0"),
    ]
    [_, _, row] = cells(make_study(["lenet"], accuracy=0.9893, source="sample"))  # no claim
    assert (row[2], row[4:7]) == ("", ["98.85% to 99.05%", "", ""])
    [_, _, row] = cells(make_study(["lenet"], seeds=1, accuracy=0.9893))  # no spread
    assert row[2:7] == ["98.93%", "98.93% (n 1)", "", "1 of 1", ""]
    [_, _, row] = cells(make_study(["three_conv"], accuracy=0.9905, epochs=5))
    assert row[2:6] == ["over 99.00%", "99.07% ± 0.02 (n 3)", "over 99.00%", "3 of 3"]
