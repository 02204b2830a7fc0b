"""An inspection as tables, notes and a plot for people, and as the rows of `inspection.csv` for programs.

document(report).markdown()
as_csv(csv_head(report), csv_rows(report))
save_plot(report, output / "inspection.png")
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple
from itertools import groupby
from pathlib import Path

import numpy as np

from cai_lightning.commands.inspect.figures import Cell, Inspection, Report, evenness
from cai_lightning.report.colors import run_color
from cai_lightning.report.drawing import Key, Panel, save_panels
from cai_lightning.report.measures import Measure, Unit
from cai_lightning.report.plots import Line, Mark, forest
from cai_lightning.report.table import (
    NOTHING,
    Document,
    Field,
    Row,
    Table,
    interval_name,
    p_value,
    per_cent,
    span,
    with_interval,
)
from cai_lightning.statistics import Interval

DECILES = [10, 20, 30, 40, 50, 60, 70, 80, 90]
"""The percentiles that part the sorted lengths into tenths; the fifth is the median."""

QUANTILES = [10, 25, 50, 75, 90]
"""Those that the plot shows."""

COMMENTARY = "Meta-commentary in the revision"
MOST_PRINCIPLES = 40
LONGEST_NAME = 60
"""Characters of a principle that has no name but its text."""


def document(report: Report) -> Document:
    """Everything that an inspection says; tables with nothing in them are left out."""
    lengths = [_lengths(report, column, unit) for column, unit in enumerate(("characters", "words"))]
    figures = Table("Figures", [*_counts(report), *_figures(report)])
    every = [figures, _principles(report), *lengths, _finish_reasons(report)]
    return Document("Inspection", [table for table in every if table.rows], list(_notes(report)))


def _notes(report: Report) -> Iterator[str]:
    """How the tables are to be read, and what the corpora do not record."""
    baseline, *others = report.inspections
    share = per_cent(report.confidence, "g")
    yield f"Brackets are {share} intervals over prompts: Wilson's of shares, Student's of other means."
    if others:
        yield (
            f"Second lines are differences to {baseline.name}, paired by id, each interval for itself. p: Student's "
            "test over prompts, corrected over all differences shown (Holm); colored where it is at most "
            f"{1 - report.confidence:.2g}."
        )
    for other in others:
        both, alone = other.places.keys() & baseline.places.keys(), other.places.keys() ^ baseline.places.keys()
        if alone:
            yield f"{other.name}: {len(both)} ids are in {baseline.name} too, {len(alone)} in one of them."
    for inspection in report.inspections:
        yield from (f"{inspection.name}: {lacking}." for lacking in inspection.corpus.lacking)
        if unused := inspection.unused:
            yield f"{inspection.name} never uses {', '.join(map(_principle_name, unused))}."
    if not baseline.is_whole:
        yield "--constitution tells which principles were never used."


def _counts(report: Report) -> Iterator[Row]:
    yield {"": "Rows"}
    facts = {inspection.name: _facts(inspection) for inspection in report.inspections}
    for name in next(iter(facts.values())):
        yield {"": name, **{run: each[name] for run, each in facts.items()}}


def _facts(inspection: Inspection) -> dict[str, str]:
    rows, rounds = inspection.corpus.rows, sorted({len(row.rounds) for row in inspection.corpus.rows})
    principles, used = inspection.principles, len(inspection.principles) - len(inspection.unused)
    return {
        "rows": f"{len(rows)}",
        "set aside as failed": f"{inspection.corpus.failed}",
        "left out as exact repetitions": f"{inspection.corpus.repeated}",
        "model": ", ".join(sorted({row.model for row in rows})) or NOTHING,
        "rows with thoughts": f"{sum(bool(row.thoughts) for row in rows)}",
        "rounds": span(rounds[0], rounds[-1]),
        "prompts that repeat one": f"{inspection.repeated_prompts}",
        "revisions that repeat one": f"{inspection.repeated_revisions}",
        "principles used": f"{used} of {len(principles)}" if inspection.is_whole else f"{used}",
        "how evenly (1: all alike)": f"{evenness(principles.values()):.3f}",
    }


def _figures(report: Report) -> Iterator[Row]:
    for heading, figures in groupby(report.figures, lambda figure: figure.heading):
        yield {"": heading}
        for figure in figures:
            fields = [_field(cell, figure.measure) for cell in figure.cells]
            yield {"": figure.measure.title, **dict(zip(report.names, fields, strict=True))}


def _field(cell: Cell, measure: Measure) -> Field:
    """A figure, and its difference below."""
    figure = shown(cell.estimate, measure.unit)
    difference = cell.difference
    if difference is None:
        return Field(figure)
    tested = f", p {p_value(difference.p_holm)}" if difference.p_holm is not None else ""
    below = shown(difference.estimate, measure.unit, "+") + tested
    return Field(figure, below, difference.verdict(measure.direction))


def shown(estimate: Interval, unit: Unit, sign: str = "") -> str:
    """A mean with its interval: shares and parts in per cent."""
    if unit in ("words", "ratio"):
        return with_interval(estimate, f"{{:{sign}z.{1 if unit == 'words' else 3}f}}".format)
    return with_interval(estimate, lambda share: f"{100 * share:{sign}z.{2 if 0 < abs(share) < 0.01 else 1}f}", " %")


def _principles(report: Report) -> Table:
    names = list(dict.fromkeys(name for inspection in report.inspections for name in inspection.principles))
    rows: list[Row] = [
        {"": _principle_name(name), **{inspection.name: _count(inspection, name) for inspection in report.inspections}}
        for name in names[:MOST_PRINCIPLES]
    ]
    if len(names) > MOST_PRINCIPLES:
        rows.append({"": f"and {len(names) - MOST_PRINCIPLES} more"})
    return Table("Principles, in how many rounds", rows)


def _principle_name(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 3] + "..."


def _count(inspection: Inspection, name: str) -> str:
    count, total = inspection.principles.get(name, 0), sum(inspection.principles.values())
    return f"{count} ({per_cent(count / total, '.1f')})"


def _lengths(report: Report, column: int, unit: str) -> Table:
    headings = ["median" if decile == 50 else f"{decile} %" for decile in DECILES]
    rows = []
    for stage, inspection, label in _stages(report):
        lengths = [f"{length:.0f}" for length in np.percentile(inspection.lengths[stage][:, column], DECILES)]
        rows.append({"": label, **dict(zip(headings, lengths, strict=True))})
    return Table(f"Lengths in {unit}: deciles", rows)


def _finish_reasons(report: Report) -> Table:
    stages = [(label, inspection.finish_reasons.get(stage, Counter())) for stage, inspection, label in _stages(report)]
    reasons = sorted({reason for _, counts in stages for reason in counts})
    rows = [
        {"": label, **{reason or NOTHING: f"{counts[reason]}" for reason in reasons}}
        for label, counts in stages
        if counts
    ]
    return Table("How replies ended", rows)


def _stages(report: Report) -> Iterator[tuple[str, Inspection, str]]:
    """Every stage of every corpus, with what a row calls it."""
    for stage in dict.fromkeys(stage for inspection in report.inspections for stage in inspection.lengths):
        for inspection in report.inspections:
            if stage in inspection.lengths:
                yield stage, inspection, f"{stage}, {inspection.name}" if len(report.inspections) > 1 else stage


def csv_head(report: Report) -> list[str]:
    """The head of `inspection.csv`: the figure and its difference to the first corpus."""
    interval = interval_name(report.confidence)
    means = ["value", f"{interval}_low", f"{interval}_high", "n"]
    differences = ["difference", f"difference_{interval}_low", f"difference_{interval}_high", "pairs"]
    return ["figure", "run", *means, *differences, "p_value", "p_holm"]


def csv_rows(report: Report) -> Iterator[list[str | float | None]]:
    """One row for each figure of each corpus: shares and parts from 0 to 1; what does not exist is empty."""
    for place, inspection in enumerate(report.inspections):
        for name, value in _named_counts(inspection):
            yield [name, inspection.name, value, *[None] * 9]
        for figure in report.figures:
            cell, found = figure.cells[place], figure.cells[place].difference
            compared = [*astuple(found.estimate), found.p_value, found.p_holm] if found else [None] * 6
            yield [figure.measure.name, inspection.name, *astuple(cell.estimate), *compared]


def _named_counts(inspection: Inspection) -> Iterator[tuple[str, float]]:
    yield "rows", len(inspection.corpus.rows)
    yield "failed", inspection.corpus.failed
    yield "repeated_prompts", inspection.repeated_prompts
    yield "repeated_revisions", inspection.repeated_revisions
    yield "evenness", evenness(inspection.principles.values())
    yield from ((f"principle {name}", count) for name, count in inspection.principles.items())
    for stage, reasons in inspection.finish_reasons.items():
        yield from ((f"{stage} ended with {reason}", count) for reason, count in reasons.items())
    for stage, lengths in inspection.lengths.items():
        for column, unit in enumerate(("characters", "words")):
            for decile, length in zip(DECILES, np.percentile(lengths[:, column], DECILES), strict=True):
                yield f"{stage} {unit} {decile} %", float(length)


def save_plot(report: Report, path: Path) -> list[Path]:
    """Writes two panels as PNG: commentary with its intervals, lengths with their quantiles; a color for each run."""
    share = f"{100 * report.confidence:g} %"
    caption = f"Left: {share} intervals. Right: without the shortest and the longest tenth; thick: the middle half."
    return save_panels(path, [_commentary_panel(report), _lengths_panel(report)], caption, ["png"])


def _commentary_panel(report: Report) -> Panel:
    lines = [
        Line(figure.measure.title, [Mark(cell.estimate, run_color(n)) for n, cell in enumerate(figure.cells)])
        for figure in report.figures
        if figure.heading == COMMENTARY
    ]
    keys = [Key("●", name, run_color(n)) for n, name in enumerate(report.names)]
    return forest(COMMENTARY, lines, "revisions", limits=(0.0, None), percent=True, keys=keys)


def _lengths_panel(report: Report) -> Panel:
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
