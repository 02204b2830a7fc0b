"""Draws an inspection: how much commentary the revisions carry, and how long the replies are.

save_plot(report, output / "inspection.png")
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cai_lightning.commands.inspect.figures import Report
from cai_lightning.report.plots import PLAIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COMMENTARY = "Meta-commentary in the revision"
QUANTILES = [10, 25, 50, 75, 90]


def save_plot(report: Report, path: Path) -> None:
    """Writes two panels as PNG: commentary with its intervals, lengths with their quantiles; a color for each run."""
    from matplotlib.figure import Figure

    stages = list(dict.fromkeys(stage for inspection in report.inspections for stage in inspection.lengths))
    height = 1.6 + 0.16 * (1 + len(report.names)) * max(6, len(stages))
    figure = Figure(figsize=(10, height), layout="constrained")
    left, right = figure.subplots(1, 2)
    _commentary(left, report)
    _lengths(right, report, stages)
    handles = [left.plot([], [], "o-", color=_color(n), label=name)[0] for n, name in enumerate(report.names)]
    legend = figure.legend(handles=handles, loc="outside upper left", ncols=3, fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    share = f"{100 * report.confidence:g} %"
    caption = f"Left: {share} intervals. Right: without the shortest and the longest tenth; thick: the middle half."
    figure.supxlabel(caption, fontsize=8, color=PLAIN)
    figure.savefig(path, dpi=150, facecolor="white")


def _commentary(axis: "Axes", report: Report) -> None:
    figures = [figure for figure in report.figures if figure.heading == COMMENTARY]
    _prepare(axis, COMMENTARY, [figure.measure.title for figure in figures], "per cent")
    for row, figure in enumerate(figures):
        for n, cell in enumerate(figure.cells):
            y, estimate = _place(row, n, report), cell.estimate
            if estimate.interval:
                axis.plot([100 * end for end in estimate.interval], [y, y], color=_color(n), linewidth=2)
            if estimate.mean is not None:
                axis.plot(100 * estimate.mean, y, "o", color=_color(n), markersize=5)
    axis.set_xlim(left=0)


def _lengths(axis: "Axes", report: Report, stages: list[str]) -> None:
    _prepare(axis, "Lengths", stages, "words")
    for row, stage in enumerate(stages):
        for n, inspection in enumerate(report.inspections):
            if stage in inspection.lengths:
                y, color = _place(row, n, report), _color(n)
                low, lower, median, upper, high = np.percentile(inspection.lengths[stage][:, 1], QUANTILES)
                axis.plot([low, high], [y, y], color=color, linewidth=1)
                axis.plot([lower, upper], [y, y], color=color, linewidth=4, alpha=0.5)
                axis.plot(median, y, "o", color=color, markersize=5)
    axis.set_xlim(left=0)


def _prepare(axis: "Axes", title: str, rows: list[str], unit: str) -> None:
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axis.set_xlabel(unit, fontsize=8, color=PLAIN)
    axis.set_yticks(range(len(rows)), rows)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(labelsize=8)
    axis.grid(axis="x", color="#e4e7ec", linewidth=0.8)
    axis.set_axisbelow(True)


def _place(row: int, number: int, report: Report) -> float:
    """Where a run's mark stands in a row: the runs spread over it."""
    return row + 0.6 * ((number + 0.5) / len(report.names) - 0.5)


def _color(number: int) -> str:
    return f"C{number % 10}"
