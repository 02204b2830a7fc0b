"""Calibration against scikit-learn and hand-worked numbers."""

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from cai_lightning.statistics.agreement import calibrate


def test_by_hand():
    """Two bins: 0.1 and 0.1 with one of two good, 0.8 with one of one good."""
    found = calibrate(np.array([0.1, 0.1, 0.8, math.nan]), np.array([True, False, True, False]), bins=2)
    assert [(b.low, b.high, b.n, b.good) for b in found.bins] == [(0, 0.5, 2, 0.5), (0.5, 1, 1, 1)]
    assert found.error == pytest.approx((2 * 0.4 + 1 * 0.2) / 3)
    assert found.brier == pytest.approx((0.81 + 0.01 + 0.04) / 3)
    assert found.brier_of_base_rate == pytest.approx(2 / 9)


def test_against_scikit_learn():
    random = np.random.default_rng(1)
    said = random.random(500)
    good = random.random(500) < said**2
    found = calibrate(said, good)
    assert found.brier == pytest.approx(brier_score_loss(good, said))
    in_fact, mean_said = calibration_curve(good, said, n_bins=10)
    assert [b.good for b in found.bins] == pytest.approx(in_fact)
    assert [b.probability for b in found.bins] == pytest.approx(mean_said)


def test_certainty_belongs_to_the_last_bin():
    found = calibrate(np.array([0.0, 1.0]), np.array([False, True]))
    assert [(b.low, b.high) for b in found.bins] == [(0, 0.1), (0.9, 1)]
    assert found.brier == found.error == 0


def test_nothing_scored_is_nothing_to_calibrate():
    assert calibrate(np.array([math.nan]), np.array([True])) is None
