"""Spearman's rank correlation with its interval.

estimate = rank_correlation(scores, lengths)
"""

import math

import numpy as np

from cai_lightning.audit.accuracy import Values
from cai_lightning.statistics import Estimate

TINY = 1e-9


def rank_correlation(a: Values, b: Values, confidence: float = 0.95) -> Estimate:
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
        return Estimate(None, None, None, n)
    rho = float(np.clip(np.corrcoef(rankdata(a[known]), rankdata(b[known]))[0, 1], -1, 1))
    if n < 4 or abs(rho) > 1 - TINY:
        return Estimate(rho, None, None, n)
    half = float(ndtri((1 + confidence) / 2)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    middle = math.atanh(rho)
    return Estimate(rho, math.tanh(middle - half), math.tanh(middle + half), n)
