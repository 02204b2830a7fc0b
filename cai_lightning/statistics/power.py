"""How large a difference is beside its spread, and how many prompts or fine-tunings it takes to see it."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from cai_lightning.statistics.clusters import Array, Clusters
from cai_lightning.statistics.intervals import student_quantile
from cai_lightning.statistics.parts import Part, joined

POWER = 0.8
MOST_PROMPTS = 10**9
MOST_SEEDS = 1_000
_DRAWS = (np.arange(500) + 0.5) / 500
"""Quantiles at which an average over how a variance is estimated is taken."""


def effect_size(differences: Clusters) -> float | None:
    """Cohen's d_z: the mean difference over the standard deviation of the differences between prompts.

    Where prompts repeat, the deviation is that of as many single prompts as would leave the mean as uncertain.

    Returns:
        d_z, with the sign of the difference; None where all prompts differ alike.
    """
    if differences.agree:
        return None if differences.mean else 0.0
    return differences.mean / (differences.standard_error * math.sqrt(len(differences)))


def prompts_needed(size: float | None, level: float = 0.05, power: float = POWER) -> int | None:
    """The least number of prompts at which a two-sided paired t-test sees an effect as often as asked for.

    Args:
        size: The effect, as Cohen's d_z.
        level: The p-value up to which a difference counts as seen.
        power: The share of experiments that shall see it.

    Returns:
        The number; None where there is no effect, or one that a billion prompts do not show.
    """
    if not size:
        return None
    return _least(lambda n: power_of(size, n, level) >= power, MOST_PROMPTS)


def seeds_needed(
    difference: float, arms: Sequence[Part], prompts: Part, level: float = 0.05, power: float = POWER
) -> int | None:
    """The least number of fine-tunings of each arm at which `arm_difference` sees a difference as often as asked for.

    Args:
        difference: The difference.
        arms: The variance of the mean of each arm of several fine-tunings (`parts.of_fine_tunings`).
        prompts: The variance of the difference over draws of prompts, which more fine-tunings do not change.
        level: The p-value up to which a difference counts as seen.
        power: The share of experiments that shall see it.

    Returns:
        The number; None where fine-tunings do not differ, or where a thousand are not enough.
    """
    if not joined(arms) or not difference:
        return None
    return _least(lambda seeds: power_with(seeds, difference, arms, prompts, level) >= power, MOST_SEEDS)


def power_with(seeds: int, difference: float, arms: Sequence[Part], prompts: Part, level: float) -> float:
    """The share of experiments with so many fine-tunings in each of these arms that see the difference."""
    (between,) = joined([Part(part.variance * (part.freedom + 1) / seeds, seeds - 1) for part in arms])
    fixed = student_quantile(prompts.freedom, 1 - level) ** 2 * prompts.variance
    estimated = between.variance * _estimates(between.freedom)
    half = np.sqrt(student_quantile(between.freedom, 1 - level) ** 2 * estimated + fixed)
    spread = math.sqrt(between.variance + prompts.variance)
    return _seen(abs(difference) / spread, half / spread)


def _least(enough: Callable[[int], bool], most: int) -> int | None:
    """The least number from 2 on that is enough, where every larger one is, too; None where it would pass `most`."""
    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
        if low > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def power_of(size: float, n: int, level: float) -> float:
    """The share of experiments with n prompts in which a two-sided paired t-test sees an effect of this size."""
    from scipy.special import nctdtr

    critical, shift = student_quantile(n - 1, 1 - level), abs(size) * math.sqrt(n)
    if n > 10_000:  # where the t distribution is the normal one to five digits, and scipy's sums grow long
        return _seen(shift, np.array([critical]))
    power = 1 - nctdtr(n - 1, shift, critical) + nctdtr(n - 1, shift, -critical)
    if math.isnan(power):  # as scipy's is at single places where effects are large
        return _seen(shift, critical * np.sqrt(_estimates(n - 1)))
    return float(power)


def _estimates(freedom: float) -> Array:
    """Variances that are estimated where 1 is true, alike in likelihood."""
    from scipy.special import gammaincinv

    estimates: Array = 2 * gammaincinv(freedom / 2, _DRAWS) / freedom
    return estimates


def _seen(shift: float, halves: Array) -> float:
    """The share of normal draws around this shift that lie beyond a half width of the interval, over all of these."""
    from scipy.special import ndtr

    return float((ndtr(shift - halves) + ndtr(-shift - halves)).mean())
