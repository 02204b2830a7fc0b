"""The plots of a comparison, for the page and for the files in `plots/`, and the kinds of plots that they are.

inline(difference_panel(comparison.columns[0], comparison))
save_plots(comparison, output / "plots")

forest("harmlessness", [Line("qwen_contextual", [Mark(estimate, "run-1")], "better")], "difference", reference=0.0)
histograms("helpfulness", [Histogram("qwen_base", "run-0", scores)])
scatter("both sides", [Point(Key("1", "qwen_base", "run-0"), helpful, harmless)], "helpfulness", "harmlessness")
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cai_lightning.report.colors import colors, run_color
from cai_lightning.report.comparison import Cell, ColumnComparison, Comparison
from cai_lightning.report.drawing import EDGE, MOST_LETTERS, Key, Panel, save_panels, shortened, tip
from cai_lightning.report.runs import Run
from cai_lightning.report.table import ARROWS, number
from cai_lightning.run.text import printable
from cai_lightning.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Limits = tuple[float | None, float | None]
Values = NDArray[np.float64]

NAME, BAND, BARS, GAP, SQUARE = 18.0, 12.0, 32.0, 8.0, 250.0
"""Pixels: the height of a name, a mark, a histogram, and of what is left below; the side of a scatter plot."""
LEFT = 5 * EDGE
"""Pixels to the left of an axis that has numbers."""
DASHED = (0, (4, 3))
BINS = 40
MOST_VALUES = 12
"""Distinct values up to which every value gets a bar of its own, such as the points of a judge."""
PAIRS = (("helpfulness", "harmlessness"), ("judge_helpfulness", "judge_refusal"), ("oracle_helpful", "oracle_harmless"))
"""Columns that measure the two sides with the same kind of evaluator."""


@dataclass(frozen=True)
class Mark:
    """A dot with its interval.

    Args:
        estimate: Where it stands; without a mean nothing is drawn.
        color: Name of its color.
        filled: Whether the dot is filled.
        whiskers: Ends of a thinner line, beside which the interval is a thick one.
        name: What it is, for a pointer; the name of its line by default.
    """

    estimate: Interval
    color: str
    filled: bool = True
    whiskers: tuple[float, float] | None = None
    name: str = ""


@dataclass(frozen=True)
class Line:
    """A name with marks beneath it, and a remark at its right, green or red where that is `better` or `worse`."""

    name: str
    marks: Sequence[Mark] = ()
    remark: str = ""


@dataclass(frozen=True)
class Histogram:
    """A name with the spread of its scores beneath it."""

    name: str
    color: str
    scores: Values

    @property
    def remark(self) -> str:
        return f"{len(self.scores)} scores"


@dataclass(frozen=True)
class Point:
    """A dot with its intervals in both directions, and the sign and name that it has below the axes."""

    key: Key
    across: Interval
    up: Interval


def forest(
    title: str,
    lines: Sequence[Line],
    label: str = "",
    reference: float | None = None,
    limits: Limits = (None, None),
    percent: bool = False,
    keys: Sequence[Key] = (),
) -> Panel:
    """Marks with their intervals, line by line.

    Args:
        title: What it shows.
        lines: The lines from the top.
        label: What the axis measures.
        reference: Where a dashed line stands.
        limits: Ends of the axis; None where they are those of the marks.
        percent: Whether the axis shows shares in per cent.
        keys: What the colors stand for, where a line has several marks.
    """
    heights = [NAME + BAND * max(1, len(line.marks)) + GAP for line in lines]

    def draw(axis: "Axes") -> None:
        for line, top in _named(axis, lines, heights):
            for n, mark in enumerate(line.marks):
                _draw_mark(axis, top + NAME + (n + 0.5) * BAND, mark, mark.name or line.name)
        if reference is not None:
            axis.axvline(reference, color=colors()["quiet"], linestyle=DASHED, linewidth=1, zorder=1)
        if percent:
            axis.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        axis.set(xlabel=printable(label), xlim=limits)

    return Panel(title, draw, sum(heights), keys=keys)


def histograms(title: str, lines: Sequence[Histogram], label: str = "") -> Panel:
    """Spreads in the same bins, line by line; each has a line at its mean, and its tallest bar fills its height.

    Args:
        title: What it shows.
        lines: The lines from the top.
        label: What the axis measures.
    """
    every = np.concatenate([line.scores for line in lines])
    edges, heights = bin_edges(every), [NAME + BARS + GAP] * len(lines)
    limits = (0.0, 1.0) if every.min() >= 0 and every.max() <= 1 else (edges[0], edges[-1])

    def draw(axis: "Axes") -> None:
        for line, top in _named(axis, lines, heights):
            counts, bottom, mean = np.histogram(line.scores, edges)[0], top + NAME + BARS, line.scores.mean()
            bars = axis.stairs(bottom - BARS * counts / counts.max(), edges, baseline=bottom, fill=True, alpha=0.75)
            bars.set(color=colors()[line.color], gid=tip(f"{line.name}: mean {mean:.3g}, {line.remark}"))
            axis.plot([mean, mean], [bottom - BARS, bottom], color=colors()["ink"])
        axis.set(xlabel=printable(label), xlim=limits)

    return Panel(title, draw, sum(heights))


def scatter(title: str, points: Sequence[Point], across: str, up: str) -> Panel:
    """Numbered points with the intervals of both their means.

    Args:
        title: What it shows.
        points: The points.
        across: What the axis to the right measures.
        up: What the axis upwards measures.
    """

    def draw(axis: "Axes") -> None:
        for point in points:
            _draw_point(axis, point)
        axis.set(xlim=_limits([point.across for point in points]), ylim=_limits([point.up for point in points]))
        label_both(axis, across, up)

    return Panel(title, draw, SQUARE, LEFT, [point.key for point in points])


def label_both(axis: "Axes", across: str, up: str) -> None:
    """Gives the upward axis numbers, too, and both what they measure."""
    axis.set(xlabel=printable(across), ylabel=printable(up))
    axis.grid(axis="y")
    axis.tick_params(labelleft=True)


def bin_edges(scores: Values) -> Values:
    """The edges of the bins; a few distinct values have narrow bins of their own, with empty ones between."""
    distinct = np.unique(scores)
    if len(distinct) > MOST_VALUES:
        return np.histogram_bin_edges(scores, BINS)
    half = min([0.015 * np.ptp(distinct), *(0.4 * np.diff(distinct))]) if len(distinct) > 1 else 0.5
    return np.ravel(np.column_stack([distinct - half, distinct + half]))


def _named(axis: "Axes", lines: Sequence[Any], heights: Sequence[float]) -> Iterator[tuple[Any, float]]:
    """Writes names and remarks, and gives each line with the pixel at its top."""
    tops = np.cumsum([0.0, *heights])
    axis.set_ylim(tops[-1], 0)
    axis.locator_params(axis="x", nbins=5)
    words: dict[str, Any] = {"va": "center", "bbox": {"color": colors()["card"], "pad": 1}}
    words["transform"] = axis.get_yaxis_transform()
    for line, top in zip(lines, tops, strict=False):
        remark, color = printable(line.remark), line.remark if line.remark in ("better", "worse") else "quiet"
        name = shortened(line.name, max(MOST_LETTERS // 2, MOST_LETTERS - len(remark)))
        axis.text(0, top + NAME / 2, name, gid=tip(line.name), **words)
        axis.text(1, top + NAME / 2, remark, ha="right", color=colors()[color], **words)
        yield line, float(top)


def _draw_mark(axis: "Axes", y: float, mark: Mark, name: str) -> None:
    estimate, color, about = mark.estimate, colors()[mark.color], tip(f"{name}: {number(mark.estimate)}")
    if estimate.mean is None:
        return
    if mark.whiskers:
        axis.plot(mark.whiskers, [y, y], color=color, linewidth=1)
    if estimate.interval:
        axis.plot(estimate.interval, [y, y], color=color, linewidth=4 if mark.whiskers else 2, gid=about)
    face = color if mark.filled else colors()["card"]
    axis.plot(estimate.mean, y, "o", color=color, markersize=7, markerfacecolor=face, gid=about)


def _draw_point(axis: "Axes", point: Point) -> None:
    x, y, color, about = point.across, point.up, colors()[point.key.color], tip(point.key.tip)
    if x.mean is None or y.mean is None:
        return
    if x.interval and y.interval:
        axis.plot(x.interval, [y.mean, y.mean], color=color, linewidth=2)
        axis.plot([x.mean, x.mean], y.interval, color=color, linewidth=2)
    axis.plot(x.mean, y.mean, "o", color=color, markersize=15, zorder=3, gid=about)
    words = axis.text(x.mean, y.mean, point.key.sign, ha="center", va="center_baseline", weight="bold", zorder=3)
    words.set(color=colors()["card"], gid=about)


def _limits(estimates: Sequence[Interval]) -> Limits:
    """All of the scale from 0 to 1 where these are on it, lest small differences look large."""
    ends = [end for each in estimates for end in (each.mean, *(each.interval or ())) if end is not None]
    return (-0.04, 1.04) if min(ends) >= 0 and max(ends) <= 1 else (None, None)


def save_plots(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes every plot that the comparison has something to show in, as PNG and SVG, and returns the files."""
    share, baseline = f"{100 * comparison.confidence:g} %", comparison.baseline
    sure = "Better and worse are said where the corrected p-value tells them apart."
    means = [mean_panel(column, comparison) for column in comparison.columns]
    differences = [panel for column in comparison.columns if (panel := difference_panel(column, comparison))]
    tradeoffs = tradeoff_panels(comparison)
    plots = {
        "means": (means, f"Means with {share} intervals. Dashed: {baseline}. {sure} Hollow: not comparable."),
        "differences": (differences, f"Differences to {baseline}, paired by prompt, with {share} intervals. {sure}"),
        "tradeoffs": (tradeoffs, f"Means with {share} intervals; up and to the right is better."),
    }
    return [
        file for name, (panels, words) in plots.items() if panels for file in save_panels(folder / name, panels, words)
    ]


def difference_panel(column: ColumnComparison, comparison: Comparison) -> Panel | None:
    """The differences of all runs to the baseline; None where no run has one."""
    if not any(cell.difference for cell in column.cells):
        return None
    lines = []
    for n, cell in enumerate(column.cells):
        if cell.run != comparison.baseline:
            marks = [Mark(cell.difference.estimate, run_color(n))] if cell.difference else []
            lines.append(Line(cell.run, marks, _remark(cell, column)))
    label = f"difference to {comparison.baseline} {ARROWS[column.direction]}"
    return forest(column.name, lines, label, reference=0.0)


def mean_panel(column: ColumnComparison, comparison: Comparison) -> Panel:
    """The means of all runs, hollow where they do not compare, and a line at the baseline's."""
    cells = enumerate(column.cells)
    lines = [Line(c.run, [Mark(c.estimate, run_color(n), c.compared)], _remark(c, column)) for n, c in cells]
    baseline = column.cells[comparison.runs.index(comparison.baseline)].estimate.mean
    return forest(column.name, lines, f"mean {ARROWS[column.direction]}", baseline)


def win_rate_panel(comparison: Comparison) -> Panel:
    """How runs do against each other before a judge, from losing all to winning all."""
    lines = [
        Line(f"{rate.run} against {rate.other}", [Mark(rate.estimate, run_color(comparison.number(rate.run)))])
        for rate in comparison.win_rates
    ]
    return forest("win rates", lines, "win rate", 0.5, (0.0, 1.0))


def category_panel(columns: Sequence[ColumnComparison], comparison: Comparison) -> Panel:
    """The means of all runs in one metric, category by category."""
    lines = []
    for column in columns:
        marks = [Mark(cell.estimate, run_color(n), cell.compared, name=cell.run) for n, cell in enumerate(column.cells)]
        lines.append(Line(f"{column.category} ({column.prompts})", marks))
    keys = [Key("●", run, run_color(n)) for n, run in enumerate(comparison.runs)]
    return forest(f"{columns[0].name} by category", lines, f"mean {ARROWS[columns[0].direction]}", keys=keys)


def tradeoff_panels(comparison: Comparison) -> list[Panel]:
    """Helpfulness against harmlessness: a plot for each pair of metrics in which some run has both means."""
    columns = {column.name: column.cells for column in comparison.columns}
    known = [(x, y) for x, y in PAIRS if x in columns and y in columns]
    points = {(x, y): list(_points(columns[x], columns[y])) for x, y in known}
    return [scatter(f"{y} against {x}", found, f"{x} →", f"{y} →") for (x, y), found in points.items() if found]


def distribution_panel(column: ColumnComparison, runs: Sequence[Run], numbers: Sequence[int]) -> Panel | None:
    """The scores of all runs that have some in a column; None where none has.

    Args:
        column: The column.
        runs: The runs.
        numbers: The number of each run's color.
    """
    scores = zip(runs, numbers, (np.array(list(run.values(column.name).values())) for run in runs), strict=True)
    spreads = [Histogram(run.name, run_color(n), values) for run, n, values in scores if len(values)]
    return histograms(column.name, spreads, ARROWS[column.direction]) if spreads else None


def _remark(cell: Cell, column: ColumnComparison) -> str:
    """The verdict, or why there is none."""
    if cell.not_run or not cell.scored:
        return "not run" if cell.not_run else "unscored"
    return cell.verdict(column.direction) if cell.compared else "not comparable"


def _points(helpful: Sequence[Cell], harmless: Sequence[Cell]) -> Iterator[Point]:
    """The runs that have both means, with their numbers."""
    for n, (x, y) in enumerate(zip(helpful, harmless, strict=True)):
        if x.estimate.n and y.estimate.n:
            words = f"{x.run}: {number(x.estimate)}, {number(y.estimate)}"
            yield Point(Key(str(n + 1), x.run, run_color(n), words), x.estimate, y.estimate)
