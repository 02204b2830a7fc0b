"""Draws an audit: how often each evaluator is right, against chance, and how far its probabilities can be believed.

save_plot(audit, output / "audit.png")
"""

from pathlib import Path
from typing import TYPE_CHECKING

from cai_lightning.commands.audit.findings import Audit, ColumnFindings
from cai_lightning.commands.audit.tables import without_figures
from cai_lightning.report.plots import COLORS, PLAIN
from cai_lightning.run.text import printable
from cai_lightning.statistics.agreement import CHANCE
from cai_lightning.statistics.calibration import Calibration

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def save_plot(audit: Audit, path: Path) -> None:
    """Writes a panel of accuracies, and beside it a reliability diagram where a column has one, as PNG."""
    from matplotlib.figure import Figure

    calibrated = [(c.name, c.singles.calibration) for c in audit.columns if c.singles and c.singles.calibration]
    height = max(3.6 if calibrated else 0, 1.4 + 0.34 * len(audit.columns))
    figure = Figure(figsize=(10 if calibrated else 6.4, height), layout="constrained")
    axes = figure.subplots(1, 2 if calibrated else 1, squeeze=False)[0]
    _accuracies(axes[0], audit)
    if calibrated:
        _reliability(axes[1], calibrated)
    caption = f"{audit.file}. Bars: 95 % intervals. Green is better than chance after Holm's correction, red is not."
    figure.supxlabel(printable(caption), fontsize=8, color=PLAIN, parse_math=False, wrap=True)
    figure.savefig(path, dpi=150, facecolor="white")


def _accuracies(axis: "Axes", audit: Audit) -> None:
    kind = "Better response preferred" if audit.labels.chosen else "Good response above bad one (AUC)"
    _prepare(axis, kind, "per cent")
    axis.set_yticks(range(len(audit.columns)), [printable(c.name) for c in audit.columns], parse_math=False)
    axis.set_ylim(len(audit.columns) - 0.5, -0.5)
    axis.set_xlim(0, 100)
    axis.axvline(100 * CHANCE, color=PLAIN, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
    for place, column in enumerate(audit.columns):
        _dot(axis, place, column)


def _dot(axis: "Axes", place: int, column: ColumnFindings) -> None:
    estimate = column.estimate
    if estimate.mean is None:
        axis.text(2, place, without_figures(column) or "", color=PLAIN, va="center", size=8, style="italic")
        return
    color = COLORS["better" if column.better_than_chance else "worse"]
    if estimate.interval:
        axis.plot([100 * end for end in estimate.interval], [place, place], color=color, linewidth=2)
    axis.plot(100 * estimate.mean, place, "o", color=color, markersize=6)


def _reliability(axis: "Axes", columns: list[tuple[str, Calibration]]) -> None:
    _prepare(axis, "Reliability", "probability of being good that is said, per cent")
    axis.set_ylabel("good in fact, per cent", fontsize=8, color=PLAIN)
    axis.plot([0, 100], [0, 100], color=PLAIN, linestyle=(0, (4, 3)), linewidth=0.8)
    for name, calibration in columns:
        bins = calibration.bins
        most = max(bin.n for bin in bins)
        said, good = [100 * bin.probability for bin in bins], [100 * bin.good for bin in bins]
        (line,) = axis.plot(said, good, linewidth=1, label=printable(name))
        axis.scatter(said, good, s=[10 + 60 * bin.n / most for bin in bins], color=line.get_color())
    for text in axis.legend(fontsize=8, frameon=False).get_texts():
        text.set_parse_math(False)
    axis.set_xlim(-3, 103)
    axis.set_ylim(-3, 103)


def _prepare(axis: "Axes", title: str, unit: str) -> None:
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axis.set_xlabel(unit, fontsize=8, color=PLAIN)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.grid(color="#e4e7ec", linewidth=0.8)
    axis.set_axisbelow(True)
