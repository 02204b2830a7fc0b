"""Whether a difference is significant, how large it is beside its spread, and how much data it takes to see it.

    differences = by_prompt({id: run[id] - baseline[id] for id in run})
    p_values = holm([sign_flip(differences.sums), ...])
    prompts_needed(effect_size(differences))

scipy's permutation test does what `sign_flip` does, and draws all signs again for each of the hundreds of differences
of a comparison; here those over the same prompts share them.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from cai_lightning.statistics.intervals import (
    NO_PROMPTS,
    Array,
    Clusters,
    Prompts,
    batches,
    by_prompt,
    student_quantile,
)

FLIPS = 9_999
"""Random sign flips; so the least p-value is 1 in 10,000, which a correction over some hundred differences leaves."""

_MOST_PROMPTS_WRITTEN_OUT = 13
_ROUNDING = 1e-12


def sign_flip(sums: Array) -> float:
    """The two-sided p-value of paired differences whose true mean is 0.

    If two runs are alike, then which of the two gave which response to a prompt is chance, and every prompt's
    difference could as well have the other sign. So the mean is set against those under random signs. Whole prompts are
    flipped, for their repetitions and samples depend on each other. Nothing is assumed about the distribution, which
    for refusals and rubric scores is far from normal; for zeros and ones this is McNemar's exact test.

    Args:
        sums: The sum of each prompt's differences; of 13 prompts or fewer all signs are tried, of more random ones.
    """
    least = abs(float(sums.sum())) - _ROUNDING * float(np.abs(sums).sum())
    reached = sum(int((np.abs(signs @ sums) >= least).sum()) for signs in _signs(len(sums)))
    if len(sums) <= _MOST_PROMPTS_WRITTEN_OUT:
        return float(reached / 2 ** len(sums))
    return (reached + 1) / (FLIPS + 1)


def _signs(prompts: int) -> Iterator[Array]:
    """Rows of -1 and 1: all there are for few prompts, else random ones, in batches."""
    if prompts > _MOST_PROMPTS_WRITTEN_OUT:
        return batches(_random_signs, FLIPS, prompts)
    bits = np.arange(2**prompts)[:, None] >> np.arange(prompts) & 1
    return iter([1.0 - 2.0 * bits.astype(np.float64)])


def _random_signs(rng: np.random.Generator, prompts: int, rows: int) -> Array:
    return 1.0 - 2.0 * rng.integers(2, size=(rows, prompts), dtype=np.int8).astype(np.float64)


def t_test(differences: Clusters) -> float | None:
    """The two-sided p-value of Student's test over prompts, at which `student_interval` ends at 0; None for one prompt.

    Where all prompts differ alike, no spread is seen, from which no certainty follows: it is the sign-flip test's.
    """
    if len(differences) < 2:
        return None
    if differences.agree:
        return 2.0 ** (1 - len(differences)) if differences.mean else 1.0
    away = abs(differences.mean) / differences.standard_error
    return float(2 * scipy.special.stdtr(len(differences) - 1, -away))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p-values corrected for their number: Holm (1979). None, where there is no test, does not count and stays.

    Where each corrected value up to 5 % is taken for a difference, the chance of one or more wrong ones is 5 % at most,
    whatever depends on what.
    """
    corrected = np.array(p_values, dtype=np.float64)  # None is NaN, which is sorted to the end
    order = np.argsort(corrected)[: np.count_nonzero(~np.isnan(corrected))]
    corrected[order] = np.maximum.accumulate(np.minimum(1.0, np.arange(len(order), 0, -1) * corrected[order]))
    return [None if math.isnan(p_value) else p_value for p_value in corrected.tolist()]


@dataclass(frozen=True)
class VarianceComponent:
    """A share of the variance of a mean, and the degrees of freedom that it was estimated with."""

    variance: float
    df: float


def between_fine_tunings(
    fine_tunings: Sequence[Mapping[str, float]], prompts: Prompts = NO_PROMPTS
) -> VarianceComponent:
    """The variance of the mean of an arm, less the share that is noise of single responses: prompts show that too.

    Args:
        fine_tunings: The scores by id of two or more fine-tunings, all over the same ids.
        prompts: As in `mean_interval`.
    """
    clusters = [by_prompt(scores, prompts) for scores in fine_tunings]
    sums, counts = np.stack([gathered.sums for gathered in clusters]), clusters[0].counts
    means, df = sums.sum(axis=1) / counts.sum(), len(clusters) - 1
    residuals = sums - sums.mean(axis=0) - (means - means.mean())[:, None] * counts
    correction = len(counts) / max(1, len(counts) - 1)
    noise = correction * float((residuals**2).sum()) / df / counts.sum() ** 2
    return VarianceComponent(max(0.0, float(means.var(ddof=1)) - noise) / len(means), df)


def between_prompts(clusters: Clusters) -> VarianceComponent:
    """The variance of a mean over draws of prompts."""
    return VarianceComponent(clusters.standard_error**2, len(clusters) - 1)


def pooled(components: Sequence[VarianceComponent]) -> VarianceComponent:
    """What the fine-tunings of both arms add to the variance of a difference; 0 where they do not differ.

    Their variances are summed and their degrees of freedom pooled by Welch's formula: apart they would be far too wide.
    """
    total = sum(component.variance for component in components)
    if not total:
        return VarianceComponent(0.0, 1)
    return VarianceComponent(total, total**2 / sum(part.variance**2 / part.df for part in components))


POWER = 0.8
"""Share of experiments that shall see a difference."""
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


def prompts_needed(size: float | None, level: float = 0.05) -> int | None:
    """The least number of prompts at which a two-sided paired t-test sees an effect in `POWER` of the experiments.

    Args:
        size: The effect, as Cohen's d_z.
        level: The p-value up to which a difference counts as seen.

    Returns:
        The number; None where there is no effect, or one that a billion prompts do not show.
    """
    if not size:
        return None
    return _least(lambda n: power_of(size, n, level) >= POWER, MOST_PROMPTS)


def seeds_needed(
    difference: float, arms: Sequence[VarianceComponent], prompts: VarianceComponent, level: float = 0.05
) -> int | None:
    """The least number of fine-tunings of each arm at which `arm_difference` sees a difference likewise.

    Args:
        difference: The difference.
        arms: The variance of the mean of each arm of several fine-tunings (`between_fine_tunings`).
        prompts: The variance of the difference over draws of prompts, which more fine-tunings do not change.
        level: The p-value up to which a difference counts as seen.

    Returns:
        The number; None where fine-tunings do not differ, or where a thousand are not enough.
    """
    if not pooled(arms).variance or not difference:
        return None
    return _least(lambda seeds: power_with(seeds, difference, arms, prompts, level) >= POWER, MOST_SEEDS)


def power_with(
    seeds: int, difference: float, arms: Sequence[VarianceComponent], prompts: VarianceComponent, level: float
) -> float:
    """The share of experiments with so many fine-tunings in each of these arms that see the difference."""
    between = pooled([VarianceComponent(arm.variance * (arm.df + 1) / seeds, seeds - 1) for arm in arms])
    fixed = student_quantile(prompts.df, 1 - level) ** 2 * prompts.variance
    estimated = between.variance * _estimates(between.df)
    half = np.sqrt(student_quantile(between.df, 1 - level) ** 2 * estimated + fixed)
    spread = math.sqrt(between.variance + prompts.variance)
    return _seen(abs(difference) / spread, half / spread)


def _least(enough: Callable[[int], bool], most: int) -> int | None:
    """The least number from 2 on that is enough, where every larger one is, too; None where even `most` is not."""
    found = 2 + bisect_left(range(2, most + 1), True, key=enough)
    return found if found <= most else None


def power_of(size: float, n: int, level: float) -> float:
    """The share of experiments with n prompts in which a two-sided paired t-test sees an effect of this size."""
    critical, shift = student_quantile(n - 1, 1 - level), abs(size) * math.sqrt(n)
    if n > 10_000:  # where the t distribution is the normal one to five digits, and scipy's sums grow long
        return _seen(shift, np.array([critical]))
    noncentral = scipy.special.nctdtr
    power = 1 - noncentral(n - 1, shift, critical) + noncentral(n - 1, shift, -critical)
    if math.isnan(power):  # as scipy's is at single places where effects are large
        return _seen(shift, critical * np.sqrt(_estimates(n - 1)))
    return float(power)


def _estimates(df: float) -> Array:
    """Variances that are estimated where 1 is true, alike in likelihood."""
    estimates: Array = 2 * scipy.special.gammaincinv(df / 2, _DRAWS) / df
    return estimates


def _seen(shift: float, halves: Array) -> float:
    """The share of normal draws around this shift that lie beyond a half width of the interval, over all of these."""
    return float((scipy.special.ndtr(shift - halves) + scipy.special.ndtr(-shift - halves)).mean())
