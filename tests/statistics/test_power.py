"""Effect sizes by hand, and numbers of prompts and seeds beside published ones and simulation."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from cai_lightning.statistics import arm_difference
from cai_lightning.statistics.intervals import by_prompt
from cai_lightning.statistics.significance import (
    VarianceComponent,
    between_prompts,
    effect_size,
    power_of,
    power_with,
    prompts_needed,
    seeds_needed,
)

NO_SPREAD = VarianceComponent(0.0, 99)


@pytest.mark.parametrize(("size", "expected"), [(0.2, 199), (0.5, 34), (0.8, 15), (-0.5, 34)])
def test_prompts_needed_are_those_of_g_power(size, expected):
    assert prompts_needed(size) == expected  # two-sided paired t-test, 5 %, power 0.8


@pytest.mark.parametrize(("size", "n", "level"), [(0.3, 40, 0.05), (0.6, 20, 0.01)])
def test_power_is_the_share_of_simulated_experiments_that_see_the_effect(size, n, level):
    experiments = np.random.default_rng(0).normal(size, size=(20_000, n))
    seen = (stats.ttest_1samp(experiments, 0, axis=1).pvalue < level).mean()
    assert power_of(size, n, level) == pytest.approx(seen, abs=0.01)


@pytest.mark.parametrize("size", np.round(np.arange(2, 16, 1.05), 2))
def test_large_effects_take_few_prompts(size):
    """Beside the noncentral t distribution integrated over the deviation; the one of scipy has gaps here."""
    assert prompts_needed(size) == next(n for n in range(2, 9) if reference_power(size, n) >= 0.8)


def reference_power(size, n):
    critical, shift = stats.t.ppf(0.975, n - 1), size * math.sqrt(n)

    def seen(deviation):
        half = critical * deviation / math.sqrt(n - 1)
        return stats.chi.pdf(deviation, n - 1) * (stats.norm.sf(half - shift) + stats.norm.cdf(-half - shift))

    return integrate.quad(seen, 0, math.sqrt(n - 1) + 12, limit=400)[0]


def test_small_effects_take_many_prompts_in_both_formulas():
    approximate = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) ** 2
    for size in (0.03, 0.028, 0.026, 0.001):  # around 10,000 prompts, where one formula follows the other
        assert prompts_needed(size) == pytest.approx(approximate / size**2, rel=1e-3)


@pytest.mark.parametrize("size", [None, 0.0, 1e-7])
def test_what_cannot_be_seen_needs_no_number(size):
    assert prompts_needed(size) is None


@pytest.mark.parametrize("size", [0.5, 1.0, 2.0])
def test_seeds_needed_are_those_of_a_t_test_where_prompts_do_not_vary(size):
    assert seeds_needed(-size, [VarianceComponent(1 / 3, 2)], NO_SPREAD) == prompts_needed(size)


@pytest.mark.parametrize(("seeds", "size"), [(3, 3.0), (8, 1.5)])
def test_power_of_two_arms_of_several_is_that_of_a_two_sample_t_test(seeds, size):
    freedom, shift = 2 * (seeds - 1), size / np.sqrt(2 / seeds)
    critical = stats.t.ppf(0.975, freedom)
    expected = stats.nct.sf(critical, freedom, shift) + stats.nct.cdf(-critical, freedom, shift)
    assert power_with(
        seeds, size, [VarianceComponent(1 / 3, 2), VarianceComponent(1 / 3, 2)], NO_SPREAD, 0.05
    ) == pytest.approx(expected, abs=1e-3)


def test_as_many_seeds_as_are_needed_see_the_difference_in_four_of_five_experiments():
    """Where prompts and fine-tunings vary alike; the intervals hold the truth somewhat more often than they say."""
    prompts = by_prompt({f"{n:04x}": value for n, value in enumerate(np.tile([-1.0, 1.0], 50))})
    difference, deviation = 0.4, 0.25
    seeds = seeds_needed(difference, [VarianceComponent(deviation**2 / 3, 2)], between_prompts(prompts))
    rng, seen = np.random.default_rng(0), 0
    for _ in range(150):
        drawn = rng.choice(np.tile([-1.0, 1.0], 50), size=100) + difference + rng.normal(0, deviation, size=(seeds, 1))
        arm = [{f"{n:04x}": value for n, value in enumerate(row.tolist())} for row in drawn]
        seen += arm_difference(arm, [dict.fromkeys(arm[0], 0.0)]).p_value < 0.05
    assert seen / 150 == pytest.approx(0.8, abs=0.09)
    assert seeds > 3


def test_no_number_of_seeds_makes_up_for_too_few_prompts():
    assert seeds_needed(0.1, [VarianceComponent(0.01, 2)], VarianceComponent(0.01, 30)) is None
    assert seeds_needed(0.1, [VarianceComponent(0.0, 2)], VarianceComponent(0.0001, 30)) is None  # alike
    assert seeds_needed(0.0, [VarianceComponent(0.01, 2)], VarianceComponent(0.0001, 30)) is None


def test_effect_size_is_the_mean_over_the_deviation():
    values = np.random.default_rng(0).normal(0.4, size=30)
    assert effect_size(by_prompt({f"{n:04x}": v for n, v in enumerate(values)})) == pytest.approx(
        values.mean() / values.std(ddof=1)
    )


def test_repeated_prompts_are_no_further_evidence():
    once = {f"{n:04x}": v for n, v in enumerate(np.random.default_rng(0).normal(0.4, size=30))}
    repeated = once | {f"{id}, again": value for id, value in once.items()}
    prompts = {f"{id}, again": id for id in once}
    assert effect_size(by_prompt(repeated, prompts)) == pytest.approx(effect_size(by_prompt(once)))


def test_prompts_that_all_differ_alike_have_no_effect_size():
    assert effect_size(by_prompt({"a": 0.2, "b": 0.1 + 0.1, "c": 0.3 - 0.1})) is None
    assert effect_size(by_prompt({"a": 0.0, "b": 0.0})) == 0.0
