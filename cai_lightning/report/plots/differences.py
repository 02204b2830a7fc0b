"""Forest plot: paired differences of all runs to the baseline, one panel a metric.

figure = differences_figure(comparison)
"""

from typing import TYPE_CHECKING

from cai_lightning.report.cells import Comparison
from cai_lightning.report.plots.panels import PLAIN, color, draw, panels, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def differences_figure(comparison: Comparison) -> "Figure | None":
    """Differences with their intervals; None where no metric has one."""
    columns = [column for column in comparison.columns if any(cell.difference for cell in column.cells)]
    if not columns:
        return None
    others = [n for n, run in enumerate(comparison.runs) if run != comparison.baseline]
    figure, axes = panels(columns, [comparison.runs[n] for n in others], _differences_caption(comparison))
    for axis, column in zip(axes, columns, strict=True):
        axis.axvline(0, color=PLAIN, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
        for place, cell in enumerate(column.cells[n] for n in others):
            if cell.difference and cell.difference.estimate.mean is not None:
                draw(axis, place, cell.difference.estimate, color(cell, column.direction))
            else:
                write(axis, place, "not comparable" if cell.scored else "not run")
    return figure


def _differences_caption(comparison: Comparison) -> str:
    return (
        f"Differences to {comparison.baseline}, paired by prompt, with {100 * comparison.confidence:g} % intervals. "
        "Green is better, red is worse, where the corrected p-value tells them apart."
    )
