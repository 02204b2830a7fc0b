"""Means over rows in closed form, beside published numbers and the bootstrap."""

import math

import numpy as np
import pytest

from cai_lightning.statistics import mean_interval
from cai_lightning.statistics.intervals import mean_of_rows


def test_wilson_of_independent_rows():
    values = np.array([1.0] * 10 + [0.0] * 90)
    estimate = mean_of_rows(values, np.arange(100), is_share=True)
    assert estimate.interval == pytest.approx([0.0552, 0.1744], abs=1e-4)  # Wilson 1927
    none = mean_of_rows(np.zeros(100), np.arange(100), is_share=True)
    assert none.interval == pytest.approx([0, 0.0370], abs=1e-4)


def test_repeated_prompts_are_worth_one_row():
    once = mean_of_rows(np.array([1.0, 0, 0, 1, 0, 0] * 9), np.arange(54), is_share=True)
    thrice = mean_of_rows(np.repeat([1.0, 0, 0, 1, 0, 0] * 9, 3), np.repeat(np.arange(54), 3), is_share=True)
    assert thrice.interval == pytest.approx(once.interval)
    assert (once.n, thrice.n) == (54, 162)


def test_few_prompts_that_agree_are_not_sure():
    values, prompts = np.tile([1.0, 0, 1, 1], 50), np.repeat([0, 1], 100)  # each prompt's share is 3 / 4
    estimate = mean_of_rows(values, prompts, is_share=True)
    assert estimate.low < 0.3
    assert mean_of_rows(np.ones(200), prompts, is_share=True).low == pytest.approx(0.3424, abs=1e-4)  # two rows'


@pytest.mark.parametrize("is_share", [True, False])
def test_intervals_are_those_of_the_bootstrap(is_share):
    rng = np.random.default_rng(0)
    prompts = np.repeat(np.arange(200), rng.integers(1, 4, 200))
    values = (rng.random(200)[prompts] + rng.random(len(prompts))) / 2
    values = (values < 0.4).astype(float) if is_share else values
    mine = mean_of_rows(values, prompts, is_share)
    shared = {f"{n:04x}": f"prompt {prompt}" for n, prompt in enumerate(prompts)}
    theirs = mean_interval(dict(zip(shared, values, strict=True)), prompts=shared)
    assert mine.mean == pytest.approx(theirs.mean)
    assert mine.interval == pytest.approx(theirs.interval, abs=0.1 * (theirs.high - theirs.low))


def test_rows_without_a_value_do_not_count_and_one_prompt_has_no_interval():
    estimate = mean_of_rows(np.array([1.0, math.nan, 3.0]), np.array([0, 1, 2]))
    assert (estimate.mean, estimate.n) == (2, 2)
    assert mean_of_rows(np.array([1.0, 3.0]), np.array([0, 0])).interval is None
    assert mean_of_rows(np.array([math.nan]), np.array([0])).mean is None
