"""How large a difference is beside its spread, and how many prompts it takes to see it."""

import math

from cai_lightning.statistics.clusters import Clusters

POWER = 0.8
MOST_PROMPTS = 10**9


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
    low, high = 1, 2
    while power_of(size, high, level) < power:
        low, high = high, 2 * high
        if low > MOST_PROMPTS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(size, middle, level) >= power else (middle, high)
    return high


def power_of(size: float, n: int, level: float) -> float:
    """The share of experiments with n prompts in which a two-sided paired t-test sees an effect of this size."""
    from scipy.special import nctdtr, ndtr, stdtrit

    critical = float(stdtrit(n - 1, 1 - level / 2))
    shift = abs(size) * math.sqrt(n)
    if n > 10_000:  # where the t distribution is the normal one to five digits, and scipy's sums grow long
        return float(ndtr(shift - critical) + ndtr(-shift - critical))
    return float(1 - nctdtr(n - 1, shift, critical) + nctdtr(n - 1, shift, -critical))
