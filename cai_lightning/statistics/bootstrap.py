"""The bootstrap over prompts: how often each is drawn, and the studentized interval of a mean of any distribution.

    low, high = bootstrap_interval(by_prompt(scores), confidence=0.95)

The percentile bootstrap, plainer than the studentized one, covers 91.3 % for scores as skewed as the lognormal
distribution (100 prompts, `docs/experiments.md`); scipy has no studentized bootstrap over clusters.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cai_lightning.statistics.intervals import Array, Clusters, Ends, student_interval

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
