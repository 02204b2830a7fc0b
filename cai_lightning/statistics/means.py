"""Means with intervals over prompts, and paired differences of two runs.

What the statistics return: a mean with its interval, and the difference of two runs.

    estimate = mean_interval({"0f3a...": 0.9, "77b1...": 0.2})
    difference = paired_difference(scores, baseline_scores)

Which interval is used for which values, and why, is in `intervals`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cai_lightning.statistics.intervals import (
    NO_PROMPTS,
    Clusters,
    Prompts,
    by_prompt,
    rate_difference_interval,
    rate_interval,
    score_interval,
)
from cai_lightning.statistics.tests import effect_size, prompts_needed, sign_flip


@dataclass(frozen=True)
class Interval:
    """A mean and its interval.

    Args:
        mean: The mean of the values; None where there is none.
        low: Lower end of the interval; None where fewer than two prompts tell nothing about the spread.
        high: Upper end of the interval, or None likewise.
        n: Number of values.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int

    @property
    def interval(self) -> list[float] | None:
        """The interval as `summary.json` holds it: [low, high] or None."""
        return None if self.low is None or self.high is None else [self.low, self.high]

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and 0 lies outside."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class PairedDifference:
    """The mean of the differences of two runs over the ids scored in both.

    Args:
        estimate: Mean difference and interval; its `n` is the number of pairs.
        left_out: Number of ids scored in only one of the two.
        p_value: Two-sided p-value of no difference; None where there is no interval.
        effect_size: Cohen's d_z, the mean difference over its standard deviation between prompts; None where all pairs
            differ alike.
        needed: Prompts needed to see a difference of this size with 80 % power; None where no number is enough, or
            where fine-tunings differ, which more prompts do not change.
        needed_seeds: Fine-tunings of each arm of several that are needed likewise, on these prompts; None where they
            do not differ, or where no number is enough.
    """

    estimate: Interval
    left_out: int
    p_value: float | None = None
    effect_size: float | None = None
    needed: int | None = None
    needed_seeds: int | None = None


def mean_interval(
    values: Mapping[str, float],
    confidence: float = 0.95,
    seed: int = 0,
    unit_scale: bool = True,
    prompts: Prompts = NO_PROMPTS,
) -> Interval:
    """The mean of scores and its interval: the studentized bootstrap's, or Wilson's where all are 0 or 1.

    Repetitions of a prompt are no independent draws, so whole prompts are resampled. Where all scores agree, but are
    neither 0 nor 1, the interval has no width: no spread is seen, which does not mean that there is none.

    Args:
        values: Finite scores by id.
        confidence: Share of intervals that shall hold the true mean, between 0 and 1.
        seed: Seed of the resampling; the order of the values does not matter.
        unit_scale: Whether the scale goes from 0 to 1; on any other, ones are no rate.
        prompts: What each id shares with the others about its prompt.

    Returns:
        The mean over all values; its interval is None with fewer than two prompts.
    """
    clusters = by_prompt(values, prompts)
    if len(clusters) < 2:
        return without_interval(clusters)
    rates = unit_scale and are_rates(values)
    ends = rate_interval(clusters, confidence) if rates else score_interval(clusters, confidence, seed)
    return Interval(clusters.mean, *ends, len(values))


def paired_difference(
    a: Mapping[str, float],
    b: Mapping[str, float],
    confidence: float = 0.95,
    seed: int = 0,
    unit_scale: bool = True,
    prompts: Prompts = NO_PROMPTS,
) -> PairedDifference:
    """The mean of `a - b` over the ids scored in both, its interval, and whether it is significant.

    Args:
        a: Finite scores of a run by id.
        b: Finite scores of the baseline by id.
        confidence: As in `mean_interval`; its complement is the level that `needed` is for.
        seed: As in `mean_interval`.
        unit_scale: As in `mean_interval`.
        prompts: As in `mean_interval`.
    """
    differences = {id: a[id] - b[id] for id in a.keys() & b.keys()}
    left_out = len(a.keys() ^ b.keys())
    clusters = by_prompt(differences, prompts)
    if len(clusters) < 2:
        return PairedDifference(without_interval(clusters), left_out)
    if unit_scale and all(are_rates({id: run[id] for id in differences}) for run in (a, b)):
        ends = rate_difference_interval(clusters, len([d for d in differences.values() if d]), confidence)
    else:
        ends = score_interval(clusters, confidence, seed)
    estimate, size = Interval(clusters.mean, *ends, len(differences)), effect_size(clusters)
    needed = prompts_needed(size, level=1 - confidence)
    return PairedDifference(estimate, left_out, sign_flip(clusters.sums, seed), size, needed)


def are_rates(values: Mapping[str, float]) -> bool:
    """Whether all values are 0 or 1, so that their mean is a rate."""
    return all(value in (0.0, 1.0) for value in values.values())


def without_interval(clusters: Clusters) -> Interval:
    """The mean of fewer than two prompts."""
    n = int(clusters.counts.sum())
    return Interval(clusters.mean if n else None, None, None, n)
