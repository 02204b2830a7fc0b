"""How far evaluators agree: rank correlation of their scores, Krippendorff's alpha of their preferences.

agreement = compare_columns(columns, labels)
agreement.alpha, agreement.pairs[0].correlation
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cai_lightning.audit.accuracy import Values, preferences
from cai_lightning.audit.correlation import rank_correlation
from cai_lightning.audit.findings import ScoredColumn
from cai_lightning.audit.labels import Labels
from cai_lightning.statistics import Estimate


@dataclass(frozen=True)
class PairAgreement:
    """Two columns side by side.

    Args:
        first: Name of the one.
        second: Name of the other.
        correlation: Spearman's correlation of their scores, each turned so that higher is better.
        alpha: Krippendorff's alpha of their preferences; None without comparisons.
    """

    first: str
    second: str
    correlation: Estimate
    alpha: float | None


@dataclass(frozen=True)
class Agreement:
    """All columns that have scores.

    Args:
        pairs: Every two of them.
        alpha: Krippendorff's alpha of the preferences of all of them; None without comparisons.
    """

    pairs: tuple[PairAgreement, ...]
    alpha: float | None


def compare_columns(columns: Sequence[ScoredColumn], labels: Labels) -> Agreement:
    """Compares every two columns that have scores."""
    scored = [column for column in columns if column.scores.values]
    ids = [response.id for response in labels.responses]
    scores = [column.oriented(ids) for column in scored]
    preferred = [preferences(column.oriented(labels.chosen), column.oriented(labels.rejected)) for column in scored]
    pairs = [
        PairAgreement(
            scored[a].column.name,
            scored[b].column.name,
            rank_correlation(scores[a], scores[b]),
            _alpha([preferred[a], preferred[b]]),
        )
        for a, b in combinations(range(len(scored)), 2)
    ]
    return Agreement(tuple(pairs), _alpha(preferred) if pairs else None)


def krippendorff_alpha(values: NDArray[np.float64]) -> float | None:
    """Krippendorff's alpha with squared differences (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").

    1 is perfect agreement, 0 what chance would give, less is systematic disagreement.

    Args:
        values: One row for each evaluator, one column for each thing judged; NaN where it was not judged.

    Returns:
        Alpha; None where nothing is judged twice, or all judgements are the same.
    """
    judges = (~np.isnan(values)).sum(axis=0)
    values, judges = values[:, judges > 1], judges[judges > 1]
    total = int(judges.sum())
    if not total:
        return None
    observed = float((_squared_differences(values) / (judges - 1)).sum()) / total
    expected = float(_squared_differences(values.reshape(-1, 1))[0]) / (total * (total - 1))
    return None if expected == 0 else 1 - observed / expected


def _alpha(preferred: Sequence[Values]) -> float | None:
    return krippendorff_alpha(np.stack(preferred)) if preferred[0].size else None


def _squared_differences(values: NDArray[np.float64]) -> Values:
    """Per column the squared differences of all ordered pairs of its numbers, summed."""
    n = (~np.isnan(values)).sum(axis=0)
    centred = values - np.nansum(values, axis=0) / n
    sums: Values = 2 * n * np.nansum(centred**2, axis=0)
    return sums
