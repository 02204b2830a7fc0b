"""Spearman against scipy, Krippendorff's alpha against his own example and the definition written out."""

import math

import numpy as np
import pytest
from scipy import stats

from cai_lightning.audit.agreement import krippendorff_alpha
from cai_lightning.audit.correlation import rank_correlation

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
