"""How often an evaluator is right about labelled responses, and whether its probabilities can be taken at their word.

How often an evaluator prefers the response that people hold to be the better one. Pure functions of its scores.

    right = accuracy(preferences(chosen, rejected), prompts)
    right.estimate, right.p_value

Scores are turned so that higher is better before they come here; NaN is unscored. Comparisons of one conversation are
no independent draws, so `prompts` numbers the conversations, and spread is that between them.

Whether a score that is a probability can be taken at its word. Pure functions.

calibration = calibrate(probabilities, good)
calibration.brier, calibration.error
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cai_lightning.statistics import Interval
from cai_lightning.statistics.rows import influence_on_mean, share_interval, share_p_value, worth

Values = NDArray[np.float64]
Prompts = NDArray[np.int64]


CHANCE = 0.5


@dataclass(frozen=True)
class Share:
    """How often the better response is put first.

    Args:
        estimate: The share and its interval.
        p_value: Two-sided p-value of chance, one half; None where there is no interval.
    """

    estimate: Interval
    p_value: float | None = None


def preferences(chosen: Values, rejected: Values) -> Values:
    """1 where the chosen response has the higher score, 1/2 for a tie, 0 else; NaN where one of them is unscored."""
    found = (np.sign(chosen - rejected) + 1) / 2
    return np.asarray(found, dtype=np.float64)


def accuracy(right: Values, prompts: Prompts, confidence: float = 0.95) -> Share:
    """How often the chosen response is preferred, with Wilson's interval.

    Args:
        right: One for each comparison, as `preferences` gives it; NaN is unscored.
        prompts: The number of the conversation that the comparison belongs to.
        confidence: Share of intervals that shall hold the true value, between 0 and 1.

    Returns:
        The share; None where nothing is scored, and without an interval where all is of one conversation.
    """
    known = ~np.isnan(right)
    right, prompts = right[known], prompts[known]
    if not len(right):
        return Share(Interval(None, None, None, 0))
    share = float(right.mean())
    return _share(share, influence_on_mean(right), prompts, [prompts], confidence)


def area_under_curve(scores: Values, good: NDArray[np.bool_], prompts: Prompts, confidence: float = 0.95) -> Share:
    """How often a good response has a higher score than a bad one: the area under the ROC curve, ties counting half.

    Its spread is DeLong's (DeLong, DeLong and Clarke-Pearson 1988), summed within conversations (Obuchowski 1997); the
    interval is Wilson's for as many independent rows as that spread is worth, so it has a width where the scores part
    the labels without an error.

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
    n, positives = len(scores), int(good.sum())
    negatives = n - positives
    if not positives or not negatives:
        return Share(Interval(None, None, None, n))
    above, below = _wins(scores[good], scores[~good]), _wins(-scores[~good], -scores[good])
    area = float(above.sum() / (positives * negatives))
    influence = np.empty(n)
    influence[good] = (above / negatives - area) / positives
    influence[~good] = (below / positives - area) / negatives
    return _share(area, influence, prompts, [prompts[good], prompts[~good]], confidence)


def _wins(scores: Values, others: Values) -> Values:
    """How many of the others each score is above, ties counting half."""
    ordered = np.sort(others)
    wins: Values = (ordered.searchsorted(scores, "left") + ordered.searchsorted(scores, "right")) / 2
    return wins


def _share(share: float, influence: Values, prompts: Prompts, samples: Sequence[Prompts], confidence: float) -> Share:
    n = len(influence)
    if min(len(np.unique(sample)) for sample in samples) < 2:
        return Share(Interval(share, None, None, n))
    sure = worth(share, influence, prompts, samples)
    low, high = share_interval(share, sure, confidence)
    return Share(Interval(share, low, high, n), share_p_value(share, sure, CHANCE))


BINS = 10


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


def calibrate(probabilities: Values, good: NDArray[np.bool_], bins: int = BINS) -> Calibration | None:
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


def _bins(probabilities: Values, labels: Values, bins: int) -> tuple[Bin, ...]:
    places = np.minimum((probabilities * bins).astype(int), bins - 1)
    table = []
    for place in np.unique(places):
        inside = places == place
        low, high = float(place / bins), float((place + 1) / bins)
        table.append(
            Bin(low, high, int(inside.sum()), float(probabilities[inside].mean()), float(labels[inside].mean()))
        )
    return tuple(table)
