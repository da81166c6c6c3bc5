"""comparison.py: against scipy, by hand, and by simulation."""

import math

import mnist_helpers as mh
import numpy as np
import pandas as pd
import pytest
from mnist_helpers.study.comparison import holm
from scipy import stats


def test_nineteen_of_twenty_new_runs_lie_in_the_interval_of_one_run():
    runs = np.random.default_rng(0).normal(0.99, 0.001, (4_000, 6))
    for confidence in (0.90, 0.95):
        inside = 0
        for *known, new in runs.tolist():
            low, high = mh.study.prediction_interval(known, confidence)
            inside += low <= new <= high
        assert inside / len(runs) == pytest.approx(confidence, abs=0.012)


def test_the_interval_of_one_run_by_hand_and_without_spread():
    """1, 2, 3: mean 2, sd 1, t 4.3027, and the root of 4/3."""
    half = 4.30265 * math.sqrt(4 / 3)
    found = mh.study.prediction_interval([1, 2, 3])
    assert found == pytest.approx((2 - half, 2 + half), abs=1e-4)
    for few in ([], [0.99], [0.5, 0.5]):  # two runs that are alike by chance are not sure
        assert all(math.isnan(end) for end in mh.study.prediction_interval(few))


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.04, times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.06 (never falling)."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    missing = holm([math.nan, 0.02, 0.5])
    assert math.isnan(missing[0])
    assert missing[1:] == pytest.approx([0.04, 0.5])
    assert holm([]) == []
    assert holm(pd.Series([0.01, 0.04], index=["x", "y"])) == [0.02, 0.04]


def test_holm_rejects_a_true_null_in_at_most_one_table_of_twenty():
    p_values = np.random.default_rng(1).uniform(size=(4_000, 12))
    wrong = sum(min(holm(table)) < 0.05 for table in p_values.tolist())
    assert wrong / 4_000 == pytest.approx(0.05, abs=0.012)


def test_differences_are_paired_by_seed_as_scipy_does():
    draws = np.random.default_rng(2)
    luck = draws.normal(0, 1, 8)  # of the seed, shared by all recipes
    scores = pd.DataFrame(
        {name: luck + gain + draws.normal(0, 0.1, 8) for name, gain in (("a", 0), ("b", 0.5))}
    )
    scores["c"] = scores["a"] + draws.normal(0, 0.1, 8)
    scores.loc[3, "b"] = math.nan
    shuffled = scores.sample(frac=1, random_state=0)
    table = mh.study.compare(shuffled, [("b", "a"), ("c", "a")])
    assert table["name"].tolist() == ["b", "c"]
    assert table["n"].tolist() == [7, 8]
    for row in table.itertuples():
        gaps = (scores[row.name] - scores[row.baseline]).dropna()
        assert row.p == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue)
        assert row.difference == pytest.approx(gaps.mean())
        assert (row.low, row.high) == pytest.approx(mh.mean_interval(gaps.tolist()))
    assert table["holm"].tolist() == pytest.approx(holm(table["p"].tolist()))
    assert table["holm"][0] < 0.001 < 0.05 < table["holm"][1]
    both = scores[["a", "b"]].dropna()
    assert stats.ttest_ind(both["a"], both["b"]).pvalue > 0.05  # unpaired, the luck hides it


def test_too_few_seeds_no_spread_and_unknown_names():
    scores = pd.DataFrame({"a": [0.1, 0.2], "b": [0.1, 0.2], "c": [0.3, 0.4], "d": [0.5, math.nan]})
    table = mh.study.compare(scores, [("b", "a"), ("c", "d")]).set_index("name")
    assert (table.loc["b", "difference"], table.loc["b", "p"]) == (0, 1)
    assert table.loc["c", "n"] == 1
    assert table.loc["c", ["low", "high", "p", "holm"]].isna().all()
    same = pd.DataFrame({"a": [0.9953, 0.9839, 0.9884], "b": [0.9943, 0.9829, 0.9874]})
    alike = mh.study.compare(same, [("a", "b")])
    assert alike["difference"].item() == pytest.approx(0.001)
    assert alike[["low", "high", "p", "holm"]].isna().all(axis=None)  # equal gaps prove nothing
    with pytest.raises(KeyError, match="x"):
        mh.study.compare(scores, [("x", "a")])
