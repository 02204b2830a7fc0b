"""Draws an audit: how often each evaluator is right, against chance, and how far its probabilities can be believed.

save_plot(audit, output / "audit.png")
"""

from pathlib import Path
from typing import TYPE_CHECKING

from cai_lightning.commands.audit.findings import Audit
from cai_lightning.commands.audit.tables import without_figures
from cai_lightning.report.drawing import Key, Panel, colors, run_color, save_panels
from cai_lightning.report.plots import DASHED, LEFT, SQUARE, Line, Mark, forest, label_both
from cai_lightning.statistics.agreement import CHANCE
from cai_lightning.statistics.calibration import Calibration

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def save_plot(audit: Audit, path: Path) -> None:
    """Writes a panel of accuracies, and beside it a reliability diagram where a column has one, as PNG."""
    calibrated = {c.name: c.singles.calibration for c in audit.columns if c.singles and c.singles.calibration}
    panels = [_accuracies(audit), *([_reliability(calibrated)] if calibrated else [])]
    caption = "Lines: 95 % intervals. Green: better than chance after Holm's correction."
    save_panels(path, panels, caption, ["png"])


def _accuracies(audit: Audit) -> Panel:
    kind = "Better response preferred" if audit.labels.chosen else "Good response above bad one (AUC)"
    lines = [
        Line(c.name, [Mark(c.estimate, "better" if c.better_than_chance else "worse")], without_figures(c) or "")
        for c in audit.columns
    ]
    return forest(kind, lines, audit.file, CHANCE, (0.0, 1.0), percent=True)


def _reliability(columns: dict[str, Calibration]) -> Panel:
    keys = [Key("●", name, run_color(n)) for n, name in enumerate(columns, 1)]

    def draw(axis: "Axes") -> None:
        axis.plot([0, 100], [0, 100], color=colors()["quiet"], linestyle=DASHED, linewidth=1)
        for key, calibration in zip(keys, columns.values(), strict=True):
            said, good = zip(*((100 * bin.probability, 100 * bin.good) for bin in calibration.bins), strict=True)
            most = max(bin.n for bin in calibration.bins)
            axis.plot(said, good, color=colors()[key.color], linewidth=1)
            axis.scatter(said, good, [10 + 60 * bin.n / most for bin in calibration.bins], colors()[key.color])
        axis.set(xlim=(-3, 103), ylim=(-3, 103))
        label_both(axis, "probability of being good that is said, %", "good in fact, %")

    return Panel("Reliability", draw, SQUARE, LEFT, keys)
