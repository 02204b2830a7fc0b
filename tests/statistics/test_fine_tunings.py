"""Arms beside the one-sample and two-sample t-tests that they become where only one thing varies."""

import numpy as np
import pytest
from scipy import stats

from cai_lightning.statistics import arm_difference, arm_mean, mean_interval
from cai_lightning.statistics.intervals import by_prompt, rate_interval
from cai_lightning.statistics.significance import between_fine_tunings, prompts_needed


def by_id(values):
    return {f"{n:04x}": float(value) for n, value in enumerate(values)}


PROMPTS = np.random.default_rng(0).normal(size=50)
SHIFTS = [0.1, -0.4, 0.3]


def test_where_only_fine_tunings_vary_the_interval_is_students_over_them():
    estimate = arm_mean([by_id([shift] * 20) for shift in SHIFTS])
    expected = stats.t.interval(0.95, 2, loc=np.mean(SHIFTS), scale=stats.sem(SHIFTS))
    assert estimate.interval == pytest.approx(expected)


def test_where_only_prompts_vary_the_interval_is_students_over_them():
    estimate = arm_mean([by_id(PROMPTS)] * 3)
    expected = stats.t.interval(0.95, 49, loc=PROMPTS.mean(), scale=stats.sem(PROMPTS))
    assert estimate.interval == pytest.approx(expected)


def test_both_parts_are_joined_at_a_right_angle():
    estimate = arm_mean([by_id(PROMPTS + shift) for shift in SHIFTS])
    halves = stats.t.ppf(0.975, 2) * stats.sem(SHIFTS), stats.t.ppf(0.975, 49) * stats.sem(PROMPTS)
    assert estimate.mean == pytest.approx(PROMPTS.mean() + np.mean(SHIFTS))
    assert estimate.high - estimate.mean == pytest.approx(np.hypot(*halves))


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_the_p_value_is_that_of_a_t_test_where_only_fine_tunings_vary(scale):
    difference = arm_difference([by_id(PROMPTS + scale + shift) for shift in SHIFTS], [by_id(PROMPTS)])
    assert difference.p_value == pytest.approx(stats.ttest_1samp(np.array(SHIFTS) + scale, 0).pvalue)
    assert difference.estimate.mean == pytest.approx(scale + np.mean(SHIFTS))


def test_noise_of_single_responses_is_not_taken_for_variation_between_fine_tunings():
    rng, variances = np.random.default_rng(0), []
    for _ in range(400):
        seeds = PROMPTS + rng.normal(scale=0.3, size=(3, 1)) + rng.normal(size=(3, 50))
        variances.append(between_fine_tunings([by_id(values) for values in seeds]).variance)
    assert np.mean(variances) == pytest.approx(0.3**2 / 3, rel=0.1)  # the noise alone would add 1 / 150


def test_two_arms_that_differ_in_fine_tunings_alone_are_welchs_test():
    first, second = np.array(SHIFTS) + 0.8, np.array([0.02, -0.05, 0.1, 0.0])
    difference = arm_difference(*([by_id([shift] * 20) for shift in shifts] for shifts in (first, second)))
    welch = stats.ttest_ind(first, second, equal_var=False)
    interval = welch.confidence_interval()
    assert difference.p_value == pytest.approx(welch.pvalue)
    assert difference.estimate.interval == pytest.approx([interval.low, interval.high])


def test_p_value_and_interval_agree():
    rng = np.random.default_rng(0)
    told = set()
    for step in np.linspace(0, 1.5, 40):
        arm, other = ([by_id(rng.normal(step * n, size=30)) for _ in range(3)] for n in range(2))
        difference = arm_difference(arm, other)
        assert (difference.p_value < 0.05) == difference.estimate.excludes_zero
        told.add(difference.estimate.excludes_zero)
    assert told == {True, False}


def test_two_seeds_are_less_sure_than_one_pretends_to_be():
    seeds = [by_id(PROMPTS + shift) for shift in SHIFTS[:2]]
    one, two = mean_interval(seeds[0]), arm_mean(seeds)
    assert two.high - two.low > one.high - one.low


def test_fine_tunings_in_which_nothing_ever_fails_are_no_certainty():
    """Wilson's interval over the prompts, as of a single run; 3.7 % is what 100 prompts without a failure leave."""
    zeros, ones = by_id([0] * 100), by_id([1] * 100)
    assert arm_mean([zeros] * 3).interval == mean_interval(zeros).interval == [0, pytest.approx(0.037, abs=0.001)]
    assert arm_mean([ones] * 3).interval == mean_interval(ones).interval
    apart, alike = arm_difference([ones] * 3, [zeros] * 2), arm_difference([ones] * 3, [ones])
    assert apart.estimate == arm_difference([ones], [zeros]).estimate
    assert apart.estimate.low < 0.98
    assert apart.p_value < 0.001
    assert alike.estimate.low < 0 < alike.estimate.high
    assert (alike.estimate.mean, alike.p_value) == (0, 1)


def test_rates_stay_rates():
    rare, common = (arm_mean([by_id(np.arange(30) < 30 * share + n) for n in (0, 1, 4)]) for share in (0, 0.8))
    assert rare.low == 0 < rare.mean < rare.high < common.low < common.mean < common.high == 1


def test_rates_with_a_spread_between_fine_tunings_are_wilsons_joined_with_students():
    seeds = [by_id(np.arange(50) < ones) for ones in (10, 20, 33)]
    spread = between_fine_tunings(seeds)
    averages = by_prompt({id: np.mean([seed[id] for seed in seeds]) for id in seeds[0]})
    low, high = rate_interval(averages, 0.95, averaged=3)
    between = stats.t.ppf(0.975, 2) * np.sqrt(spread.variance)
    estimate = arm_mean(seeds)
    assert estimate.low == pytest.approx(max(0, estimate.mean - np.hypot(estimate.mean - low, between)))
    assert estimate.high == pytest.approx(min(1, estimate.mean + np.hypot(high - estimate.mean, between)))


def test_prompts_that_all_differ_alike_tell_more_the_more_they_are():
    """Three seeds always answer, and four of five: what rounding leaves of the spread between prompts is none."""
    differences = []
    for prompts in range(7, 60):
        ones, zeros = by_id([1] * prompts), by_id([0] * prompts)
        differences.append(arm_difference([ones] * 3, [ones, ones, zeros, ones, ones]))
    widths = [difference.estimate.high - difference.estimate.low for difference in differences]
    assert widths == sorted(widths, reverse=True)
    assert [difference.p_value for difference in differences] == sorted([d.p_value for d in differences], reverse=True)


def test_p_value_and_interval_of_rates_agree():
    rng, told = np.random.default_rng(0), set()
    for rate in np.linspace(0.3, 0.9, 40):
        arm, other = ([by_id(rng.random(40) < chance) for _ in range(3)] for chance in (rate, 0.3))
        difference = arm_difference(arm, other)
        assert (difference.p_value < 0.05) == difference.estimate.excludes_zero
        told.add(difference.estimate.excludes_zero)
    assert told == {True, False}


def test_what_is_needed_is_seeds_where_they_differ_and_prompts_where_not():
    shifted = arm_difference([by_id(PROMPTS + 0.5 + shift) for shift in SHIFTS], [by_id(PROMPTS)])
    assert shifted.needed is None
    assert shifted.needed_seeds == prompts_needed(shifted.estimate.mean / np.std(SHIFTS, ddof=1))
    noise = np.random.default_rng(1).normal(0.3, size=50)
    alike = arm_difference([by_id(PROMPTS + noise)] * 3, [by_id(PROMPTS)])
    assert (alike.needed, alike.needed_seeds) == (prompts_needed(alike.effect_size), None)


def test_only_prompts_scored_in_every_fine_tuning_count():
    first, second, baseline = by_id(PROMPTS), by_id(PROMPTS + 1), by_id(PROMPTS[:40])
    del first["0000"]
    difference = arm_difference([first, second], [baseline])
    assert difference.estimate.n == 39
    assert difference.left_out == 11
    assert difference.needed is None
    assert arm_mean([first, second]).n == 49


def test_nothing_in_common_gives_no_interval():
    difference = arm_difference([{"a": 1.0}, {"b": 1.0}], [{"a": 0.0}])
    assert difference.estimate.mean is None
    assert difference.p_value is None


def test_fine_tunings_that_agree_are_no_evidence_against_themselves():
    constant = [by_id([0.5] * 10)] * 2
    assert arm_difference(constant, constant).p_value == 1.0
    assert arm_difference(constant, [by_id([0.0] * 10)]).p_value == pytest.approx(2 / 2**10)  # the least of ten signs


def test_two_prompts_that_agree_show_no_difference():
    """No spread between prompts is no certainty: with two prompts half of all signs look like this."""
    arm, other = [{"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.0}], [{"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}]
    assert arm_difference(arm, other).p_value == 0.5
