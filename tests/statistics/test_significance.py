"""The sign-flip test beside scipy's permutation test, its rate of false alarms, and Holm beside its definition."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cai_lightning.statistics import holm
from cai_lightning.statistics.intervals import gather, student_interval
from cai_lightning.statistics.significance import sign_flip, t_test


def scipys(differences):
    test = stats.permutation_test(
        (differences,),
        lambda values, axis: values.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=9_999,
        batch=2_000,
        rng=np.random.default_rng(5),
    )
    return test.pvalue


def reference_holm(p_values):
    """The closed test of Bonferroni's: a hypothesis falls if every set of hypotheses that holds it does."""
    places = range(len(p_values))
    subsets = [set(chosen) for size in places for chosen in combinations(places, size + 1)]
    return [
        max(min(1.0, len(subset) * min(p_values[n] for n in subset)) for subset in subsets if place in subset)
        for place in places
    ]


@pytest.mark.parametrize("n", [2, 6, 12])
def test_few_prompts_are_flipped_in_every_way(n):
    differences = np.random.default_rng(n).normal(0.5, size=n)
    assert sign_flip(differences) == pytest.approx(scipys(differences))


@pytest.mark.parametrize("shift", [0.0, 0.15, 0.3])
def test_many_prompts_are_flipped_at_random(shift):
    differences = np.random.default_rng(2).normal(shift, size=100)
    assert sign_flip(differences) == pytest.approx(scipys(differences), abs=0.015)
    assert sign_flip(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.02)


def test_zeros_and_ones_are_mcnemars():
    differences = np.array([1.0] * 9 + [-1.0] * 2 + [0.0] * 2)
    assert sign_flip(differences) == pytest.approx(stats.binomtest(2, 11).pvalue)


def test_no_difference_at_all_is_none():
    assert sign_flip(np.zeros(5)) == sign_flip(np.zeros(50)) == 1.0


def test_one_in_twenty_null_experiments_is_below_five_percent():
    rng = np.random.default_rng(3)
    experiments = rng.exponential(size=(800, 12)) - rng.exponential(size=(800, 12))
    false_alarms = np.mean([sign_flip(differences) <= 0.05 for differences in experiments])
    assert 0.03 <= false_alarms <= 0.065


@given(st.lists(st.floats(0, 1), max_size=7))
def test_holm_is_the_closed_test(p_values):
    assert holm(p_values) == pytest.approx(reference_holm(p_values))


def test_what_has_no_p_value_is_not_counted():
    assert holm([None, 0.01, None, 0.04]) == [None, pytest.approx(0.02), None, pytest.approx(0.04)]
    assert holm([None]) == [None]


@pytest.mark.parametrize("copies", [1, 3])
def test_student_test_is_scipys_over_prompts(copies):
    differences = np.random.default_rng(4).normal(0.2, size=40)
    clusters = gather(np.tile(differences, copies), np.tile(np.arange(40), copies))
    assert t_test(clusters) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    ends_at_zero = student_interval(clusters, 1 - t_test(clusters))
    assert min(map(abs, ends_at_zero)) == pytest.approx(0, abs=1e-12)


def test_prompts_that_differ_alike_are_flipped():
    for prompts in (2, 6, 12):
        clusters = gather(np.full(prompts, 0.25), np.arange(prompts))
        assert t_test(clusters) == sign_flip(clusters.sums) == 2 / 2**prompts
    assert t_test(gather(np.zeros(30), np.arange(30))) == 1
    assert t_test(gather(np.array([0.5, 0.25]), np.zeros(2))) is None


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
