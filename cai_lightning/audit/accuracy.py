"""How often an evaluator prefers the response that people hold to be the better one. Pure functions of its scores.

    found = preferences(chosen, rejected)
    estimate = mean_with_interval(found, prompts, is_share=True)

Scores are turned so that higher is better before they come here; NaN is unscored. Comparisons of one conversation are
no independent draws, so `prompts` numbers the conversations, and spread is that between them.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cai_lightning.report.inspection.intervals import share_interval
from cai_lightning.statistics import Estimate

Values = NDArray[np.float64]
Prompts = NDArray[np.int64]


def preferences(chosen: Values, rejected: Values) -> Values:
    """1 where the chosen response has the higher score, 1/2 for a tie, 0 else; NaN where one of them is unscored."""
    found = (np.sign(chosen - rejected) + 1) / 2
    return np.asarray(found, dtype=np.float64)


def area_under_curve(scores: Values, good: NDArray[np.bool_], prompts: Prompts, confidence: float = 0.95) -> Estimate:
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
        The area; None where one of the two labels has no score.
    """
    known = ~np.isnan(scores)
    scores, good, prompts = scores[known], good[known], prompts[known]
    n, positives = len(scores), int(good.sum())
    negatives = n - positives
    if not positives or not negatives:
        return Estimate(None, None, None, n)
    wins = preferences(scores[good][:, None], scores[~good][None, :])
    area = float(wins.mean())
    influence = np.empty(n)
    influence[good] = (wins.mean(axis=1) - area) / positives
    influence[~good] = (area - wins.mean(axis=0)) / -negatives
    spread = _spread(influence, prompts)
    low, high = share_interval(area, spread, min(positives, negatives), confidence)
    return Estimate(area, low, high, n)


def _spread(influence: Values, prompts: Prompts) -> float:
    """The standard error of a sum of influences, each conversation's taken together."""
    _, places = np.unique(prompts, return_inverse=True)
    together = np.bincount(places, weights=influence)
    return math.sqrt(float(together @ together))
