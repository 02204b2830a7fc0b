"""The plots of a comparison as PNG and SVG, for a paper or a README; the page draws its own.

Small panels side by side, one for each metric, with one mark and its interval for each run.

figure, axes = panels(comparison.columns, runs, caption)

Forest plot: paired differences of all runs to the baseline, one panel a metric.

figure = differences_figure(comparison)

Means of all runs, one panel a metric.

figure = means_figure(comparison)

Helpfulness against harmlessness, one panel for each pair of metrics.

figure = tradeoffs_figure(comparison)

Writes the plots of a comparison.

files = save_plots(comparison, output / "plots")
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cai_lightning.report.comparison import BothSides, Cell, ColumnComparison, Comparison, both_sides
from cai_lightning.report.summary import Direction
from cai_lightning.report.words import ARROWS, verdict
from cai_lightning.run.text import printable
from cai_lightning.statistics import Interval

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


def draw(axis: "Axes", place: int, estimate: Interval, color: str, is_filled: bool = True) -> None:
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


def save_plots(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes every plot that the comparison has something to show in, as PNG and SVG, and returns the files."""
    figures = {
        "means": means_figure(comparison),
        "differences": differences_figure(comparison),
        "tradeoffs": tradeoffs_figure(comparison),
    }
    folder.mkdir(parents=True, exist_ok=True)
    return [path for name, figure in figures.items() if figure for path in _save(figure, folder / name)]


def _save(figure: "Figure", path: Path) -> list[Path]:
    import matplotlib

    png, svg = path.with_suffix(".png"), path.with_suffix(".svg")
    # Text stays text, and the same comparison gives the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cai_lightning"}):
        figure.savefig(png, dpi=150, facecolor="white")
        figure.savefig(svg, facecolor="white", metadata={"Date": None})
    return [png, svg]
