"""How far an evaluator agrees with people and with other evaluators: pure functions of scores and labels.

    right = accuracy(preferences(chosen, rejected), prompts)
    right.estimate, right.p_value

    calibrate(probabilities, good).brier
    rank_correlation(scores, lengths)
    alpha_with_interval(np.stack([preferences_of_one, preferences_of_another]), prompts)

Scores are turned so that higher is better before they come here; NaN is unscored. Comparisons of one conversation are
no independent draws, so `prompts` numbers the conversations, and spread is that between them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from cai_lightning.statistics.intervals import (
    Array,
    EffectiveSize,
    Interval,
    PromptNumbers,
    effective_size,
    gather,
    rate_size,
    resamples,
    share_interval,
    share_p_value,
)

CHANCE = 0.5
BINS = 10
"""Bins of equal width that probabilities are calibrated in."""

LEAST_DEFINED = 0.95
"""Share of the resamples that have an alpha, below which there is no interval."""

_PERFECT = 1 - 1e-9
_TINY = 1e-12


@dataclass(frozen=True)
class Share:
    """How often the better response is put first.

    Args:
        estimate: The share and its interval.
        p_value: Two-sided p-value of chance, one half; None where there is no interval.
    """

    estimate: Interval
    p_value: float | None = None


def preferences(chosen: Array, rejected: Array) -> Array:
    """1 where the chosen response has the higher score, 1/2 for a tie, 0 else; NaN where one of them is unscored."""
    preferred: Array = (np.sign(chosen - rejected) + 1) / 2
    return preferred


def accuracy(right: Array, prompts: PromptNumbers, confidence: float = 0.95) -> Share:
    """How often the chosen response is preferred, with Wilson's interval.

    Args:
        right: One for each comparison, as `preferences` gives it; NaN is unscored.
        prompts: The number of the conversation that the comparison belongs to.
        confidence: Share of intervals that shall hold the true value, between 0 and 1.

    Returns:
        The share; None where nothing is scored, and without an interval where all is of one conversation.
    """
    clusters = gather(right, prompts)
    if len(clusters) < 2:
        return Share(clusters.interval())
    return _share(clusters.mean, clusters.n, rate_size(clusters), confidence)


def area_under_curve(scores: Array, good: NDArray[np.bool_], prompts: PromptNumbers, confidence: float = 0.95) -> Share:
    """How often a good response has a higher score than a bad one: the area under the ROC curve, ties counting half.

    Its spread is DeLong's (DeLong, DeLong and Clarke-Pearson 1988), summed within conversations (Obuchowski 1997); the
    interval is Wilson's for the effective sample size that this spread amounts to, so it has a width where the scores
    part the labels without an error.

    Args:
        scores: One for each response; NaN where it has none.
        good: Whether the response is good.
        prompts: The number of the conversation that the response belongs to.
        confidence: Share of intervals that shall hold the true value, between 0 and 1.

    Returns:
        The area; None where one of the two labels has no score, and without an interval where one has scores in a
        single conversation alone, which tells nothing about how conversations vary.
    """
    known = ~np.isnan(scores)
    scores, good, prompts = scores[known], good[known], prompts[known]
    if good.all() or not good.any():
        return Share(Interval.of(None, None, len(scores)))
    area, influence = area_and_influence(scores, good)
    samples = [np.unique(prompts[label], return_counts=True)[1] for label in (good, ~good)]
    if min(map(len, samples)) < 2:
        return Share(Interval.of(area, None, len(scores)))
    together, alone = gather(influence, prompts).sums, float(influence @ influence)
    return _share(area, len(scores), effective_size(area, together, alone, len(scores), samples), confidence)


def area_and_influence(scores: Array, good: NDArray[np.bool_]) -> tuple[float, Array]:
    """The area under the curve, and how far each score moves it."""
    above, below = _wins(scores[good], scores[~good]), _wins(-scores[~good], -scores[good])
    positives, negatives = len(above), len(below)
    area, influence = float(above.sum() / (positives * negatives)), np.empty(len(scores))
    influence[good] = (above / negatives - area) / positives
    influence[~good] = (below / positives - area) / negatives
    return area, influence


def _wins(scores: Array, others: Array) -> Array:
    """How many of the others each score is above, ties counting half."""
    ordered = np.sort(others)
    wins: Array = (ordered.searchsorted(scores, "left") + ordered.searchsorted(scores, "right")) / 2
    return wins


def _share(share: float, n: int, size: EffectiveSize, confidence: float) -> Share:
    return Share(Interval.of(share, share_interval(share, size, confidence), n), share_p_value(share, size, CHANCE))


@dataclass(frozen=True)
class Bin:
    """The responses with a probability from `low` up to `high`.

    Args:
        low: The least probability.
        high: The greatest, which belongs to the next bin but for the last.
        n: Number of responses.
        probability: Their mean probability of being good.
        good: The share of them that is good.
    """

    low: float
    high: float
    n: int
    probability: float
    good: float


@dataclass(frozen=True)
class Calibration:
    """How probabilities and labels agree.

    Args:
        brier: Mean squared distance of probability and label (Brier 1950): 0 is best.
        brier_of_base_rate: The same for the share of good responses said of every one; a worse score tells less than
            that share.
        error: Expected calibration error: the mean distance of probability and share over the bins, by their size.
        bins: The bins that hold a response, in order.
    """

    brier: float
    brier_of_base_rate: float
    error: float
    bins: tuple[Bin, ...]


def calibrate(probabilities: Array, good: NDArray[np.bool_], bins: int = BINS) -> Calibration | None:
    """Compares the probability of being good with the labels, in bins of equal width; None where nothing is scored.

    Args:
        probabilities: From 0 to 1; NaN where the response is unscored.
        good: Whether each response is good.
        bins: Number of bins.
    """
    known = ~np.isnan(probabilities)
    probabilities, labels = probabilities[known], good[known].astype(np.float64)
    if not len(labels):
        return None
    base = float(labels.mean())
    table = _bins(probabilities, labels, bins)
    return Calibration(
        brier=float(((probabilities - labels) ** 2).mean()),
        brier_of_base_rate=base * (1 - base),
        error=sum(b.n * abs(b.probability - b.good) for b in table) / len(labels),
        bins=table,
    )


def _bins(probabilities: Array, labels: Array, bins: int) -> tuple[Bin, ...]:
    places = np.minimum((probabilities * bins).astype(int), bins - 1)
    n, said, good = (np.bincount(places, weights, minlength=bins).tolist() for weights in (None, probabilities, labels))
    return tuple(Bin(k / bins, (k + 1) / bins, n[k], said[k] / n[k], good[k] / n[k]) for k in range(bins) if n[k])


def rank_correlation(a: Array, b: Array, confidence: float = 0.95) -> Interval:
    """Spearman's correlation over the places where both have a number.

    The interval is Fisher's with the variance of Bonett and Wright (2000), and takes the rows as independent draws.

    Returns:
        The correlation; None where one of the two is the same everywhere, the interval None below four rows.
    """
    known = ~np.isnan(a) & ~np.isnan(b)
    n = int(known.sum())
    if n < 2 or np.ptp(a[known]) == 0 or np.ptp(b[known]) == 0:
        return Interval.of(None, None, n)
    rho = float(scipy.stats.spearmanr(a[known], b[known]).statistic)
    if n < 4 or abs(rho) > _PERFECT:
        return Interval.of(rho, None, n)
    half = float(scipy.special.ndtri((1 + confidence) / 2)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return Interval(rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half), n)


def alpha_with_interval(values: Array, prompts: PromptNumbers, confidence: float = 0.95) -> Interval:
    """Krippendorff's alpha with squared differences (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").

    1 is perfect agreement, 0 what chance would give, less is systematic disagreement. The interval is the percentile
    bootstrap's over conversations, as Hayes and Krippendorff (2007) resample what is judged.

    Args:
        values: One row for each evaluator, one column for each thing judged; NaN where it was not judged.
        prompts: The number of the conversation that each thing belongs to.
        confidence: Share of intervals that shall hold the true value, between 0 and 1.

    Returns:
        Alpha, over so many things; None where nothing is judged twice, or all judgements are the same. The interval is
        None where resamples do not differ, as with perfect agreement, or too many have no alpha.
    """
    judges = (~np.isnan(values)).sum(axis=0)
    values, prompts = values[:, judges > 1], prompts[judges > 1]
    n = values.shape[1]
    if not n or np.nanmin(values) == np.nanmax(values):
        return Interval.of(None, None, n)
    sums = _sums(values, prompts)
    alpha = float(_alphas(sums.sum(axis=0, keepdims=True))[0])
    drawn = np.concatenate([_alphas(times @ sums) for times in resamples(len(sums))])
    return Interval.of(alpha, _ends(drawn[~np.isnan(drawn)], len(drawn), confidence), n)


def _sums(values: Array, prompts: PromptNumbers) -> Array:
    """What alpha is made of, a row for each conversation: judgements, their sum, their squares, their disagreement."""
    values = (values - np.nanmean(values)) / (np.nanmax(values) - np.nanmin(values))
    judges, sums, squares = (~np.isnan(values)).sum(axis=0), np.nansum(values, axis=0), np.nansum(values**2, axis=0)
    apart = 2 * (judges * squares - sums**2) / (judges - 1)
    return np.stack([gather(each, prompts).sums for each in (judges, sums, squares, apart)], axis=1)


def _alphas(sums: Array) -> Array:
    """The alpha of each row of sums; NaN where all judgements are the same."""
    total, linear, squares, apart = sums.T
    expected = 2 * (total * squares - linear**2) / (total - 1)
    varies = expected > _TINY * total
    return np.where(varies, 1 - apart / np.where(varies, expected, 1), np.nan)


def _ends(alphas: Array, resamples: int, confidence: float) -> Sequence[float] | None:
    if len(alphas) < LEAST_DEFINED * resamples or np.ptp(alphas) < _TINY:
        return None
    ends: list[float] = np.quantile(alphas, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
    return ends
