"""What an audit finds out about evaluators: pure functions of their scores and of the labels.

    found = audit_columns(columns, labels)
    found[0].estimate, found[0].better_than_chance

    agreement = compare_columns(columns, labels)
    agreement.alpha.mean, agreement.pairs[0].correlation

An audit of many columns would call one of them better than chance by chance. So their p-values are corrected for their
number, as those of a comparison are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cai_lightning.commands.audit.labels import Labels
from cai_lightning.commands.audit.positions import PositionFindings
from cai_lightning.metrics import Column
from cai_lightning.report.summary import ColumnScores
from cai_lightning.statistics import Interval, holm
from cai_lightning.statistics.agreement import (
    CHANCE,
    Share,
    accuracy,
    alpha_with_interval,
    area_under_curve,
    preferences,
    rank_correlation,
)
from cai_lightning.statistics.calibration import Calibration, calibrate
from cai_lightning.statistics.intervals import NOTHING, Array

LEVEL = 0.05
"""Corrected p-values up to this one tell a column from chance."""


@dataclass(frozen=True)
class ScoredColumn:
    """A column with what its evaluator has made of the responses.

    Args:
        column: The column.
        settings: Digest of the evaluator's settings.
        revision: What stands behind them; None where that cannot be told.
        scores: Its scores by the ids of the responses, and how many are unscored for what reason.
        not_run: Why the evaluator could not run, or None.
        not_applicable: Why it has nothing to say about such responses, or None.
    """

    column: Column
    settings: str
    revision: str | None = None
    scores: ColumnScores = field(default_factory=ColumnScores)
    not_run: str | None = None
    not_applicable: str | None = None

    def oriented(self, ids: list[str]) -> Array:
        """The scores of these responses, turned so that higher is better; NaN where there is none."""
        sign = 1 if self.column.direction == "higher" else -1
        return np.array([sign * self.scores.values.get(id, np.nan) for id in ids], dtype=np.float64)


@dataclass(frozen=True)
class PairFindings:
    """What comparisons say about a column.

    Args:
        accuracy: How often the chosen response has the better score, ties counting half.
        ties: Pairs whose responses have the same score.
        unscored: Pairs of which a response has no score.
        length: Correlation over the pairs of how much better the chosen response scores, and how much longer it is.
        shorter: The accuracy where the better response is the shorter one.
        longer: The accuracy where it is the longer one.
    """

    accuracy: Share
    ties: int
    unscored: int
    length: Interval
    shorter: Interval
    longer: Interval


@dataclass(frozen=True)
class SingleFindings:
    """What single responses say about a column.

    Args:
        area: The area under the ROC curve.
        unscored: Responses without a score.
        length: Correlation of a response's score, the higher the better, and its length.
        calibration: How the score agrees with the labels, where it is a probability.
    """

    area: Share
    unscored: int
    length: Interval
    calibration: Calibration | None


@dataclass(frozen=True)
class ColumnFindings:
    """Everything about a column.

    Args:
        scored: What its evaluator has made.
        pairs: What comparisons say; None where the file has none, or nothing was scored.
        singles: What single responses say, or None likewise.
        p_holm: The p-value of chance after Holm's correction over all columns of the audit; None where there is none.
    """

    scored: ScoredColumn
    pairs: PairFindings | None = None
    singles: SingleFindings | None = None
    p_holm: float | None = None

    @property
    def name(self) -> str:
        return self.scored.column.name

    @property
    def right(self) -> Share:
        """How often it puts the better response first: the accuracy, or the area where there are no comparisons."""
        if self.pairs:
            return self.pairs.accuracy
        return self.singles.area if self.singles else Share(NOTHING)

    @property
    def estimate(self) -> Interval:
        return self.right.estimate

    @property
    def better_than_chance(self) -> bool | None:
        """Whether it differs from one half significantly, and is above; None where there is no p-value."""
        return None if self.p_holm is None else self._is_significant and (self.estimate.mean or 0) > CHANCE

    @property
    def worse_than_chance(self) -> bool:
        """Whether it differs from one half significantly, and is below: it prefers what people hold to be the worse."""
        return self._is_significant and (self.estimate.mean or 0) < CHANCE

    @property
    def _is_significant(self) -> bool:
        return self.p_holm is not None and self.p_holm <= LEVEL


def audit_columns(columns: Sequence[ScoredColumn], labels: Labels) -> tuple[ColumnFindings, ...]:
    """Computes everything about the columns of an audit, and nothing about those that could not run."""
    found = [_audited(column, labels) for column in columns]
    corrected = holm([column.right.p_value for column in found])
    return tuple(replace(column, p_holm=p_holm) for column, p_holm in zip(found, corrected, strict=True))


def _audited(column: ScoredColumn, labels: Labels) -> ColumnFindings:
    if column.not_run or column.not_applicable:
        return ColumnFindings(column)
    return ColumnFindings(
        column,
        _pairs(column, labels) if labels.chosen else None,
        _singles(column, labels) if labels.singles else None,
    )


def _pairs(column: ScoredColumn, labels: Labels) -> PairFindings:
    chosen, rejected = column.oriented(labels.chosen), column.oriented(labels.rejected)
    right = preferences(chosen, rejected)

    def among(rows: NDArray[np.bool_]) -> Interval:
        return accuracy(right[rows], labels.pair_prompts[rows]).estimate

    return PairFindings(
        accuracy=accuracy(right, labels.pair_prompts),
        ties=int((right == CHANCE).sum()),
        unscored=int(np.isnan(right).sum()),
        length=rank_correlation(chosen - rejected, labels.longer),
        shorter=among(labels.longer < 0),
        longer=among(labels.longer > 0),
    )


def _singles(column: ScoredColumn, labels: Labels) -> SingleFindings:
    scores = column.oriented(labels.singles)
    return SingleFindings(
        area=area_under_curve(scores, labels.good, labels.single_prompts),
        unscored=int(np.isnan(scores).sum()),
        length=rank_correlation(scores, labels.lengths),
        calibration=calibrate(_probabilities(column.column, scores), labels.good) if _is_probability(column) else None,
    )


def _is_probability(column: ScoredColumn) -> bool:
    return (column.column.low, column.column.high) == (0, 1)


def _probabilities(column: Column, oriented: Array) -> Array:
    """The probability of being good: that of being bad, turned already, is counted from 1."""
    return oriented if column.direction == "higher" else 1 + oriented


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
    correlation: Interval
    alpha: Interval


@dataclass(frozen=True)
class Agreement:
    """All columns that have scores.

    Args:
        pairs: Every two of them.
        alpha: Krippendorff's alpha of the preferences of all of them, likewise.
    """

    pairs: tuple[PairAgreement, ...]
    alpha: Interval


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


def _alpha(preferred: Sequence[Array], labels: Labels) -> Interval:
    return alpha_with_interval(np.stack(preferred), labels.pair_prompts)


@dataclass(frozen=True)
class Audit:
    """What was found out.

    Args:
        file: Name of the file of labels.
        digest: 16 hex digits of its SHA-256.
        labels: What stands in it.
        columns: What was found out about each column, in the order of the evaluators.
        agreement: How far the evaluators agree with each other.
        positions: What came of showing judges both responses in both orders, where that was asked for.
    """

    file: str
    digest: str
    labels: Labels
    columns: tuple[ColumnFindings, ...]
    agreement: Agreement
    positions: tuple[PositionFindings, ...] = ()
