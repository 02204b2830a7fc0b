"""Small panels side by side, one for each metric, with one mark and its interval for each run.

figure, axes = panels(comparison.columns, runs, caption)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cai_lightning.report.cells import Cell, ColumnComparison
from cai_lightning.report.runs import printable
from cai_lightning.report.summary import Direction
from cai_lightning.report.words import ARROWS, verdict
from cai_lightning.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 3
COLORS = {"better": "#1b7f4b", "worse": "#b3261e"}
PLAIN = "#44546a"


def panels(columns: Sequence[ColumnComparison], runs: Sequence[str], caption: str) -> tuple["Figure", list["Axes"]]:
    """An empty figure with a panel for each column, and a line for each run in all of them."""
    from matplotlib.figure import Figure

    across = min(ACROSS, len(columns))
    down = -(-len(columns) // across)
    figure = Figure(figsize=(1.8 + 3.2 * across, 0.4 + down * (0.9 + 0.28 * len(runs))), layout="constrained")
    axes = list(figure.subplots(down, across, sharey=True, squeeze=False).ravel())
    for axis, column in zip(axes, columns, strict=False):
        _prepare(axis, column, runs)
    for axis in axes[len(columns) :]:
        axis.set_visible(False)
    figure.supxlabel(caption, fontsize=8, color=PLAIN, parse_math=False, wrap=True)
    return figure, axes[: len(columns)]


def draw(axis: "Axes", place: int, estimate: Estimate, color: str, is_filled: bool = True) -> None:
    """An estimate on the line of a run; nothing where there is no mean."""
    if estimate.mean is None:
        return
    if estimate.interval:
        axis.plot(estimate.interval, [place, place], color=color, linewidth=2, solid_capstyle="round")
    axis.plot(estimate.mean, place, "o", color=color, markersize=6, markerfacecolor=color if is_filled else "white")


def write(axis: "Axes", place: int, words: str) -> None:
    """Words on the line of a run that has nothing to draw."""
    transform = axis.get_yaxis_transform()
    axis.text(0.02, place, words, transform=transform, color=PLAIN, va="center", size=8, style="italic")


def color(cell: Cell, direction: Direction | None) -> str:
    """Green where a run is better than the baseline, red where it is worse."""
    return COLORS.get(verdict(cell, direction), PLAIN)


def _prepare(axis: "Axes", column: ColumnComparison, runs: Sequence[str]) -> None:
    axis.set_title(printable(column.name), loc="left", fontsize=10, fontweight="bold", parse_math=False)
    axis.set_xlabel(ARROWS[column.direction], fontsize=8, color=PLAIN)
    axis.set_yticks(range(len(runs)), runs, parse_math=False)
    axis.set_ylim(len(runs) - 0.5, -0.5)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(labelsize=8)
    axis.locator_params(axis="x", nbins=5)
    axis.grid(axis="x", color="#e4e7ec", linewidth=0.8)
    axis.set_axisbelow(True)
