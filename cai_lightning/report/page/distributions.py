"""How the scores of each run are spread: one histogram a run and metric, with the same bins for all runs.

panels = [distribution(column.name, runs, numbers) for column in comparison.columns]
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cai_lightning.report.page.scales import Scale, whole_scale
from cai_lightning.report.runs import Run

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
