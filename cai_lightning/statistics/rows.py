"""Means over the rows of a corpus with their intervals, in closed form: a table of 42,000 rows does not wait for them.

    estimate = mean_with_interval(values, prompts, is_share=True)

Rows of one prompt are no independent draws, so the spread is that between prompts. A share gets Wilson's interval for
as many independent rows as that spread is worth: unlike the bootstrap, it has a width where no row has what is looked
for. Any other mean gets Student's. On a hundred prompts and more both are the bootstrap's of
`cai_lightning.statistics`, within a few per cent of their width.

A spread that is seen between few prompts may be small by chance, so a share gets Student's quantile for it. No share
varies more than one that is 0 or 1 for all rows of a prompt, whatever is seen: where prompts, each taken for one row,
tell more than that, Wilson's interval is theirs. Where each prompt has one row, 0 or 1, this is always so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cai_lightning.statistics import Interval
from cai_lightning.statistics.intervals import wilson

Values = NDArray[np.float64]
Prompts = NDArray[np.int64]


@dataclass(frozen=True)
class Worth:
    """How many independent rows a share is as sure as.

    Args:
        seen: By its spread between prompts.
        prompts: By the number of prompts, of which the rows of each may all be alike.
        df: Degrees of freedom of that spread.
    """

    seen: float
    prompts: float
    df: float


def mean_with_interval(values: Values, prompts: Prompts, is_share: bool = False, confidence: float = 0.95) -> Interval:
    """The mean of the values that are numbers, and its interval.

    Args:
        values: One for each row; NaN where the row has none.
        prompts: The number of the prompt that each row belongs to.
        is_share: Whether every value is 0 or 1, or half of it for a tie.
        confidence: Share of intervals that shall hold the true mean, between 0 and 1.
    """
    known = ~np.isnan(values)
    values, prompts = values[known], prompts[known]
    if not len(values):
        return Interval(None, None, None, 0)
    mean, influence = float(values.mean()), influence_on_mean(values)
    if len(np.unique(prompts)) < 2:
        return Interval(mean, None, None, len(values))
    if is_share:
        low, high = share_interval(mean, worth(mean, influence, prompts, [prompts]), confidence)
    else:
        low, high = _student(mean, _together(influence, prompts), confidence)
    return Interval(mean, low, high, len(values))


def influence_on_mean(values: Values) -> Values:
    """How far each of these values moves their mean."""
    influence: Values = (values - values.mean()) / len(values)
    return influence


def share_interval(share: float, worth: Worth, confidence: float) -> tuple[float, float]:
    """The narrower of Wilson's intervals for what is seen and for what prompts are worth in any case.

    Args:
        share: The share, from 0 to 1.
        worth: How many independent rows it is as sure as.
        confidence: As in `mean_with_interval`.
    """
    from scipy.special import ndtri, stdtrit

    seen = wilson(share, worth.seen, float(stdtrit(worth.df, (1 + confidence) / 2)))
    least = wilson(share, worth.prompts, float(ndtri((1 + confidence) / 2)))
    return max(seen[0], least[0]), min(seen[1], least[1])


def share_p_value(share: float, worth: Worth, chance: float = 0.5) -> float:
    """The two-sided p-value of a share that is `chance` in truth: one less the confidence that ends its interval there.

    Args:
        share: As in `share_interval`.
        worth: As in `share_interval`.
        chance: The share that is tested, between 0 and 1.
    """
    from scipy.special import ndtr, stdtr

    away = abs(share - chance) / math.sqrt(chance * (1 - chance))
    seen, least = stdtr(worth.df, -away * math.sqrt(worth.seen)), ndtr(-away * math.sqrt(worth.prompts))
    return float(2 * min(seen, least))


def worth(share: float, influence: Values, prompts: Prompts, samples: Sequence[Prompts]) -> Worth:
    """How many independent rows a share is as sure as.

    Rows of a prompt that contradict each other may make it seem surer than independent rows would be: that is not
    counted, unless these are surer than zeros and ones, as ties are.

    Args:
        share: The share.
        influence: How far each row moves it.
        prompts: As in `mean_with_interval`.
        samples: The prompts of the rows of each sample that the share compares; of a mean, those of all rows.
    """
    clusters = min(len(np.unique(sample)) for sample in samples)
    least = min(_equal_prompts(sample) for sample in samples)
    together, variance = _together(influence, prompts), share * (1 - share)
    alone = min(float(influence @ influence), variance / len(influence))
    spread = max(float(together @ together), alone)
    if not spread:
        return Worth(least, least, clusters - 1)
    seen = variance / spread
    return Worth(seen * (clusters - 1) / clusters, min(seen, least), clusters - 1)


def _together(influence: Values, prompts: Prompts) -> Values:
    """The influence of each prompt's rows together."""
    _, places = np.unique(prompts, return_inverse=True)
    return np.bincount(places, weights=influence).astype(np.float64)


def _equal_prompts(prompts: Prompts) -> float:
    """How many prompts with equally many rows would spread a mean over the rows as these do, were all rows alike."""
    sizes = np.unique(prompts, return_counts=True)[1]
    return float(sizes.sum() ** 2 / (sizes @ sizes))


def _student(mean: float, together: Values, confidence: float) -> tuple[float, float]:
    from scipy.special import stdtrit

    clusters = len(together)
    spread = math.sqrt(float(together @ together) * clusters / (clusters - 1))
    half = float(stdtrit(clusters - 1, (1 + confidence) / 2)) * spread
    return mean - half, mean + half
