"""The plots of a comparison, for the page and for the files in `plots/`.

inline(difference_panel(comparison.columns[0], comparison))
save_plots(comparison, output / "plots")
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cai_lightning.report.comparison import Cell, ColumnComparison, Comparison
from cai_lightning.report.drawing import Key, Panel, run_color, save_panels
from cai_lightning.report.numbers import ARROWS
from cai_lightning.report.plots import Histogram, Line, Mark, Point, forest, histograms, scatter
from cai_lightning.report.runs import Run, arm_of

PAIRS = (
    ("helpfulness", "harmlessness"),
    ("judge_helpfulness", "judge_refusal"),
    ("oracle_helpful", "oracle_harmless"),
)
"""Columns that measure the two sides with the same kind of evaluator."""


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
    lines = [
        Line(cell.run, _marks(cell, n), _remark(cell, column))
        for n, cell in enumerate(column.cells)
        if cell.run != comparison.baseline
    ]
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
        Line(
            f"{found.run} against {found.other}",
            [Mark(found.estimate, run_color(comparison.runs.index(arm_of(found.run, comparison.fine_tunings))))],
        )
        for found in comparison.win_rates
    ]
    return forest("win rates", lines, "win rate", 0.5, (0.0, 1.0))


def category_panel(columns: Sequence[ColumnComparison], comparison: Comparison) -> Panel:
    """The means of all runs in one metric, category by category."""
    lines = [
        Line(
            f"{column.category} ({column.prompts})",
            [Mark(cell.estimate, run_color(n), cell.compared, name=cell.run) for n, cell in enumerate(column.cells)],
        )
        for column in columns
    ]
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


def _marks(cell: Cell, number: int) -> list[Mark]:
    return [Mark(cell.difference.estimate, run_color(number))] if cell.difference else []


def _remark(cell: Cell, column: ColumnComparison) -> str:
    """The verdict, or why there is none."""
    if cell.not_run or not cell.scored:
        return "not run" if cell.not_run else "unscored"
    return cell.verdict(column.direction) if cell.compared else "not comparable"


def _points(helpful: Sequence[Cell], harmless: Sequence[Cell]) -> Iterator[Point]:
    """The runs that have both means, with their numbers."""
    for n, (x, y) in enumerate(zip(helpful, harmless, strict=True)):
        if x.estimate.n and y.estimate.n:
            yield Point(x.run, n + 1, run_color(n), x.estimate, y.estimate)
