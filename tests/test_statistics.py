"""The bootstrap beside a plain reference implementation, its coverage, and its degenerate inputs."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai_lightning.records import number_ids, prompt_id
from cai_lightning.statistics import Estimate, cluster, mean_interval, paired_difference

finite = st.floats(-1e6, 1e6)
ids = st.builds(prompt_id, st.sampled_from("abcdef"), st.integers(1, 3), st.integers(0, 2))


def reference_interval(values, resamples=20_000):
    """The cluster bootstrap, written out: draw prompts, take the mean of all their values."""
    groups = {}
    for id, value in values.items():
        groups.setdefault(id.split(".")[0].split("-")[0], []).append(value)
    groups = list(groups.values())
    draw = random.Random(1)
    means = []
    for _ in range(resamples):
        chosen = [value for group in draw.choices(groups, k=len(groups)) for value in group]
        means.append(sum(chosen) / len(chosen))
    return np.percentile(means, [2.5, 97.5])


def by_prompt(values):
    return {prompt_id(f"prompt {n}"): float(value) for n, value in enumerate(values)}


def test_cluster_takes_off_repetition_and_sample():
    first, second = number_ids(["same text", "same text"])
    assert second == f"{first}-2"
    assert cluster(second) == first
    assert cluster(prompt_id("same text", occurrence=2, sample=3)) == first
    assert cluster(prompt_id("same text", sample=3)) == first
    assert cluster("abc-2") == "abc"


def test_interval_matches_the_reference_with_independent_prompts():
    values = by_prompt(np.random.default_rng(0).exponential(size=40))
    estimate = mean_interval(values)
    assert estimate.mean == pytest.approx(np.mean(list(values.values())))
    assert estimate.n == 40
    assert estimate.interval == pytest.approx(reference_interval(values), abs=0.02)


def test_interval_matches_the_reference_with_unequal_clusters():
    rng = np.random.default_rng(0)
    values = {
        prompt_id(f"prompt {n}", occurrence=k + 1): float(center + rng.normal() / 5)
        for n, center in enumerate(rng.normal(size=30))
        for k in range(1 + n % 4)
    }
    assert mean_interval(values).interval == pytest.approx(reference_interval(values), abs=0.03)


def test_repetitions_do_not_narrow_the_interval():
    once = by_prompt(np.random.default_rng(0).normal(size=50))
    repeated = {f"{id}-{k}" if k > 1 else id: value for id, value in once.items() for k in range(1, 6)}
    narrow, wide = mean_interval(once), mean_interval(repeated)
    assert wide.n == 250
    assert wide.interval == pytest.approx(narrow.interval)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_95_percent_intervals_of_rates_cover_the_truth(rate):
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        estimate = mean_interval(by_prompt(rng.random(100) < rate))
        covered += estimate.low <= rate <= estimate.high
    assert 0.91 <= covered / 200 <= 0.99  # 0.95 ± 2.6 standard errors


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
    assert mean_interval({}) == Estimate(None, None, None, 0)


def test_one_prompt_has_no_interval_however_often_it_is_repeated():
    assert mean_interval({"a": 0.5}) == Estimate(0.5, None, None, 1)
    assert mean_interval({"a": 0.0, "a-2": 1.0}) == Estimate(0.5, None, None, 2)


@given(finite, st.integers(2, 20))
def test_equal_values_have_an_interval_without_width(value, n):
    estimate = mean_interval(by_prompt([value] * n))
    assert estimate.mean == pytest.approx(value)
    assert estimate.low == estimate.high == estimate.mean


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(ids, finite, max_size=12))
def test_any_values_give_an_interval_within_them(values):
    estimate = mean_interval(values)
    assert estimate.n == len(values)
    if estimate.interval is not None:
        margin = 1e-9 * max(1, *map(abs, values.values()))
        assert min(values.values()) - margin <= estimate.low <= estimate.high <= max(values.values()) + margin


def test_paired_difference_uses_the_ids_scored_in_both():
    a = {"a": 1.0, "b": 0.5, "c": 0.75, "only-a": 9.0}
    b = {"a": 0.5, "b": 0.25, "c": 0.25, "only": -9.0, "other": 0.0}
    difference = paired_difference(a, b)
    assert difference.estimate.mean == pytest.approx((0.5 + 0.25 + 0.5) / 3)
    assert difference.estimate.n == 3
    assert difference.left_out == 3
    assert difference.estimate.excludes_zero


def test_pairing_sees_what_unpaired_intervals_hide():
    base = by_prompt(np.random.default_rng(0).normal(size=60))
    noise = np.random.default_rng(1).normal(scale=0.05, size=60)
    better = {id: value + 0.1 + step for (id, value), step in zip(base.items(), noise, strict=True)}
    assert mean_interval(better).low < mean_interval(base).high
    assert paired_difference(better, base).estimate.excludes_zero


def test_no_common_id_gives_no_difference():
    difference = paired_difference({"a": 1.0}, {"b": 1.0})
    assert difference.estimate == Estimate(None, None, None, 0)
    assert not difference.estimate.excludes_zero
    assert difference.left_out == 2
