"""An inspection as tables of plain words, for people in the terminal and in Markdown, for programs as CSV.

An inspection as tables of plain words: the figures side by side, principles, lengths, finish reasons, and notes.

for grid in grids(report):
    print(grid.title, grid.headings, grid.rows)

An inspection for people: tables in the terminal, and the same in Markdown. Names are shown, never obeyed.

Console().print(terminal(report))
journal.replace_text(output / "inspection.md", markdown(report))

An inspection for programs: `inspection.csv`, one row for each figure of each corpus.

journal.replace_text(output / "inspection.csv", as_csv(report))
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cai_lightning.commands.inspect.figures import Cell, Report
from cai_lightning.commands.inspect.inspection import Inspection
from cai_lightning.report.measures import Measure, Unit
from cai_lightning.report.tables import NOTHING, STYLES
from cai_lightning.run.text import escape_markdown, printable
from cai_lightning.statistics import Interval

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


def shown(estimate: Interval, unit: Unit, sign: str = "") -> str:
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


def terminal(report: Report) -> Group:
    """The inspection for rich."""
    tables = [Padding(terminal_table(grid), (1, 0, 0, 0)) for grid in grids(report)]
    return Group(*tables, Text("\n" + "\n".join(notes(report))))


def markdown(report: Report) -> str:
    """The inspection as a Markdown document."""
    parts = ["# Inspection"]
    for grid in grids(report):
        parts += [f"## {grid.title}", markdown_table(grid)]
    parts += ["## Notes", "\n".join(f"- {escape_markdown(line)}" for line in notes(report))]
    return "\n\n".join(parts) + "\n"


def terminal_table(grid: Grid) -> Table:
    """One table for rich."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
    table.title = Text(grid.title, style="bold")
    for heading in grid.headings:
        table.add_column(Text(heading), overflow="fold")
    for row in grid.rows:
        table.add_row(*(_terminal_field(field, is_heading=len(row) == 1) for field in row))
    return table


def markdown_table(grid: Grid) -> str:
    """One table in Markdown."""
    lines = [[*map(escape_markdown, grid.headings)], ["---"] * len(grid.headings)]
    for row in grid.rows:
        fields = [_markdown_field(field) for field in row]
        lines.append(fields if len(row) > 1 else [f"**{fields[0]}**", *[""] * (len(grid.headings) - 1)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _terminal_field(field: Words, is_heading: bool) -> Text:
    text = Text(field.figure, "bold" if is_heading else "")
    if field.difference:
        text.append(f"\n{field.difference}", STYLES.get(field.verdict, "dim"))
    return text


def _markdown_field(field: Words) -> str:
    return "<br>".join(escape_markdown(part) for part in (field.figure, field.difference) if part)


Field = str | float | None


def as_csv(report: Report) -> str:
    """The inspection as CSV: shares and parts from 0 to 1; what does not exist is empty."""
    interval = f"ci{100 * report.confidence:g}"
    means = ["value", f"{interval}_low", f"{interval}_high", "n"]
    differences = ["difference", f"difference_{interval}_low", f"difference_{interval}_high", "pairs"]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["figure", "run", *means, *differences])
    for place, inspection in enumerate(report.inspections):
        for name, *fields in (*_count_fields(inspection), *_figure_fields(report, place)):
            writer.writerow([name, inspection.name, *fields, *[None] * (len(means + differences) - len(fields))])
    return text.getvalue()


def _figure_fields(report: Report, place: int) -> Iterator[list[Field]]:
    for figure in report.figures:
        cell = figure.cells[place]
        difference = _fields(cell.difference.estimate) if cell.difference else []
        yield [figure.measure.name, *_fields(cell.estimate), *difference]


def _fields(estimate: Interval) -> list[Field]:
    return [estimate.mean, estimate.low, estimate.high, estimate.n]


def _count_fields(inspection: Inspection) -> Iterator[list[Field]]:
    yield ["rows", len(inspection.corpus.rows)]
    yield ["failed", inspection.corpus.failed]
    yield ["repeated_prompts", inspection.repeated_prompts]
    yield ["repeated_revisions", inspection.repeated_revisions]
    yield ["evenness", inspection.evenness]
    for name, count in inspection.principles.items():
        yield [f"principle {name}", count]
    for stage, reasons in inspection.finish_reasons.items():
        for reason, count in reasons.items():
            yield [f"{stage} ended with {reason}", count]
    for stage, lengths in inspection.lengths.items():
        for column, unit in enumerate(("characters", "words")):
            for decile, length in zip(DECILES, deciles(lengths[:, column]), strict=True):
                yield [f"{stage} {unit} {decile} %", length]
