"""Do the evaluators agree? Spearman's rank correlation of every two columns, over the responses of all runs
that compare.

matrix = agreement(comparison, runs)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cai_lightning.report.cells import ColumnComparison, Comparison
from cai_lightning.report.runs import Run

FEWEST = 10
"""Responses below which a correlation says nothing."""


@dataclass(frozen=True)
class Correlation:
    """Two columns; `rho` is None where too few responses have both, or one of the two never varies."""

    rho: float | None
    n: int


@dataclass(frozen=True)
class Agreement:
    """The correlations of all columns with all others, `rows[i][j]` of the columns i and j."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Correlation, ...], ...]


def agreement(comparison: Comparison, runs: Sequence[Run]) -> Agreement:
    """How alike the columns order the responses; columns where less is better are turned round first.

    A run that another evaluator has judged, or under other settings, is left out: its numbers have another meaning.

    Args:
        comparison: The comparison, whose columns have their directions.
        runs: The runs with their scores.
    """
    scores = {column.name: _scores(column, comparison, runs) for column in comparison.columns}
    known = {name: values for name, values in scores.items() if values}
    rows = tuple(tuple(_correlation(a, b) for b in known.values()) for a in known.values())
    return Agreement(tuple(known), rows)


def _scores(column: ColumnComparison, comparison: Comparison, runs: Sequence[Run]) -> dict[tuple[str, str], float]:
    sign, compared = -1 if column.direction == "lower" else 1, comparison.compared(column)
    alike = [run for run in runs if run.name in compared]
    return {(run.name, id): sign * value for run in alike for id, value in run.values(column.name).items()}


def _correlation(a: dict[tuple[str, str], float], b: dict[tuple[str, str], float]) -> Correlation:
    from scipy import stats

    both = sorted(a.keys() & b.keys())
    x, y = [a[key] for key in both], [b[key] for key in both]
    if len(both) < FEWEST or min(x) == max(x) or min(y) == max(y):
        return Correlation(None, len(both))
    return Correlation(float(stats.spearmanr(x, y).statistic), len(both))
