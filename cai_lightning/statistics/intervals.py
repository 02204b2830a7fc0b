"""Intervals of a mean over prompts, in closed form: Student's, Wilson's of a rate, Bonett and Price's of a difference.

    clusters = by_prompt({"a": 1.0, "b": 0.0, "c": 1.0}, {"a": "first", "b": "first"})
    clusters.mean, rate_interval(clusters, confidence=0.95)

    mean_of_rows(np.array([1.0, 0.0, np.nan]), prompts=np.array([0, 1, 1]), is_share=True)

Repetitions and samples of one prompt are no independent draws, so values are gathered by prompt, and spread is that
between prompts. A rate gets Wilson's interval for its effective sample size: unlike the bootstrap's, it has a width
where no row has what is looked for. With one row a prompt this is Wilson's own. A spread that is seen between few
prompts of several rows may be small by chance, so it gets Student's quantile; and as no rate varies more than one that
is 0 or 1 for all rows of a prompt, the interval is never wider than Wilson's for prompts that count one row each. How
often these intervals hold the truth stands in `docs/experiments.md`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

Array = NDArray[np.float64]
PromptNumbers = NDArray[np.int64]
"""The number of the prompt that each of some rows belongs to."""

Prompts = Mapping[str, str]
"""What each id shares with the others about its prompt; an id that is not there has a prompt of its own."""

NO_PROMPTS: Prompts = MappingProxyType({})

Ends = tuple[float, float]

UNSEEN = 0.25
"""So much of a prompt that is unlike the others in all fine-tunings is added to the spread of averaged rates. Where few
ones are seen, they would else seem to be chance of single responses, and not of prompts that always give a one."""


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

    @classmethod
    def of(cls, mean: float | None, ends: Sequence[float] | None, n: int) -> "Interval":
        """A mean with both ends of its interval, or with none."""
        low, high = ends or (None, None)
        return cls(mean, low, high, n)

    @property
    def interval(self) -> list[float] | None:
        """The interval as `summary.json` holds it: [low, high] or None."""
        return None if self.low is None or self.high is None else [self.low, self.high]

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and 0 lies outside."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


NOTHING = Interval(None, None, None, 0)


@dataclass(frozen=True)
class Clusters:
    """The values of N prompts.

    Args:
        sums: The sum of each prompt's values.
        counts: How many values it has.
        squares: The sum of the squares of all values.
    """

    sums: Array
    counts: Array
    squares: float

    def __len__(self) -> int:
        return len(self.sums)

    @property
    def n(self) -> int:
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """The mean over all values."""
        return math.fsum(self.sums) / self.n

    @property
    def influence(self) -> Array:
        """How far each prompt moves the mean."""
        moved: Array = (self.sums - self.mean * self.counts) / self.n
        return moved

    @property
    def standard_error(self) -> float:
        """The standard deviation of the mean over draws of prompts; with one value each it is s / sqrt(N)."""
        return math.sqrt(float(self.influence @ self.influence) * len(self) / (len(self) - 1))

    @property
    def agree(self) -> bool:
        """Whether all prompts have the same mean, but for rounding."""
        means = self.sums / self.counts
        return bool(np.ptp(means) <= 1e-12 * np.abs(means).max())

    def interval(self, ends: Ends | None = None) -> Interval:
        """The mean with these ends."""
        return Interval.of(self.mean, ends, self.n) if self.n else NOTHING


def by_prompt(values: Mapping[str, float], prompts: Prompts = NO_PROMPTS) -> Clusters:
    """Gathers values by prompt, ordered by prompt.

    Args:
        values: Values by id.
        prompts: What each id shares with the others about its prompt.
    """
    ids = sorted(values)
    names = np.array([prompts.get(id, id) for id in ids], dtype=object)
    return gather(np.array([values[id] for id in ids], dtype=np.float64), names)


def gather(values: Array, prompts: NDArray[np.generic]) -> Clusters:
    """Gathers values by the prompt that stands for each in the other array; NaN is none."""
    known = ~np.isnan(values)
    values, prompts = values[known], prompts[known]
    _, places, counts = np.unique(prompts, return_inverse=True, return_counts=True)
    return Clusters(np.bincount(places, values).astype(np.float64), counts.astype(np.float64), float(values @ values))


def number_prompts(names: Iterable[str]) -> PromptNumbers:
    """The same number for the same prompt, from 0 on in the order of their first rows."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def mean_of_rows(values: Array, prompts: PromptNumbers, is_share: bool = False, confidence: float = 0.95) -> Interval:
    """The mean of the values that are numbers, and its interval: Wilson's of a share, Student's of any other mean.

    A table of 42,000 rows does not wait for these, as it would for the bootstrap, which on a hundred prompts and more
    gives the same within a few per cent of the width.

    Args:
        values: One for each row; NaN where the row has none.
        prompts: The number of the prompt that each row belongs to.
        is_share: Whether every value is 0 or 1, or half of it for a tie.
        confidence: Share of intervals that shall hold the true mean, between 0 and 1.
    """
    clusters = gather(values, prompts)
    if len(clusters) < 2:
        return clusters.interval()
    return clusters.interval((rate_interval if is_share else student_interval)(clusters, confidence))


def student_interval(values: Clusters, confidence: float) -> Ends:
    """Student's interval over prompts."""
    half = student_quantile(len(values) - 1, confidence) * values.standard_error
    return values.mean - half, values.mean + half


def rate_interval(values: Clusters, confidence: float, averaged: int = 1) -> Ends:
    """Wilson's interval of a share of ones.

    Args:
        values: Zeros and ones, halves for ties, or averages of zeros and ones.
        confidence: Share of intervals that shall hold the true share.
        averaged: How many zeros and ones each value is the average of.
    """
    return share_interval(values.mean, rate_size(values, averaged), confidence)


def rate_difference_interval(differences: Clusters, confidence: float) -> Ends:
    """The interval of the difference of two rates on the same prompts: Bonett and Price (2012), an adjusted Wald.

    Args:
        differences: Differences of zeros and ones, or of averages of them.
        confidence: Share of intervals that shall hold the true difference.
    """
    mean, share, spread = differences.mean, differences.squares / differences.n, differences.influence
    seen = len(differences) if differences.agree else (share - mean**2) / float(spread @ spread)
    size = min(differences.n, seen)
    mean, share = mean * size / (size + 2), (share * size + 2) / (size + 2)
    half = student_quantile(len(differences) - 1, confidence) * math.sqrt((share - mean**2) / (size + 2))
    return max(-1.0, mean - half), min(1.0, mean + half)


@dataclass(frozen=True)
class EffectiveSize:
    """How many independent rows a share is as sure as.

    Args:
        seen: By its spread between prompts.
        prompts: By the number of prompts, of which the rows of each may all be alike.
        df: Degrees of freedom of that spread.
    """

    seen: float
    prompts: float
    df: float


def rate_size(values: Clusters, averaged: int = 1) -> EffectiveSize:
    """The effective sample size of a rate, see `rate_interval`."""
    share, n = values.mean, values.n
    if averaged == 1:
        alone = (values.squares - n * share**2) / n**2
        return effective_size(share, values.influence, alone, n, [values.counts])
    unseen = UNSEEN * (max(share, 1 - share) / len(values)) ** 2
    return effective_size(share, values.influence, math.inf, averaged * n, [values.counts], unseen)


def effective_size(
    share: float, influence: Array, alone: float, n: int, samples: Sequence[NDArray[Any]], unseen: float = 0.0
) -> EffectiveSize:
    """How many independent rows a share is as sure as.

    Rows of a prompt that contradict each other may make it seem surer than independent rows would be: that is not
    counted, unless these are surer than zeros and ones, as ties are.

    Args:
        share: The share.
        influence: How far each prompt moves it.
        alone: The variance that it would have if all rows were independent, by what they are.
        n: How many zeros and ones there are, which bounds that variance.
        samples: How many rows each prompt has in each of the samples that the share compares; a mean has one.
        unseen: Variance that is added to the spread seen between prompts.
    """
    variance, df = share * (1 - share), min(map(len, samples)) - 1
    prompts = min(float(counts.sum() ** 2 / (counts @ counts)) for counts in samples)
    between, least = float(influence @ influence), min(alone, variance / n)
    if max(between, least) <= 0:
        return EffectiveSize(prompts, prompts, df)
    seen = variance / max(between + unseen, least)
    return EffectiveSize(seen * df / (df + 1), min(seen, prompts), df)


def share_interval(share: float, size: EffectiveSize, confidence: float) -> Ends:
    """The narrower of Wilson's intervals for the spread that is seen and for prompts that count one row each."""
    seen = wilson(share, size.seen, student_quantile(size.df, confidence))
    least = wilson(share, size.prompts, float(scipy.special.ndtri((1 + confidence) / 2)))
    return max(seen[0], least[0]), min(seen[1], least[1])


def share_p_value(share: float, size: EffectiveSize, chance: float) -> float:
    """The two-sided p-value of a share that is `chance` in truth: one less the confidence that ends its interval there.

    Args:
        share: The share.
        size: How many independent rows it is as sure as.
        chance: The share that is tested, between 0 and 1.
    """
    away = abs(share - chance) / math.sqrt(chance * (1 - chance))
    seen = scipy.special.stdtr(size.df, -away * math.sqrt(size.seen))
    return float(2 * min(seen, scipy.special.ndtr(-away * math.sqrt(size.prompts))))


def wilson(share: float, n: float, z: float) -> Ends:
    """Wilson's interval of a share of n independent rows; z is the quantile of the confidence."""
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    low, high = min(share, middle - half), max(share, middle + half)  # but for rounding, the share lies between
    return max(0.0, low), min(1.0, high)


def student_quantile(df: float, confidence: float) -> float:
    """How many standard errors Student's interval reaches to either side."""
    return float(scipy.special.stdtrit(df, (1 + confidence) / 2))
