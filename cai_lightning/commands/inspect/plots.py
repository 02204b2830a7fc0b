"""Draws an inspection: how much commentary the revisions carry, and how long the replies are.

save_plot(report, output / "inspection.png")
"""

from pathlib import Path

import numpy as np

from cai_lightning.commands.inspect.figures import Report
from cai_lightning.commands.inspect.inspection import Inspection
from cai_lightning.report.drawing import Key, Panel, run_color, save_panels
from cai_lightning.report.plots import Line, Mark, forest
from cai_lightning.statistics import Interval

COMMENTARY = "Meta-commentary in the revision"
QUANTILES = [10, 25, 50, 75, 90]


def save_plot(report: Report, path: Path) -> None:
    """Writes two panels as PNG: commentary with its intervals, lengths with their quantiles; a color for each run."""
    share = f"{100 * report.confidence:g} %"
    caption = f"Left: {share} intervals. Right: without the shortest and the longest tenth; thick: the middle half."
    save_panels(path, [_commentary(report), _lengths(report)], caption, ["png"])


def _commentary(report: Report) -> Panel:
    lines = [
        Line(figure.measure.title, [Mark(cell.estimate, run_color(n)) for n, cell in enumerate(figure.cells)])
        for figure in report.figures
        if figure.heading == COMMENTARY
    ]
    return forest(COMMENTARY, lines, "revisions", limits=(0.0, None), percent=True, keys=_keys(report))


def _lengths(report: Report) -> Panel:
    stages = dict.fromkeys(stage for inspection in report.inspections for stage in inspection.lengths)
    lines = [Line(stage, [_length(*each, stage) for each in enumerate(report.inspections)]) for stage in stages]
    return forest("Lengths", lines, "words", limits=(0.0, None))


def _length(number: int, inspection: Inspection, stage: str) -> Mark:
    """The median with the quartiles and the outer tenths, where the corpus has this stage."""
    if stage not in inspection.lengths:
        return Mark(Interval(None, None, None, 0), run_color(number))
    words = inspection.lengths[stage][:, 1]
    low, lower, median, upper, high = map(float, np.percentile(words, QUANTILES))
    return Mark(Interval(median, lower, upper, len(words)), run_color(number), whiskers=(low, high))


def _keys(report: Report) -> list[Key]:
    return [Key("●", name, run_color(n)) for n, name in enumerate(report.names)]
