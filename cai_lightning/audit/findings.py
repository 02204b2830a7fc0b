"""What an audit finds out about a column of an evaluator: pure functions of its scores and of the labels.

findings = audit_column(column, labels)
findings.estimate, findings.better_than_chance
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cai_lightning.audit.accuracy import Values, area_under_curve, preferences
from cai_lightning.audit.calibration import Calibration, calibrate
from cai_lightning.audit.correlation import rank_correlation
from cai_lightning.audit.labels import Labels
from cai_lightning.metrics import Column
from cai_lightning.report.inspection.intervals import mean_with_interval
from cai_lightning.report.scores import ColumnScores
from cai_lightning.statistics import Estimate

CHANCE = 0.5


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

    def oriented(self, ids: list[str]) -> Values:
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

    accuracy: Estimate
    ties: int
    unscored: int
    length: Estimate
    shorter: Estimate
    longer: Estimate


@dataclass(frozen=True)
class SingleFindings:
    """What single responses say about a column.

    Args:
        area: The area under the ROC curve.
        unscored: Responses without a score.
        length: Correlation of a response's score, the higher the better, and its length.
        calibration: How the score agrees with the labels, where it is a probability.
    """

    area: Estimate
    unscored: int
    length: Estimate
    calibration: Calibration | None


@dataclass(frozen=True)
class ColumnFindings:
    """Everything about a column; `pairs` and `singles` are None where the file has none, or nothing was scored."""

    scored: ScoredColumn
    pairs: PairFindings | None = None
    singles: SingleFindings | None = None

    @property
    def name(self) -> str:
        return self.scored.column.name

    @property
    def estimate(self) -> Estimate:
        """How often it puts the better response first: the accuracy, or the area where there are no comparisons."""
        if self.pairs:
            return self.pairs.accuracy
        return self.singles.area if self.singles else Estimate(None, None, None, 0)

    @property
    def better_than_chance(self) -> bool | None:
        """Whether the interval lies above one half; None where there is none."""
        return None if self.estimate.low is None else self.estimate.low > CHANCE

    @property
    def worse_than_chance(self) -> bool:
        """Whether the interval lies below one half: it prefers what people hold to be the worse."""
        return self.estimate.high is not None and self.estimate.high < CHANCE


def audit_column(column: ScoredColumn, labels: Labels) -> ColumnFindings:
    """Computes everything about a column, or nothing about one that could not run."""
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

    def accuracy(rows: NDArray[np.bool_]) -> Estimate:
        return mean_with_interval(right[rows], labels.pair_prompts[rows], is_share=True)

    return PairFindings(
        accuracy=accuracy(~np.isnan(right)),
        ties=int((right == CHANCE).sum()),
        unscored=int(np.isnan(right).sum()),
        length=rank_correlation(chosen - rejected, labels.longer),
        shorter=accuracy(labels.longer < 0),
        longer=accuracy(labels.longer > 0),
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


def _probabilities(column: Column, oriented: Values) -> Values:
    """The probability of being good: that of being bad, turned already, is counted from 1."""
    return oriented if column.direction == "higher" else 1 + oriented
