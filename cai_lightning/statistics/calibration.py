"""Whether a score that is a probability can be taken at its word.

calibration = calibrate(probabilities, good)
calibration.brier, calibration.error
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cai_lightning.statistics.intervals import Array

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
