"""Accuracy and the area under the curve, against scikit-learn, hand-worked numbers and simulation."""

import math
import time

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from cai_lightning.statistics.agreement import accuracy, area_and_influence, area_under_curve, preferences
from cai_lightning.statistics.intervals import mean_of_rows

NAN = math.nan


def test_a_tie_is_half_a_preference_and_an_unscored_response_none():
    found = preferences(np.array([0.9, 0.1, 0.5, NAN, 0.5]), np.array([0.1, 0.9, 0.5, 0.5, NAN]))
    assert found.tolist()[:3] == [1.0, 0.0, 0.5]
    assert np.isnan(found[3:]).all()


def test_all_ties_are_chance_with_a_wide_interval():
    right = accuracy(np.full(30, 0.5), np.arange(30))
    assert (right.estimate.mean, right.p_value) == (0.5, 1.0)
    assert right.estimate.low < 0.35 < 0.65 < right.estimate.high


def test_accuracy_is_the_mean_with_interval_of_what_is_scored():
    right, prompts = np.array([1.0, 0, NAN, 0.5, 1, 1]), np.array([0, 1, 2, 3, 4, 4])
    assert accuracy(right, prompts).estimate == mean_of_rows(right, prompts, is_share=True)
    assert accuracy(np.full(3, NAN), np.arange(3)).estimate.mean is None
    assert accuracy(np.ones(3), np.zeros(3, dtype=int)).p_value is None


@pytest.mark.parametrize("right", [31, 20, 45, 50])
def test_the_p_value_of_an_accuracy_is_the_score_tests(right):
    found = accuracy(np.array([1.0] * right + [0.0] * (50 - right)), np.arange(50))
    assert found.p_value == pytest.approx(stats.chisquare([right, 50 - right]).pvalue)


def test_the_p_value_is_that_at_which_the_interval_ends_at_chance():
    random, told = np.random.default_rng(0), set()
    good, prompts = np.arange(60) < 30, np.arange(60) // 2
    for shift in np.linspace(0, 1, 60):
        area = area_under_curve(random.normal(shift * good, 1), good, prompts)
        assert (area.p_value < 0.05) == (not area.estimate.low <= 0.5 <= area.estimate.high)
        told.add(area.p_value < 0.05)
    assert told == {True, False}


@pytest.mark.parametrize("digits", [1, 6])
def test_area_is_that_of_scikit_learn(digits):
    random = np.random.default_rng(3)
    good = random.random(200) < 0.4
    scores = np.round(random.normal(good, 1.5), digits)
    area = area_under_curve(scores, good, np.arange(200)).estimate
    assert area.mean == pytest.approx(roc_auc_score(good, scores))
    assert area.low < area.mean < area.high


def test_area_by_hand():
    """Good 3, 2 and 1; bad 2 and 0: of six pairs four and a half are won."""
    scores, good = np.array([3.0, 2, 1, 2, 0, NAN]), np.array([1, 1, 1, 0, 0, 1], dtype=bool)
    area = area_under_curve(scores, good, np.arange(6)).estimate
    assert area.mean == 4.5 / 6
    assert area.n == 5


def test_spread_is_delongs():
    """With each response a conversation of its own, the squared spread is DeLong's with n in place of n - 1."""
    random = np.random.default_rng(5)
    good = np.arange(400) < 200
    scores = random.normal(0.8 * good, 1)
    area = area_under_curve(scores, good, np.arange(400)).estimate
    wins = scores[good][:, None] > scores[~good][None, :]
    delong = math.sqrt(wins.mean(1).var() / 200 + wins.mean(0).var() / 200)
    assert (area.high - area.low) / 2 == pytest.approx(1.96 * delong, rel=0.03)


def test_interval_of_the_area_covers_the_truth():
    random, inside = np.random.default_rng(11), 0
    for _ in range(1000):
        good = np.arange(80) < 40
        scores = random.normal(1.5 * good, 1)
        area = area_under_curve(scores, good, np.arange(80)).estimate
        inside += area.low <= 0.8556 <= area.high  # the normal distribution at 1.5 / sqrt(2)
    assert 0.93 <= inside / 1000 <= 0.97


def test_copies_of_responses_add_nothing():
    random = np.random.default_rng(7)
    good = np.arange(60) < 30
    scores = random.normal(good, 1)
    once = area_under_curve(scores, good, np.arange(60)).estimate
    thrice = area_under_curve(np.tile(scores, 3), np.tile(good, 3), np.tile(np.arange(60), 3)).estimate
    assert thrice.interval == pytest.approx(once.interval)


def test_perfect_separation_keeps_an_interval():
    area = area_under_curve(np.arange(10.0), np.arange(10) >= 5, np.arange(10)).estimate
    assert area.mean == area.high == 1
    assert 0.5 < area.low < 0.6


def test_one_conversation_has_no_interval():
    """The influences of its responses sum to 0, whatever their spread."""
    random, good = np.random.default_rng(0), np.arange(60) % 2 == 0
    scores = random.normal(0.6 * good, 1)
    assert accuracy(preferences(scores[good], scores[~good]), np.zeros(30, dtype=int)).estimate.interval is None
    for prompts in (np.zeros(60, dtype=int), np.where(good, 0, np.arange(60))):
        area = area_under_curve(scores, good, prompts)
        assert area.estimate.mean > 0.5
        assert (area.estimate.interval, area.p_value) == (None, None)


def test_two_conversations_that_agree_tell_little():
    right = np.concatenate([np.arange(100) < 70, np.arange(100) < 71]).astype(float)
    found = accuracy(right, np.repeat([0, 1], 100))
    assert found.p_value > 0.1
    assert found.estimate.high - found.estimate.low > 0.5
    copied = area_under_curve(np.tile([3.0, 2, 1, 2, 1, 0], 2), np.tile([True, False], 6), np.repeat([0, 1], 6))
    assert copied.estimate.low < 0.3


@pytest.mark.parametrize(("conversations", "rows"), [(2, 50), (3, 50), (5, 20), (10, 10)])
def test_few_conversations_seldom_seem_to_differ_from_chance(conversations, rows):
    random, prompts, told = np.random.default_rng(0), np.repeat(np.arange(conversations), rows), np.zeros(2)
    good = np.arange(len(prompts)) % 2 == 0
    for _ in range(300):
        right = random.random(len(prompts)) < random.beta(2, 2, conversations)[prompts]
        scores = random.normal(size=len(prompts)) + random.normal(size=conversations)[prompts] * (good - 0.5)
        found = accuracy(right.astype(float), prompts), area_under_curve(scores, good, prompts)
        told += [share.p_value <= 0.05 for share in found]
    assert max(told) <= 0.08 * 300  # 0.05 and 2.6 standard errors


def test_one_label_alone_has_no_area():
    assert area_under_curve(np.array([1.0, 2.0]), np.array([True, True]), np.arange(2)).estimate.mean is None
    assert area_under_curve(np.array([1.0, NAN]), np.array([True, False]), np.arange(2)).estimate.mean is None


def area_of_all_pairs(scores, good):
    """A reference: the area and how far each score moves it, from a table of every good score against every bad one."""
    wins = preferences(scores[good][:, None], scores[~good][None, :])
    area, influence = float(wins.mean()), np.empty(len(scores))
    influence[good] = (wins.mean(axis=1) - area) / good.sum()
    influence[~good] = (area - wins.mean(axis=0)) / -(~good).sum()
    return area, influence


@pytest.mark.parametrize("seed", range(200))
def test_an_area_is_that_of_all_pairs_to_the_last_digit(seed):
    random = np.random.default_rng(seed)
    n = int(random.integers(4, 90))
    good = random.permutation(np.arange(n) < random.integers(2, n - 1))
    scores = np.round(random.normal(good * random.random(), 1, n), int(random.integers(0, 7)))
    area, influence = area_and_influence(scores, good)
    expected, moved = area_of_all_pairs(scores, good)
    assert area == expected
    assert np.array_equal(influence, moved)


def test_two_hundred_thousand_rows_do_not_take_the_square_of_that():
    random, n = np.random.default_rng(0), 200_000
    good = random.random(n) < 0.5
    began = time.perf_counter()
    found = area_under_curve(random.normal(good, 1), good, np.arange(n)).estimate
    assert time.perf_counter() - began < 2  # a table of all pairs has 80 GB
    assert found.low < stats.norm.cdf(math.sqrt(0.5)) < found.high
