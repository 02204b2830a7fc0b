"""How far evaluators agree: Spearman's rank correlation and Krippendorff's alpha, each with its interval.

Spearman's rank correlation with its interval.

estimate = rank_correlation(scores, lengths)

Krippendorff's alpha with its interval. Pure functions.

estimate = alpha_with_interval(np.stack([preferences_of_one, preferences_of_another]), prompts)
"""

import math

import numpy as np
from numpy.typing import NDArray

from cai_lightning.statistics import Interval
from cai_lightning.statistics.accuracy import Prompts, Values
from cai_lightning.statistics.intervals import resamples

TINY = 1e-9


def rank_correlation(a: Values, b: Values, confidence: float = 0.95) -> Interval:
    """Spearman's correlation over the places where both have a number.

    The interval is Fisher's with the variance of Bonett and Wright (2000), and takes the rows as independent draws.

    Returns:
        The correlation; None where one of the two is the same everywhere, the interval None below four rows.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    known = ~np.isnan(a) & ~np.isnan(b)
    n = int(known.sum())
    if n < 2 or np.ptp(a[known]) == 0 or np.ptp(b[known]) == 0:
        return Interval(None, None, None, n)
    rho = float(np.clip(np.corrcoef(rankdata(a[known]), rankdata(b[known]))[0, 1], -1, 1))
    if n < 4 or abs(rho) > 1 - TINY:
        return Interval(rho, None, None, n)
    half = float(ndtri((1 + confidence) / 2)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    middle = math.atanh(rho)
    return Interval(rho, math.tanh(middle - half), math.tanh(middle + half), n)


LEAST_DEFINED = 0.95
"""Share of the resamples that have an alpha, below which there is no interval."""

_TINY = 1e-12


def alpha_with_interval(values: Values, prompts: Prompts, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Krippendorff's alpha with squared differences (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").

    1 is perfect agreement, 0 what chance would give, less is systematic disagreement. The interval is the percentile
    bootstrap's over conversations, as Hayes and Krippendorff (2007) resample what is judged.

    Args:
        values: One row for each evaluator, one column for each thing judged; NaN where it was not judged.
        prompts: The number of the conversation that each thing belongs to.
        confidence: Share of intervals that shall hold the true value, between 0 and 1.
        seed: Seed of the resampling.

    Returns:
        Alpha, over so many things; None where nothing is judged twice, or all judgements are the same. The interval is
        None where resamples do not differ, as with perfect agreement, or too many have no alpha.
    """
    judges = (~np.isnan(values)).sum(axis=0)
    values, prompts = values[:, judges > 1], prompts[judges > 1]
    n = values.shape[1]
    if not n or np.nanmin(values) == np.nanmax(values):
        return Interval(None, None, None, n)
    sums = _sums(values, prompts)
    alpha = float(_alphas(sums.sum(axis=0, keepdims=True))[0])
    drawn = np.concatenate([_alphas(times @ sums) for times in resamples(len(sums), seed)])
    low, high = _ends(drawn[~np.isnan(drawn)], len(drawn), confidence)
    return Interval(alpha, low, high, n)


def _sums(values: Values, prompts: Prompts) -> Values:
    """What alpha is made of, a row for each conversation: judgements, their sum, their squares, their disagreement."""
    values = (values - np.nanmean(values)) / (np.nanmax(values) - np.nanmin(values))
    judges, sums, squares = (~np.isnan(values)).sum(axis=0), np.nansum(values, axis=0), np.nansum(values**2, axis=0)
    apart = 2 * (judges * squares - sums**2) / (judges - 1)
    _, places = np.unique(prompts, return_inverse=True)
    return np.stack([np.bincount(places, weights=each) for each in (judges, sums, squares, apart)], axis=1)


def _alphas(sums: NDArray[np.float64]) -> Values:
    """The alpha of each row of sums; NaN where all judgements are the same."""
    total, linear, squares, apart = sums.T
    expected = 2 * (total * squares - linear**2) / (total - 1)
    varies = expected > _TINY * total
    return np.where(varies, 1 - apart / np.where(varies, expected, 1), np.nan)


def _ends(alphas: Values, resamples: int, confidence: float) -> tuple[float, float] | tuple[None, None]:
    if len(alphas) < LEAST_DEFINED * resamples or np.ptp(alphas) < _TINY:
        return None, None
    low, high = np.quantile(alphas, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
