"""Tables whose numbers are drawn as bars; scores by category are one for each metric that the comparison has split.

tables = by_category(comparison)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cai_lightning.report.cells import Cell, ColumnComparison, Comparison
from cai_lightning.report.page.scales import Scale, whole_scale
from cai_lightning.report.words import ARROWS, NOTHING, by_metric, number, verdict


@dataclass(frozen=True)
class Bar:
    """A number in a table.

    Args:
        words: The number, rounded.
        length: Length of its bar in per cent; None where nothing is drawn.
        number: The run's number, which is the bar's color; None for a color that stands for no run.
        verdict: `better` or `worse` than the baseline, or nothing.
        title: What a pointer over it tells.
    """

    words: str
    length: float | None = None
    number: int | None = None
    verdict: str = ""
    title: str = ""


@dataclass(frozen=True)
class BarRow:
    """One row of a table; `query` finds its conversations in the viewer, where that has a filter for them."""

    label: str
    remark: str
    bars: tuple[Bar, ...]
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BarTable:
    """A table of bars under a title."""

    title: str
    remark: str
    headings: tuple[str, ...]
    rows: tuple[BarRow, ...]


def by_category(comparison: Comparison) -> list[BarTable]:
    """One table for each metric that is split by category: one row a category, one column a run."""
    return [_table(columns, comparison) for columns in by_metric(comparison).values()]


def _table(columns: Sequence[ColumnComparison], comparison: Comparison) -> BarTable:
    means = [cell.estimate.mean for column in columns for cell in column.cells]
    scale = whole_scale([0.0, *(mean for mean in means if mean is not None)])
    rows = tuple(_row(column, scale) for column in columns)
    return BarTable(columns[0].name, ARROWS[columns[0].direction], comparison.runs, rows)


def _row(column: ColumnComparison, scale: Scale) -> BarRow:
    category = str(column.category)
    bars = tuple(_bar(cell, column, place, scale) for place, cell in enumerate(column.cells))
    query = {"category": category, "metric": column.name, "sort": "lowest"}
    return BarRow(category, f"{column.prompts} prompts", bars, query)


def _bar(cell: Cell, column: ColumnComparison, place: int, scale: Scale) -> Bar:
    mean = cell.estimate.mean
    if mean is None:
        return Bar(NOTHING)
    sure = verdict(cell, column.direction)
    title = f"{cell.run}, {column.category}: {number(cell.estimate)}"
    return Bar(f"{mean:.2f}", scale.place(mean), place, sure if sure != "unclear" else "", title)
