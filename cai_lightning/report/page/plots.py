"""The page's plots: spreads of scores, helpfulness against harmlessness, numbers as bars, agreement of evaluators.

How the scores of each run are spread: one histogram a run and metric, with the same bins for all runs.

panels = [distribution(column.name, runs, numbers) for column in comparison.columns]

Helpfulness against harmlessness as plots: one for each pair of metrics that a comparison has.

plots = tradeoffs(comparison)

Tables whose numbers are drawn as bars; scores by category are one for each metric that the comparison has split.

tables = by_category(comparison)

Do the evaluators agree? Spearman's rank correlation of every two columns, over the responses of all runs
that compare.

matrix = agreement(comparison, runs)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cai_lightning.report.comparison import BothSides, Cell, ColumnComparison, Comparison, both_sides
from cai_lightning.report.page.cards import Mark, Scale, mark, whole_scale
from cai_lightning.report.runs import Run
from cai_lightning.report.words import ARROWS, NOTHING, by_metric, number, verdict

BINS = 40
MOST_VALUES = 12
"""Distinct values up to which every value gets a bar of its own, such as the points of a judge."""
GAP = 0.12
"""Share of a bin that is left white."""
WIDTH_OF_A_VALUE = 3.0
"""Per cent of the plot that the bar of a single value takes."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Bin:
    """A bar of a histogram, in per cent of the plot, over the scores around `middle`."""

    left: float
    width: float
    height: float
    middle: str


@dataclass(frozen=True)
class Histogram:
    """The scores of one run; `mean` is its place."""

    run: str
    number: int
    scored: int
    mean: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Distribution:
    """The histograms of a metric; the tallest bar of each run fills its plot."""

    name: str
    scale: Scale
    histograms: tuple[Histogram, ...]


def distribution(column: str, runs: Sequence[Run], numbers: Sequence[int]) -> Distribution:
    """The histograms of all runs that have scores in a column.

    Args:
        column: Name of the metric's column.
        runs: The runs.
        numbers: The number of each run's color.
    """
    scores = {n: np.array(list(values.values())) for n, run in enumerate(runs) if (values := run.values(column))}
    if not scores:
        return Distribution(column, whole_scale([]), ())
    every = np.concatenate(list(scores.values()))
    bins = _bins(every)
    scale = whole_scale(bins.ends)
    shares = {n: bins.shares(values) for n, values in scores.items()}
    places = {n: scale.place(float(values.mean())) for n, values in scores.items()}
    histograms = (
        Histogram(runs[n].name, numbers[n], len(scores[n]), places[n], _drawn(bins, share / share.max(), scale))
        for n, share in shares.items()
    )
    return Distribution(column, scale, tuple(histograms))


@dataclass(frozen=True)
class _Bins:
    """The middles of all bins in rising order; `width` is 0 where every value has a bin of its own."""

    middles: Values
    width: float

    @property
    def ends(self) -> tuple[float, float]:
        return float(self.middles[0]) - self.width / 2, float(self.middles[-1]) + self.width / 2

    def shares(self, values: Values) -> Values:
        """The share of the values in each bin."""
        edges = (self.middles[:-1] + self.middles[1:]) / 2
        counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(self.middles))
        return counts / len(values)


def _bins(values: Values) -> _Bins:
    distinct = np.unique(values)
    if len(distinct) <= MOST_VALUES:
        return _Bins(distinct, 0.0)
    edges = np.histogram_bin_edges(values, BINS)
    return _Bins((edges[:-1] + edges[1:]) / 2, float(edges[1] - edges[0]))


def _drawn(bins: _Bins, heights: Values, scale: Scale) -> tuple[Bin, ...]:
    width = round(100 * bins.width / (scale.high - scale.low) * (1 - GAP), 2) or WIDTH_OF_A_VALUE
    return tuple(
        Bin(round(scale.place(middle) - width / 2, 2), width, round(100 * height, 2), f"{middle:.3g}")
        for middle, height in zip(bins.middles.tolist(), heights.tolist(), strict=True)
        if height
    )


@dataclass(frozen=True)
class Point:
    """One run; `across` and `up` are its places with their intervals, from the left and from the top."""

    run: str
    number: int
    across: Mark
    up: Mark
    words: str


@dataclass(frozen=True)
class Tradeoff:
    """One plot with its two axes."""

    helpful: str
    harmless: str
    across: Scale
    up: Scale
    points: tuple[Point, ...]


def tradeoffs(comparison: Comparison) -> list[Tradeoff]:
    """The plots of all pairs in which some run has both means."""
    return [_tradeoff(pair) for pair in both_sides(comparison)]


def _tradeoff(pair: BothSides) -> Tradeoff:
    across, up = _scale([x for _, x, _ in pair.cells]), _scale([y for _, _, y in pair.cells])
    points = (_point(n, x, y, across, up) for n, x, y in pair.cells)
    return Tradeoff(pair.helpful, pair.harmless, across, up, tuple(point for point in points if point))


def _scale(cells: Sequence[Cell]) -> Scale:
    estimates = [cell.estimate for cell in cells]
    return whole_scale(end for e in estimates for end in (e.mean, e.low, e.high) if end is not None)


def _point(n: int, helpful: Cell, harmless: Cell, across: Scale, up: Scale) -> Point | None:
    x, y = mark(helpful.estimate, across), mark(harmless.estimate, up)
    words = f"helpful {number(helpful.estimate)}, harmless {number(harmless.estimate)}"
    return Point(helpful.run, n, x, _from_the_top(y), words) if x and y else None


def _from_the_top(mark: Mark) -> Mark:
    low, high = (None if end is None else round(100 - end, 2) for end in (mark.high, mark.low))
    return Mark(round(100 - mark.place, 2), low, high)


@dataclass(frozen=True)
class Bar:
    """A number in a table.

    Args:
        words: The number, rounded.
        length: Length of its bar in per cent; None where nothing is drawn.
        number: The run's number, which is the bar's color; None for a color that stands for no run.
        verdict: `better` or `worse` than the baseline, or nothing.
        title: What a pointer over it tells.
    """

    words: str
    length: float | None = None
    number: int | None = None
    verdict: str = ""
    title: str = ""


@dataclass(frozen=True)
class BarRow:
    """One row of a table; `query` finds its conversations in the viewer, where that has a filter for them."""

    label: str
    remark: str
    bars: tuple[Bar, ...]
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BarTable:
    """A table of bars under a title."""

    title: str
    remark: str
    headings: tuple[str, ...]
    rows: tuple[BarRow, ...]


def by_category(comparison: Comparison) -> list[BarTable]:
    """One table for each metric that is split by category: one row a category, one column a run."""
    return [_table(columns, comparison) for columns in by_metric(comparison).values()]


def _table(columns: Sequence[ColumnComparison], comparison: Comparison) -> BarTable:
    means = [cell.estimate.mean for column in columns for cell in column.cells]
    scale = whole_scale([0.0, *(mean for mean in means if mean is not None)])
    rows = tuple(_row(column, scale) for column in columns)
    return BarTable(columns[0].name, ARROWS[columns[0].direction], comparison.runs, rows)


def _row(column: ColumnComparison, scale: Scale) -> BarRow:
    category = str(column.category)
    bars = tuple(_bar(cell, column, place, scale) for place, cell in enumerate(column.cells))
    query = {"category": category, "metric": column.name, "sort": "lowest"}
    return BarRow(category, f"{column.prompts} prompts", bars, query)


def _bar(cell: Cell, column: ColumnComparison, place: int, scale: Scale) -> Bar:
    mean = cell.estimate.mean
    if mean is None:
        return Bar(NOTHING)
    sure = verdict(cell, column.direction)
    title = f"{cell.run}, {column.category}: {number(cell.estimate)}"
    return Bar(f"{mean:.2f}", scale.place(mean), place, sure if sure != "unclear" else "", title)


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
