"""What a few seeds allow to say: where one more run would lie, and which recipe is better.

A published score is one run, so it is compared with the interval of one run. Recipes are compared
by the differences of runs that share a seed, and all comparisons of a table are corrected at once.
The method is explained in 06_published_models, and used in 07, 08 and 10.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t, ttest_rel


def prediction_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Where one more run is expected, (low, high), by Student's t distribution.

    The runs are taken as independent and normal: then the next one lies inside with the probability
    `confidence`. NaN for fewer than two values, or if all are alike: they would seem to be sure.

    Source: G. J. Hahn and W. Q. Meeker, "Statistical intervals", 1991.
    """
    n = len(values)
    if len(set(values)) < 2:
        return math.nan, math.nan
    half = t.ppf((1 + confidence) / 2, n - 1) * np.std(values, ddof=1) * math.sqrt(1 + 1 / n)
    return float(np.mean(values) - half), float(np.mean(values) + half)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number, in the same order; NaN stays NaN, and isn't counted.

    The smallest of n is multiplied by n, the next by n - 1, and so on; none may be smaller than
    the one before it, or larger than 1.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    ranked = pd.Series(list(p_values), dtype=float).dropna().sort_values()
    corrected = (ranked * np.arange(len(ranked), 0, -1)).cummax().clip(upper=1)
    return corrected.reindex(range(len(p_values))).tolist()


def compare(scores: pd.DataFrame, pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Differences between recipes, paired by seed; p-values corrected over all pairs by Holm.

    Args:
        scores: a column a recipe, a row a seed; NaN where a run is missing.
        pairs: each (name, baseline), both of them columns.

    Returns:
        A row a pair, in their order: `name`, `baseline`, `n` (seeds that both have), `difference`
        (mean of the name less the baseline, in the unit of the scores), `low` and `high` (its 95 %
        interval, for this pair alone), `p` (of the paired t-test), `holm` (the same, corrected).
        With fewer than two seeds the last four are NaN, and where all differ alike, but for 0.

    Raises:
        KeyError: there is no such column.
    """
    rows = []
    for name, baseline in pairs:
        both = scores[[name, baseline]].dropna().to_numpy(dtype=float)
        gaps = both[:, 0] - both[:, 1]
        low = high = p = math.nan
        if len(gaps) > 1 and not gaps.any():
            low, high, p = 0.0, 0.0, 1.0
        elif len(gaps) > 1 and np.ptp(gaps) > 1e-9:  # all alike, they would seem to be sure
            test = ttest_rel(both[:, 0], both[:, 1])
            (low, high), p = test.confidence_interval(0.95), test.pvalue
        mean = gaps.mean() if len(gaps) else math.nan
        rows.append((name, baseline, len(gaps), mean, float(low), float(high), float(p)))
    columns = ["name", "baseline", "n", "difference", "low", "high", "p"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(holm=holm(table["p"].tolist()))
