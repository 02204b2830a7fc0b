"""How far evaluators agree: rank correlation of their scores, Krippendorff's alpha of their preferences.

agreement = compare_columns(columns, labels)
agreement.alpha.mean, agreement.pairs[0].correlation
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from cai_lightning.audit.accuracy import Values, preferences
from cai_lightning.audit.correlation import rank_correlation
from cai_lightning.audit.findings import ScoredColumn
from cai_lightning.audit.krippendorff import alpha_with_interval
from cai_lightning.audit.labels import Labels
from cai_lightning.statistics import Estimate

NOTHING = Estimate(None, None, None, 0)


@dataclass(frozen=True)
class PairAgreement:
    """Two columns side by side.

    Args:
        first: Name of the one.
        second: Name of the other.
        correlation: Spearman's correlation of their scores, each turned so that higher is better.
        alpha: Krippendorff's alpha of their preferences, with its interval; None without comparisons.
    """

    first: str
    second: str
    correlation: Estimate
    alpha: Estimate


@dataclass(frozen=True)
class Agreement:
    """All columns that have scores.

    Args:
        pairs: Every two of them.
        alpha: Krippendorff's alpha of the preferences of all of them, likewise.
    """

    pairs: tuple[PairAgreement, ...]
    alpha: Estimate


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
            _alpha([preferred[a], preferred[b]], labels),
        )
        for a, b in combinations(range(len(scored)), 2)
    ]
    return Agreement(tuple(pairs), _alpha(preferred, labels) if pairs else NOTHING)


def _alpha(preferred: Sequence[Values], labels: Labels) -> Estimate:
    return alpha_with_interval(np.stack(preferred), labels.pair_prompts)
