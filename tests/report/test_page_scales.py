"""Axes are round, hold all values, and place them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_lightning.report.page.cards import scale_over, whole_scale

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 6))


def labels(scale):
    return [tick.label for tick in scale.ticks]


def test_ticks_are_round():
    assert labels(scale_over([0.12, 0.87])) == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert labels(scale_over([-0.031, 0.012])) == ["-0.04", "-0.03", "-0.02", "-0.01", "0.00", "0.01", "0.02"]
    assert labels(scale_over([1, 5])) == ["1", "2", "3", "4", "5"]
    assert labels(scale_over([0, 11])) == ["0.0", "2.5", "5.0", "7.5", "10.0", "12.5"]


def test_scores_between_0_and_1_get_the_whole_scale():
    assert labels(whole_scale([0.97, 0.99])) == labels(scale_over([0, 1]))
    assert whole_scale([3.0, 4.0]).low == 3.0
    assert labels(whole_scale([])) == labels(scale_over([0, 1]))


def test_a_single_value_stands_in_the_middle():
    assert scale_over([3.0]).place(3.0) == 50


@given(st.lists(NUMBERS, min_size=1, max_size=5))
def test_every_value_is_on_the_scale(values):
    scale = scale_over(values)
    width = scale.high - scale.low
    for value in values:
        assert scale.low - 1e-6 * width <= value <= scale.high + 1e-6 * width
        assert scale.place(value) == pytest.approx(100 * (value - scale.low) / width, abs=0.02)
    assert 2 <= len(scale.ticks) <= 9
    assert all(math.isfinite(float(tick.label)) for tick in scale.ticks)
