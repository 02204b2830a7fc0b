"""Means with bootstrap intervals over prompts, and paired differences of two runs.

    estimate = mean_interval({"0f3a...": 0.9, "77b1...": 0.2})
    difference = paired_difference(scores, baseline_scores)

The percentile bootstrap is used: on means of 100 prompts, continuous scores or rates from 0.1 to 0.9, it covers its
95 % as well as BCa does, costs no jackknife, and is plain enough to check by hand. Below some 20 prompts both are too
narrow.
"""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 5_000
LARGEST_DRAW = 2_000_000
"""Most numbers that one batch of resamples may hold, so that memory does not grow with the prompts."""

Array = NDArray[np.float64]
_REPETITION = re.compile(r"(-\d+)?(\.\d+)?$")


@dataclass(frozen=True)
class Estimate:
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
        effect_size: Cohen's d_z, the mean difference over its standard deviation; None where all pairs differ alike.
        needed: Prompts needed to see a difference of this size with 80 % power; None where no number is enough, or
            where it hangs on the number of fine-tunings.
    """

    estimate: Estimate
    left_out: int
    p_value: float | None = None
    effect_size: float | None = None
    needed: int | None = None


def cluster(id: str) -> str:
    """The prompt that an id stands for: without `-n` of a repeated prompt and `.k` of a further sample.

    >>> cluster("00aa-2.1")
    '00aa'
    """
    return _REPETITION.sub("", id, count=1)


def mean_interval(values: Mapping[str, float], confidence: float = 0.95, seed: int = 0) -> Estimate:
    """The mean of scores and its percentile bootstrap interval.

    Repetitions of a prompt are no independent draws, so whole prompts are resampled. Where all prompts agree the
    interval has no width: the bootstrap sees no spread, which does not mean that there is none.

    Args:
        values: Finite scores by id.
        confidence: Share of intervals that shall hold the true mean, between 0 and 1.
        seed: Seed of the resampling; the order of the values does not matter.

    Returns:
        The mean over all values; its interval is None with fewer than two prompts.
    """
    if not values:
        return Estimate(None, None, None, 0)
    mean = math.fsum(values.values()) / len(values)
    sums, counts = _by_cluster(values)
    if len(sums) < 2:
        return Estimate(mean, None, None, len(values))
    if np.ptp(list(values.values())) == 0:
        return Estimate(mean, mean, mean, len(values))
    low, high = _percentile_interval(sums, counts, confidence, seed)
    return Estimate(mean, low, high, len(values))


def paired_difference(
    a: Mapping[str, float], b: Mapping[str, float], confidence: float = 0.95, seed: int = 0
) -> PairedDifference:
    """The mean of `a - b` over the ids scored in both, with the interval of `mean_interval`.

    Args:
        a: Finite scores of a run by id.
        b: Finite scores of the baseline by id.
        confidence: As in `mean_interval`.
        seed: As in `mean_interval`.
    """
    differences = {id: a[id] - b[id] for id in a.keys() & b.keys()}
    return PairedDifference(mean_interval(differences, confidence, seed), left_out=len(a.keys() ^ b.keys()))


def _by_cluster(values: Mapping[str, float]) -> tuple[Array, Array]:
    """Sum and number of the values of each prompt, ordered by prompt."""
    groups: dict[str, list[float]] = defaultdict(list)
    for id in sorted(values):
        groups[cluster(id)].append(values[id])
    members = [groups[name] for name in sorted(groups)]
    return np.array([math.fsum(m) for m in members]), np.array([len(m) for m in members], dtype=np.float64)


def _percentile_interval(sums: Array, counts: Array, confidence: float, seed: int) -> tuple[float, float]:
    from scipy import stats

    interval = stats.bootstrap(
        (sums, counts),
        _ratio,
        paired=True,
        confidence_level=confidence,
        method="percentile",
        n_resamples=RESAMPLES,
        batch=max(1, LARGEST_DRAW // len(sums)),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _ratio(sums: Array, counts: Array, axis: int = -1) -> Array:
    ratio: Array = sums.sum(axis=axis) / counts.sum(axis=axis)
    return ratio
