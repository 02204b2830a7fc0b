"""Intervals beside plain reference implementations and scipy, and their degenerate inputs."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cai_lightning.run.records import prompt_id
from cai_lightning.statistics import Interval, PairedDifference, arm_difference, arm_mean, intervals, mean_interval
from cai_lightning.statistics.agreement import accuracy
from cai_lightning.statistics.intervals import mean_of_rows

finite = st.floats(-1e6, 1e6)
ids = st.builds(prompt_id, st.sampled_from("abcdef"), st.integers(1, 3), st.integers(0, 2))


def reference_interval(values, prompts=None, resamples=4_000):
    """The studentized cluster bootstrap, written out: draw prompts, set each mean against its own standard error."""
    groups = {}
    for id, value in values.items():
        groups.setdefault((prompts or {}).get(id, id), []).append(value)
    groups = list(groups.values())
    draw = random.Random(1)
    mean, error = mean_and_error(groups)
    ratios = []
    for _ in range(resamples):
        resampled, its_error = mean_and_error(draw.choices(groups, k=len(groups)))
        ratios.append((resampled - mean) / its_error)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return [mean - high * error, mean - low * error]


def mean_and_error(groups):
    size = sum(map(len, groups))
    mean = sum(map(sum, groups)) / size
    residuals = [sum(value - mean for value in group) for group in groups]
    return mean, math.sqrt(len(groups) / (len(groups) - 1) * sum(r * r for r in residuals)) / size


def by_prompt(values):
    return {prompt_id(f"prompt {n}"): float(value) for n, value in enumerate(values)}


def again(once, times):
    """The same values, each prompt's so often, and the prompts of their ids."""
    prompts = {f"{id}, {k}": id for id in once for k in range(times)}
    return {id: once[prompt] for id, prompt in prompts.items()}, prompts


@given(st.dictionaries(st.text(max_size=4), st.tuples(st.text(max_size=2), finite), max_size=12), st.booleans())
def test_values_are_gathered_by_what_their_ids_share_and_by_nothing_in_the_ids(made, known):
    prompts = {id: prompt for id, (prompt, _) in made.items()} if known else {}
    groups = {}
    for id, (prompt, value) in made.items():
        groups.setdefault(prompt if known else id, []).append(value)
    found = intervals.by_prompt({id: value for id, (_, value) in made.items()}, prompts)
    assert found.counts.tolist() == [len(groups[name]) for name in sorted(groups)]
    assert found.sums.tolist() == pytest.approx([math.fsum(groups[name]) for name in sorted(groups)])


def test_interval_matches_the_reference_with_independent_prompts():
    values = by_prompt(np.random.default_rng(0).exponential(size=40))
    estimate = mean_interval(values)
    assert estimate.mean == pytest.approx(np.mean(list(values.values())))
    assert estimate.n == 40
    assert estimate.interval == pytest.approx(reference_interval(values), abs=0.02)


def test_interval_matches_the_reference_with_unequal_clusters():
    rng = np.random.default_rng(0)
    values = {
        f"{n}.{k}": float(center + rng.normal() / 5)
        for n, center in enumerate(rng.normal(size=30))
        for k in range(1 + n % 4)
    }
    prompts = {id: f"prompt {id.partition('.')[0]}" for id in values}
    interval = mean_interval(values, prompts=prompts).interval
    assert interval == pytest.approx(reference_interval(values, prompts), abs=0.03)


def test_repetitions_do_not_narrow_the_interval():
    once = by_prompt(np.random.default_rng(0).normal(size=50))
    repeated, prompts = again(once, 5)
    narrow, wide = mean_interval(once), mean_interval(repeated, prompts=prompts)
    assert wide.n == 250
    assert wide.interval == pytest.approx(narrow.interval)


def test_interval_is_close_to_the_normal_one():
    values = by_prompt(np.random.default_rng(0).normal(size=400))
    half = 1.96 * np.std(list(values.values())) / math.sqrt(400)
    estimate = mean_interval(values)
    assert (estimate.high - estimate.low) / 2 == pytest.approx(half, rel=0.05)
    assert mean_interval(values, confidence=0.5).high < estimate.high


def test_order_of_the_values_does_not_matter():
    values = by_prompt(np.random.default_rng(0).normal(size=30))
    assert mean_interval(values) == mean_interval(dict(reversed(values.items())))


def test_nothing_scored_has_no_mean():
    assert mean_interval({}) == Interval(None, None, None, 0)


def test_one_prompt_has_no_interval_however_often_it_is_repeated():
    assert mean_interval({"a": 0.5}) == Interval(0.5, None, None, 1)
    assert mean_interval({"a": 0.0, "b": 1.0}, prompts={"a": "p", "b": "p"}) == Interval(0.5, None, None, 2)
    assert arm_difference([{"a": 1.0}], [{"a": 0.5}]) == PairedDifference(Interval(0.5, None, None, 1), left_out=0)


@given(finite.filter(lambda value: value not in (0, 1)), st.integers(2, 20))
def test_equal_values_have_an_interval_without_width(value, n):
    estimate = mean_interval(by_prompt([value] * n))
    assert estimate.mean == pytest.approx(value)
    assert estimate.low == estimate.high == estimate.mean


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(ids, finite, max_size=12))
def test_any_values_give_an_interval_around_their_mean(values):
    estimate = mean_interval(values)
    assert estimate.n == len(values)
    if estimate.interval is not None:
        margin = 1e-9 * max(1, *map(abs, values.values()))
        assert -math.inf < estimate.low <= estimate.mean + margin
        assert estimate.mean - margin <= estimate.high < math.inf


def test_an_interval_of_many_ends_where_the_values_end():
    values = by_prompt([1.0] * 20 + [0.99, 0.5])
    assert mean_interval(values).high == 1.0


@pytest.mark.parametrize("few", [1, 2, 5])
def test_where_few_differ_the_interval_does_not_span_everything(few):
    """Resamples that see none of them have hardly any spread, and would lie many of their own errors away."""
    rng = np.random.default_rng(0)
    values = by_prompt([*(1 - rng.beta(1, 300, size=245 - few)), *rng.beta(1, 300, size=few)])
    estimate = mean_interval(values)
    error = stats.sem([*values.values()])
    assert estimate.low > estimate.mean - 8 * error
    assert estimate.low <= stats.binomtest(245 - few, 245).proportion_ci().low + 0.02


def test_few_prompts_get_students_interval():
    values = [0.3, 0.5, 0.9]
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert mean_interval(by_prompt(values)).interval == pytest.approx(expected)


@pytest.mark.parametrize(("ones", "prompts"), [(0, 100), (3, 100), (50, 100), (100, 100), (5, 50), (1, 4)])
def test_a_rate_gets_wilsons_interval_however_it_is_asked_for(ones, prompts):
    values = [1.0] * ones + [0.0] * (prompts - ones)
    expected = pytest.approx([*stats.binomtest(ones, prompts).proportion_ci(method="wilson")])
    assert mean_interval(by_prompt(values)).interval == expected
    assert arm_mean([by_prompt(values)]).interval == expected
    assert mean_of_rows(np.array(values), np.arange(prompts), is_share=True).interval == expected
    assert accuracy(np.array(values), np.arange(prompts)).estimate.interval == expected


def test_rates_of_repeated_prompts_have_one_interval_too():
    random = np.random.default_rng(0)
    prompts = random.integers(0, 20, 50)
    values = (random.random(50) < random.random(20)[prompts]).astype(float)
    shared = {f"{n:04x}": f"{prompt:04x}" for n, prompt in enumerate(prompts)}
    estimate = mean_interval(dict(zip(shared, values.tolist(), strict=True)), prompts=shared)
    assert estimate.interval == pytest.approx(mean_of_rows(values, prompts, is_share=True).interval)
    assert (
        estimate.high - estimate.low > np.diff(stats.binomtest(int(values.sum()), 50).proportion_ci(method="wilson"))[0]
    )


@pytest.mark.parametrize("value", [0, 1])
def test_the_interval_of_a_rate_holds_its_mean(value):
    for n in range(2, 100):  # rounding has put the end of some below 1
        estimate = mean_interval(by_prompt([value] * n))
        assert estimate.low <= estimate.mean <= estimate.high


def test_repeated_rates_are_worth_their_prompts():
    once = by_prompt([1] * 30 + [0] * 70)
    repeated, prompts = again(once, 3)
    assert mean_interval(repeated, prompts=prompts).interval == pytest.approx(mean_interval(once).interval)


def test_the_difference_of_two_rates_is_bonett_and_prices():
    a, b = by_prompt([1] * 10 + [0] * 90), by_prompt([0] * 5 + [1] * 25 + [0] * 70)  # 20 gained, 5 lost
    lost, gained, n, t = 5, 20, 100, stats.t.ppf(0.975, 99)
    p, q = (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    half = t * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    difference = arm_difference([a], [b])
    assert difference.estimate.mean == pytest.approx(-0.15)
    assert difference.estimate.interval == pytest.approx([p - q - half, p - q + half])
    assert difference.p_value == pytest.approx(stats.binomtest(5, 25).pvalue, abs=0.003)  # McNemar's exact test


def test_two_rates_that_agree_everywhere_may_still_differ():
    difference = arm_difference([by_prompt([0] * 50)], [by_prompt([0] * 50)])
    assert difference.estimate.low < 0 < difference.estimate.high
    assert (difference.p_value, difference.effect_size, difference.needed) == (1.0, 0.0, None)


def test_a_difference_uses_the_ids_scored_in_both():
    a = {"a": 1.0, "b": 0.5, "c": 0.75, "only-a": 9.0}
    b = {"a": 0.5, "b": 0.25, "c": 0.25, "only": -9.0, "other": 0.0}
    difference = arm_difference([a], [b])
    assert difference.estimate.mean == pytest.approx((0.5 + 0.25 + 0.5) / 3)
    assert difference.estimate.n == 3
    assert difference.left_out == 3
    assert difference.estimate.excludes_zero


def test_pairing_sees_what_unpaired_intervals_hide():
    base = by_prompt(np.random.default_rng(0).normal(size=60))
    noise = np.random.default_rng(1).normal(scale=0.05, size=60)
    better = {id: value + 0.1 + step for (id, value), step in zip(base.items(), noise, strict=True)}
    assert mean_interval(better).low < mean_interval(base).high
    difference = arm_difference([better], [base])
    assert difference.estimate.excludes_zero
    assert difference.p_value == 1e-4  # the least that 9,999 random flips can tell
    steps = 0.1 + noise
    assert difference.effect_size == pytest.approx(steps.mean() / steps.std(ddof=1))
    assert difference.needed < 60


def test_no_common_id_gives_no_difference():
    difference = arm_difference([{"a": 1.0}], [{"b": 1.0}])
    assert difference.estimate == Interval(None, None, None, 0)
    assert not difference.estimate.excludes_zero
    assert difference.left_out == 2
