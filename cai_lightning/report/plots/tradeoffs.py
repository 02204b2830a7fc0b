"""Helpfulness against harmlessness, one panel for each pair of metrics.

figure = tradeoffs_figure(comparison)
"""

from typing import TYPE_CHECKING

from cai_lightning.report.cells import Cell, Comparison
from cai_lightning.report.plots.panels import PLAIN
from cai_lightning.report.runs import printable
from cai_lightning.report.tradeoffs import BothSides, both_sides

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 4.0


def tradeoffs_figure(comparison: Comparison) -> "Figure | None":
    """Means of both sides with their intervals; None where the metrics measure but one side."""
    from matplotlib.figure import Figure

    pairs = both_sides(comparison)
    if not pairs:
        return None
    figure = Figure(figsize=(SIDE * len(pairs), SIDE), layout="constrained")
    for axis, pair in zip(figure.subplots(1, len(pairs), squeeze=False).ravel(), pairs, strict=True):
        _panel(axis, pair)
    share = f"{100 * comparison.confidence:g} %"
    caption = f"Means with {share} intervals; up and to the right is better."
    figure.supxlabel(caption, fontsize=8, color=PLAIN, parse_math=False, wrap=True)
    return figure


def _panel(axis: "Axes", pair: BothSides) -> None:
    for number, helpful, harmless in pair.cells:
        _cross(axis, helpful, harmless, f"C{number % 10}")
    axis.set_xlabel(printable(pair.helpful), fontsize=9, parse_math=False)
    axis.set_ylabel(printable(pair.harmless), fontsize=9, parse_math=False)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.grid(color="#e4e7ec", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.legend(fontsize=8, frameon=False)


def _cross(axis: "Axes", helpful: Cell, harmless: Cell, color: str) -> None:
    x, y = helpful.estimate, harmless.estimate
    if x.mean is None or y.mean is None:
        return
    if x.interval and y.interval:
        axis.plot(x.interval, [y.mean, y.mean], color=color)
        axis.plot([x.mean, x.mean], y.interval, color=color)
    axis.plot(x.mean, y.mean, "o", color=color, label=helpful.run.replace("$", r"\$"))
