"""Draws a comparison: one small panel per metric, one dot with its interval per run.

save_plot(comparison, output / "comparison.png")
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cai_lightning.report.comparison import Cell, ColumnComparison, Comparison
from cai_lightning.report.runs import printable
from cai_lightning.report.tables import ARROWS, verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 3
COLORS = {"better": "#1b7f4b", "worse": "#b3261e"}
PLAIN = "#44546a"


def save_plot(comparison: Comparison, path: Path) -> None:
    """Writes means with their intervals as PNG; its caption says what colors and hollow dots mean."""
    from matplotlib.figure import Figure

    columns = comparison.columns
    across = min(ACROSS, len(columns))
    down = -(-len(columns) // across)
    size = 1.8 + 3.2 * across, 0.4 + down * (0.9 + 0.28 * len(comparison.runs))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
    for axis, column in zip(axes, columns, strict=False):
        _panel(axis, column, comparison)
    for axis in axes[len(columns) :]:
        axis.set_visible(False)
    figure.supxlabel(_caption(comparison), fontsize=8, color=PLAIN, parse_math=False, wrap=True)
    figure.savefig(path, dpi=150, facecolor="white")


def _caption(comparison: Comparison) -> str:
    share = f"{100 * comparison.confidence:g} %"
    return (
        f"Means with {share} intervals. Dashed: {comparison.baseline}; green is better, red is worse than it, "
        "where the interval of the paired difference excludes 0. Hollow: not comparable."
    )


def _panel(axis: "Axes", column: ColumnComparison, comparison: Comparison) -> None:
    axis.set_title(printable(column.name), loc="left", fontsize=10, fontweight="bold", parse_math=False)
    axis.set_xlabel(ARROWS[column.direction], fontsize=8, color=PLAIN)
    axis.set_yticks(range(len(comparison.runs)), comparison.runs, parse_math=False)
    axis.set_ylim(len(comparison.runs) - 0.5, -0.5)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(labelsize=8)
    axis.locator_params(axis="x", nbins=5)
    axis.grid(axis="x", color="#e4e7ec", linewidth=0.8)
    axis.set_axisbelow(True)
    for place, cell in enumerate(column.cells):
        _dot(axis, place, cell, COLORS.get(verdict(cell, column.direction), PLAIN))
    _baseline(axis, column.cells, comparison.baseline)


def _dot(axis: "Axes", place: int, cell: Cell, color: str) -> None:
    mean, interval = cell.estimate.mean, cell.estimate.interval
    if mean is None:
        words = "not run" if cell.not_run else "unscored"
        axis.text(
            0.02, place, words, transform=axis.get_yaxis_transform(), color=PLAIN, va="center", size=8, style="italic"
        )
        return
    if interval:
        axis.plot(interval, [place, place], color=color, linewidth=2, solid_capstyle="round")
    axis.plot(mean, place, "o", color=color, markersize=6, markerfacecolor=color if cell.compared else "white")


def _baseline(axis: "Axes", cells: Sequence[Cell], baseline: str) -> None:
    mean = next(cell.estimate.mean for cell in cells if cell.run == baseline)
    if mean is not None:
        axis.axvline(mean, color=PLAIN, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
