"""One card for each metric: means, and a forest plot of the paired differences to the baseline.

cards = [card(column, comparison) for column in comparison.columns]
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cai_lightning.report.audits import AuditNote
from cai_lightning.report.cells import Cell, ColumnComparison, Comparison
from cai_lightning.report.page.scales import Scale, scale_over
from cai_lightning.report.words import ARROWS, NOTHING, rows
from cai_lightning.statistics import Estimate

MARGIN = 0.15
"""What is shown on the other side of 0 at least, as a part of the largest difference."""


@dataclass(frozen=True)
class Mark:
    """A value and its interval on a scale, in per cent of the plot's width; without an interval both ends are None."""

    place: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Line:
    """One run on a card.

    Args:
        run: Its name.
        number: Its number among the runs, which is its color.
        mean: Its mean with the interval, or why there is none.
        unscored: Number of its responses without a score.
        truncated: Number of its scores that are of a truncated text.
        difference: The difference to the baseline with its interval, in words.
        mark: The same on the card's scale; None where there is no difference.
        verdict: `better`, `worse`, `unclear` or nothing.
        remarks: What the tests say of the difference.
    """

    run: str
    number: int
    mean: str
    unscored: int
    truncated: int
    difference: str
    mark: Mark | None
    verdict: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """One metric of all runs; `zero` is where no difference stands on the scale, `audits` tell how far to trust it."""

    name: str
    direction: str
    prompts: int
    scale: Scale
    zero: float
    lines: tuple[Line, ...]
    audits: tuple[AuditNote, ...] = ()

    @property
    def has_differences(self) -> bool:
        return any(line.mark for line in self.lines)


def card(column: ColumnComparison, comparison: Comparison) -> Card:
    """The card of a column: all runs, in their order."""
    ends = list(_ends(column))
    margin = MARGIN * max(map(abs, ends), default=0.0)
    scale = scale_over([-margin, margin, *ends])
    cells = zip(column.cells, rows(column, comparison), strict=True)
    lines = tuple(_line(n, cell, row, scale) for n, (cell, row) in enumerate(cells))
    direction, zero = ARROWS[column.direction], scale.place(0.0)
    return Card(column.name, direction, column.prompts, scale, zero, lines, column.audits)


def mark(estimate: Estimate, scale: Scale) -> Mark | None:
    """Where an estimate stands on a scale."""
    if estimate.mean is None:
        return None
    low, high = (None if end is None else scale.place(end) for end in (estimate.low, estimate.high))
    return Mark(scale.place(estimate.mean), low, high)


def _ends(column: ColumnComparison) -> Iterator[float]:
    for cell in column.cells:
        if cell.difference:
            estimate = cell.difference.estimate
            yield from (end for end in (estimate.mean, estimate.low, estimate.high) if end is not None)


def _line(number: int, cell: Cell, row: Sequence[str], scale: Scale) -> Line:
    run, mean, difference, verdict, p_value, effect_size, needed, *_ = row
    known = {"p": p_value, "d": effect_size, "needed": needed}
    remarks = tuple(f"{name} {words}" for name, words in known.items() if words != NOTHING)
    place = mark(cell.difference.estimate, scale) if cell.difference else None
    return Line(run, number, mean, cell.unscored, cell.truncated, difference, place, verdict, remarks)
