"""An inspection as tables of plain words: the figures side by side, principles, lengths, finish reasons, and notes.

for grid in grids(report):
    print(grid.title, grid.headings, grid.rows)
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cai_lightning.report.inspection.figures import Cell, Report
from cai_lightning.report.inspection.inspection import Inspection
from cai_lightning.report.inspection.measures import Measure, Unit
from cai_lightning.report.runs import printable
from cai_lightning.report.tables import NOTHING
from cai_lightning.statistics import Estimate

DECILES = [10, 20, 30, 40, 50, 60, 70, 80, 90]
MOST_PRINCIPLES = 40
LONGEST_NAME = 60
"""Characters of a principle that has no name but its text."""


@dataclass(frozen=True)
class Words:
    """What stands in one field: a figure, its difference below, and whether that is `better` or `worse`."""

    figure: str
    difference: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Grid:
    """One table; a row of a single field is a heading within it."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Words, ...], ...]


def grids(report: Report) -> list[Grid]:
    """The tables of a report; those with nothing in them are left out."""
    lengths = [_lengths(report, column, unit) for column, unit in enumerate(("characters", "words"))]
    every = [_side_by_side(report), _principles(report), *lengths, _finish_reasons(report)]
    return [grid for grid in every if grid.rows]


def notes(report: Report) -> list[str]:
    """How the tables are to be read, and what the corpora do not record."""
    share, baseline = f"{100 * report.confidence:g} %", report.inspections[0]
    lines = [f"Brackets are {share} intervals over prompts: Wilson's of shares, Student's of other means."]
    if len(report.inspections) > 1:
        lines.append(f"Second lines are differences to {baseline.name}, paired by id; colored where 0 lies outside.")
    for inspection in report.inspections[1:]:
        both = inspection.places.keys() & baseline.places.keys()
        alone = inspection.places.keys() ^ baseline.places.keys()
        if alone:
            lines.append(f"{inspection.name}: {len(both)} ids are in {baseline.name} too, {len(alone)} in one of them.")
    for inspection in report.inspections:
        lines += [f"{inspection.name}: {lacking}." for lacking in inspection.corpus.lacking]
        if unused := inspection.unused:
            lines.append(f"{inspection.name} never uses {', '.join(map(_principle_name, unused))}.")
    if not baseline.is_whole:
        lines.append("--constitution tells which principles were never used.")
    return lines


def _side_by_side(report: Report) -> Grid:
    return Grid("Figures", ("", *report.names), (*_counts(report), *_figures(report)))


def _counts(report: Report) -> Iterator[tuple[Words, ...]]:
    yield (Words("Rows"),)
    facts = [_facts(inspection) for inspection in report.inspections]
    for name in facts[0]:
        yield Words(name), *(Words(each[name]) for each in facts)


def _facts(inspection: Inspection) -> dict[str, str]:
    corpus, rounds = inspection.corpus, sorted({len(row.rounds) for row in inspection.corpus.rows})
    return {
        "rows": f"{len(corpus.rows)}",
        "set aside as failed": f"{corpus.failed}",
        "left out as exact repetitions": f"{corpus.repeated}",
        "model": ", ".join(sorted({printable(row.model) for row in corpus.rows})) or NOTHING,
        "rows with thoughts": f"{sum(bool(row.thoughts) for row in corpus.rows)}",
        "rounds": f"{rounds[0]} to {rounds[-1]}" if len(rounds) > 1 else f"{rounds[0]}",
        "prompts that repeat one": f"{inspection.repeated_prompts}",
        "revisions that repeat one": f"{inspection.repeated_revisions}",
        "principles used": _principles_used(inspection),
        "how evenly (1: all alike)": f"{inspection.evenness:.3f}",
    }


def _principles_used(inspection: Inspection) -> str:
    used = len(inspection.principles) - len(inspection.unused)
    return f"{used} of {len(inspection.principles)}" if inspection.is_whole else f"{used}"


def _figures(report: Report) -> Iterator[tuple[Words, ...]]:
    heading = ""
    for figure in report.figures:
        if figure.heading != heading:
            heading = figure.heading
            yield (Words(heading),)
        yield Words(figure.measure.title), *(_words(cell, figure.measure) for cell in figure.cells)


def _words(cell: Cell, measure: Measure) -> Words:
    figure = shown(cell.estimate, measure.unit)
    if cell.difference is None:
        return Words(figure)
    return Words(figure, shown(cell.difference.estimate, measure.unit, sign="+"), cell.verdict(measure.direction))


def shown(estimate: Estimate, unit: Unit, sign: str = "") -> str:
    """A mean with its interval: shares and parts in per cent."""
    if estimate.mean is None:
        return NOTHING
    per_cent = " %" if unit in ("share", "part") else ""
    ends = ", ".join(_number(end, unit, sign) for end in estimate.interval or [])
    return f"{_number(estimate.mean, unit, sign)}{per_cent}" + (f" [{ends}]" if ends else "")


def _number(value: float, unit: Unit, sign: str) -> str:
    if unit == "words":
        return f"{value:{sign}z.1f}"
    if unit == "ratio":
        return f"{value:{sign}z.3f}"
    return f"{100 * value:{sign}z.{2 if 0 < abs(value) < 0.01 else 1}f}"


def _principles(report: Report) -> Grid:
    names = list(dict.fromkeys(name for inspection in report.inspections for name in inspection.principles))
    rows = [
        (Words(_principle_name(name)), *(Words(_count(inspection, name)) for inspection in report.inspections))
        for name in names[:MOST_PRINCIPLES]
    ]
    if len(names) > MOST_PRINCIPLES:
        rows.append((Words(f"and {len(names) - MOST_PRINCIPLES} more"),))
    return Grid("Principles, in how many rounds", ("", *report.names), tuple(rows))


def _principle_name(name: str) -> str:
    line = printable(name)
    return line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 3] + "..."


def _count(inspection: Inspection, name: str) -> str:
    count, total = inspection.principles.get(name, 0), sum(inspection.principles.values())
    return f"{count} ({100 * count / total:.1f} %)"


def _lengths(report: Report, column: int, unit: str) -> Grid:
    rows = [
        (Words(label), *(Words(f"{length:.0f}") for length in deciles(inspection.lengths[stage][:, column])))
        for stage, inspection, label in _stages(report)
    ]
    headings = ["median" if decile == 50 else f"{decile} %" for decile in DECILES]
    return Grid(f"Lengths in {unit}: deciles", ("", *headings), tuple(rows))


def deciles(lengths: NDArray[np.int64]) -> list[float]:
    """The nine lengths that part the sorted lengths into tenths; the fifth is the median."""
    return [float(length) for length in np.percentile(lengths, DECILES)]


def _finish_reasons(report: Report) -> Grid:
    counts = {
        label: inspection.finish_reasons[stage]
        for stage, inspection, label in _stages(report)
        if stage in inspection.finish_reasons
    }
    reasons = sorted({reason for counter in counts.values() for reason in counter})
    rows = [(Words(label), *(Words(f"{counter[reason]}") for reason in reasons)) for label, counter in counts.items()]
    return Grid("How replies ended", ("", *map(printable, reasons)), tuple(rows))


def _stages(report: Report) -> Iterator[tuple[str, Inspection, str]]:
    """Every stage of every corpus, with what a row calls it."""
    for stage in dict.fromkeys(stage for inspection in report.inspections for stage in inspection.lengths):
        for inspection in report.inspections:
            if stage in inspection.lengths:
                name = inspection.name if len(report.inspections) > 1 else ""
                yield stage, inspection, f"{stage}, {name}" if name else stage
