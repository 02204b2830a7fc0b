"""Spearman against scipy, Krippendorff's alpha against his own example and the definition written out."""

import math

import numpy as np
import pytest
from scipy import stats

from cai_lightning.statistics.agreement import alpha_with_interval, rank_correlation
from cai_lightning.statistics.intervals import resamples

NAN = math.nan


def test_spearman_is_scipys():
    random = np.random.default_rng(2)
    a = np.round(random.normal(size=80), 1)
    b = np.round(a + random.normal(size=80), 1)
    estimate = rank_correlation(np.append(a, NAN), np.append(b, 1))
    assert estimate.mean == pytest.approx(stats.spearmanr(a, b).statistic)
    assert estimate.n == 80
    assert estimate.low < estimate.mean < estimate.high


def test_interval_of_spearman_covers_the_truth():
    random, inside, rho = np.random.default_rng(4), 0, 0.6
    truth = 6 / math.pi * math.asin(rho / 2)  # Spearman's for a bivariate normal distribution
    for _ in range(1000):
        a = random.normal(size=60)
        b = rho * a + math.sqrt(1 - rho**2) * random.normal(size=60)
        estimate = rank_correlation(a, b)
        inside += estimate.low <= truth <= estimate.high
    assert 0.93 <= inside / 1000 <= 0.97


def test_what_is_the_same_everywhere_has_no_correlation():
    assert rank_correlation(np.ones(5), np.arange(5.0)).mean is None
    assert rank_correlation(np.array([1.0]), np.array([2.0])).mean is None
    perfect = rank_correlation(np.arange(5.0), np.arange(5.0))
    assert perfect.mean == pytest.approx(1)
    assert perfect.interval is None


def krippendorff_alpha(values):
    return alpha_with_interval(values, np.arange(values.shape[1])).mean


def alpha_by_definition(values):
    """Observed over expected disagreement, from the matrix of coincidences, pair by pair."""
    units = [[v for v in column if not math.isnan(v)] for column in np.transpose(values)]
    units = [unit for unit in units if len(unit) > 1]
    all_values = [v for unit in units for v in unit]
    n = len(all_values)
    observed = sum((a - b) ** 2 / (len(unit) - 1) for unit in units for a in unit for b in unit) / n
    expected = sum((a - b) ** 2 for a in all_values for b in all_values) / (n * (n - 1))
    return 1 - observed / expected


def test_alpha_of_krippendorffs_own_example():
    """Four observers, twelve units (Krippendorff 2011, section D): 0.849 with squared differences."""
    values = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
            [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
        ]
    )
    assert krippendorff_alpha(values) == pytest.approx(0.849, abs=0.0005)
    assert krippendorff_alpha(values) == pytest.approx(alpha_by_definition(values))


def test_alpha_of_preferences_by_hand():
    """Two judges, four pairs, one disagreement: observed 2/8; of 8 values 5 are 1, so expected is 2*5*3/56."""
    preferences = np.array([[1.0, 1, 0, 1], [1, 1, 0, 0]])
    assert krippendorff_alpha(preferences) == pytest.approx(1 - (2 / 8) / (30 / 56))


def test_alpha_of_nothing():
    assert krippendorff_alpha(np.array([[1.0, NAN], [NAN, 0]])) is None
    assert krippendorff_alpha(np.ones((2, 3))) is None


def test_disagreement_is_below_chance():
    assert krippendorff_alpha(np.array([[1.0, 0, 1, 0], [0, 1, 0, 1]])) < 0


def two_judges(random, prompts, rows=1):
    """Each says 1 or 0 of what is 1 in half of the conversations, and is wrong in a fifth: alpha is 0.36."""
    truth = np.repeat(random.random(prompts) < 0.5, rows)
    return np.array([np.repeat(random.random(prompts) < 0.2, rows) ^ truth for _ in range(2)]).astype(float)


def test_interval_of_alpha_covers_the_truth():
    random, inside = np.random.default_rng(3), 0
    for _ in range(300):
        estimate = alpha_with_interval(two_judges(random, 80), np.arange(80))
        inside += estimate.low <= 0.36 <= estimate.high
    assert 0.91 <= inside / 300 <= 0.98


def test_resamples_are_those_written_out():
    values, prompts = two_judges(np.random.default_rng(0), 20), np.arange(20)
    values[0, :3] = NAN
    estimate = alpha_with_interval(values, prompts)
    (times,) = resamples(17)
    alphas = [alpha_by_definition(np.repeat(values[:, 3:], row.astype(int), axis=1)) for row in times[:200]]
    written = alpha_with_interval(values, prompts, confidence=0.5)
    assert written.low < np.median(alphas) < written.high
    assert estimate.mean == pytest.approx(alpha_by_definition(values))
    assert estimate.n == 17


def test_rows_of_one_conversation_are_drawn_together():
    values = two_judges(np.random.default_rng(0), 60)
    once = alpha_with_interval(values, np.arange(60))
    thrice = alpha_with_interval(np.repeat(values, 3, axis=1), np.repeat(np.arange(60), 3))
    assert thrice.interval == pytest.approx(once.interval, abs=0.01)


def test_what_does_not_vary_has_no_interval():
    agreeing = np.array([[1.0, 0, 1, 0, 1, 1, 0, 0]] * 2)
    assert alpha_with_interval(agreeing, np.arange(8)).mean == 1
    assert alpha_with_interval(agreeing, np.arange(8)).interval is None
    assert alpha_with_interval(np.array([[1.0, 0], [0, 1.0]]), np.zeros(2, dtype=int)).interval is None
