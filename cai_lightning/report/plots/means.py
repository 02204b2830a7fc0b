"""Means of all runs, one panel a metric.

figure = means_figure(comparison)
"""

from typing import TYPE_CHECKING

from cai_lightning.report.cells import Cell, Comparison
from cai_lightning.report.plots.panels import PLAIN, color, draw, panels, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def means_figure(comparison: Comparison) -> "Figure":
    """Means with their intervals; the caption says what colors and hollow dots mean."""
    figure, axes = panels(comparison.columns, comparison.runs, _means_caption(comparison))
    for axis, column in zip(axes, comparison.columns, strict=True):
        for place, cell in enumerate(column.cells):
            _dot(axis, place, cell, color(cell, column.direction))
        _baseline(axis, column.cells[comparison.runs.index(comparison.baseline)])
    return figure


def _means_caption(comparison: Comparison) -> str:
    return (
        f"Means with {100 * comparison.confidence:g} % intervals. Dashed: {comparison.baseline}; green is better, red "
        "is worse than it, where the corrected p-value tells them apart. Hollow: not comparable."
    )


def _dot(axis: "Axes", place: int, cell: Cell, color: str) -> None:
    if cell.estimate.mean is None:
        write(axis, place, "not run" if cell.not_run else "unscored")
    else:
        draw(axis, place, cell.estimate, color, is_filled=cell.compared)


def _baseline(axis: "Axes", cell: Cell) -> None:
    if cell.estimate.mean is not None:
        axis.axvline(cell.estimate.mean, color=PLAIN, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
