"""Intervals of a mean over prompts: Student's, Wilson's of a rate, Bonett and Price's of a difference, the bootstrap's.

    clusters = by_prompt({"a": 1.0, "b": 0.0, "c": 1.0}, {"a": "first", "b": "first"})
    clusters.mean, rate_interval(clusters, confidence=0.95), bootstrap_interval(clusters, confidence=0.95)

    mean_of_rows(np.array([1.0, 0.0, np.nan]), prompts=np.array([0, 1, 1]), is_share=True)

Repetitions and samples of one prompt are no independent draws, so values are gathered by prompt, and spread is that
between prompts. A rate gets Wilson's interval for its effective sample size: unlike the bootstrap's, it has a width
where no row has what is looked for. With one row a prompt this is Wilson's own. A spread that is seen between few
prompts of several rows may be small by chance, so it gets Student's quantile; and as no rate varies more than one that
is 0 or 1 for all rows of a prompt, the interval is never wider than Wilson's for prompts that count one row each. How
often these intervals hold the truth stands in `docs/experiments.md`.

A mean of any distribution gets the studentized bootstrap's. The percentile bootstrap, which is plainer, covers 91.3 %
for scores as skewed as the lognormal distribution (100 prompts, `docs/experiments.md`); scipy has no studentized
bootstrap over clusters.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
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

Draw = Callable[[np.random.Generator, int, int], Array]
"""Draws a row of one number for each of so many prompts, so many times."""

SEED = 0
"""The same scores have the same intervals, in whatever order they come."""
RESAMPLES = 5_000
LARGEST_DRAW = 2_000_000
"""Most numbers that one batch of resamples may hold, so that memory does not grow with the prompts."""

FEWEST_RESAMPLED = 5
"""Prompts below which resamples repeat each other; Student's interval is used."""

LEAST_ERROR = 0.5
"""Share of the standard error that each resample has at least. Where few values differ from the others, resamples that
see none of them would seem to be certain, and the interval would span everything."""

FEWEST_THAT_BOUND = 20
"""Prompts from which on an interval ends where the values end, so that no score of 0 to 1 seems to pass 1."""


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


def bootstrap_interval(values: Clusters, confidence: float) -> Ends:
    """The studentized interval; Student's where prompts are too few to be resampled, no width where all agree."""
    if values.agree:
        return values.mean, values.mean
    if len(values) < FEWEST_RESAMPLED:
        return student_interval(values, confidence)
    quantiles = studentized_quantiles(values.sums, values.counts, confidence)
    high, low = (values.mean - float(quantile) * values.standard_error for quantile in quantiles)
    if len(values) < FEWEST_THAT_BOUND:
        return low, high
    means = values.sums / values.counts
    return max(low, float(means.min())), min(high, float(means.max()))


def studentized_quantiles(sums: Array, counts: Array, confidence: float) -> tuple[Array, Array]:
    """The quantiles of the bootstrap's t: how far resampled means lie from the mean, in their own standard errors.

    Args:
        sums: The sums of N prompts' values in the last axis; other axes hold other experiments on the same counts.
        counts: How many values each of the N prompts has.
        confidence: The share between the two quantiles.

    Returns:
        The lower and the upper quantile of each experiment, whose values do not all agree.
    """
    residuals = sums - (sums.sum(axis=-1, keepdims=True) / counts.sum()) * counts
    ratios = np.concatenate([_ratios(residuals, counts, times) for times in resamples(len(counts))], axis=-1)
    low, high = np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2], axis=-1, method="nearest")
    return low, high


def _ratios(residuals: Array, counts: Array, times: Array) -> Array:
    """The t of each resample: its mean residual over the standard error that the resample itself shows."""
    size = times @ counts
    shift = (residuals @ times.T) / size
    squares = residuals**2 @ times.T - 2 * shift * ((residuals * counts) @ times.T) + shift**2 * (times @ counts**2)
    n = len(counts)
    error = np.sqrt(np.maximum(squares, 0) * n / (n - 1)) / size
    own = np.sqrt((residuals**2).sum(axis=-1, keepdims=True) * n / (n - 1)) / counts.sum()
    ratios: Array = shift / np.maximum(error, LEAST_ERROR * own)
    return ratios


def resamples(prompts: int) -> Iterator[Array]:
    """How often each prompt is drawn in each resample, in batches."""
    return batches(draws, RESAMPLES, prompts)


def batches(draw: Draw, rows: int, prompts: int) -> Iterator[Array]:
    """So many rows, drawn in batches; one batch alone is kept, for every column of a comparison asks for the same."""
    sizes = batch_sizes(rows, prompts)
    if len(sizes) == 1:
        yield _kept(draw, rows, prompts)
    else:
        rng = np.random.default_rng(SEED)
        yield from (draw(rng, prompts, size) for size in sizes)


@lru_cache(maxsize=8)
def _kept(draw: Draw, rows: int, prompts: int) -> Array:
    return draw(np.random.default_rng(SEED), prompts, rows)


def batch_sizes(rows: int, prompts: int) -> list[int]:
    """In how many rows at a time so many are drawn, each with a number for every prompt."""
    batch = max(1, LARGEST_DRAW // prompts)
    return [min(batch, rows - start) for start in range(0, rows, batch)]


def draws(rng: np.random.Generator, prompts: int, resamples: int) -> Array:
    """How often each of N prompts is drawn when N are, once for each resample."""
    drawn: NDArray[np.int64] = rng.integers(prompts, size=(resamples, prompts))
    places = (drawn + prompts * np.arange(resamples)[:, None]).ravel()
    times: Array = np.bincount(places, minlength=resamples * prompts).reshape(resamples, prompts).astype(np.float64)
    return times
