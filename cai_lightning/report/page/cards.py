"""One card for each metric: means, and a forest plot of the paired differences to the baseline.

cards = [card(column, comparison) for column in comparison.columns]
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cai_lightning.report.comparison import Cell, ColumnComparison, Comparison
from cai_lightning.report.page.scales import Scale, scale_over
from cai_lightning.report.tables import ARROWS, NOTHING, verdict
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
        difference: The difference to the baseline with its interval, in words.
        mark: The same on the card's scale; None where there is no difference.
        verdict: `better`, `worse`, `unclear` or nothing.
        remarks: What the tests say of the difference.
    """

    run: str
    number: int
    mean: str
    unscored: int
    difference: str
    mark: Mark | None
    verdict: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Note:
    """What is known of an evaluator; `kind` is `weak` where that speaks against it."""

    words: str
    kind: str = ""


@dataclass(frozen=True)
class Card:
    """One metric of all runs; `zero` is where no difference stands on the scale."""

    name: str
    direction: str
    prompts: int
    scale: Scale
    zero: float
    lines: tuple[Line, ...]
    notes: tuple[Note, ...] = ()

    @property
    def has_differences(self) -> bool:
        return any(line.mark for line in self.lines)


def card(column: ColumnComparison, comparison: Comparison) -> Card:
    """The card of a column: all runs, in their order."""
    ends = list(_ends(column))
    margin = MARGIN * max(map(abs, ends), default=0.0)
    scale = scale_over([-margin, margin, *ends])
    lines = [_line(n, cell, column, comparison.baseline, scale) for n, cell in enumerate(column.cells)]
    return Card(column.name, ARROWS[column.direction], column.prompts, scale, scale.place(0.0), tuple(lines))


def mark(estimate: Estimate, scale: Scale) -> Mark | None:
    """Where an estimate stands on a scale."""
    if estimate.mean is None:
        return None
    low, high = (None if end is None else scale.place(end) for end in (estimate.low, estimate.high))
    return Mark(scale.place(estimate.mean), low, high)


def in_words(estimate: Estimate, sign: str = "") -> str:
    """An estimate with its interval, rounded."""
    if estimate.mean is None:
        return NOTHING
    interval = f" [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]" if estimate.interval else ""
    return f"{estimate.mean:{sign}.3f}{interval}"


def _ends(column: ColumnComparison) -> Iterator[float]:
    for cell in column.cells:
        if cell.difference:
            estimate = cell.difference.estimate
            yield from (end for end in (estimate.mean, estimate.low, estimate.high) if end is not None)


def _line(number: int, cell: Cell, column: ColumnComparison, baseline: str, scale: Scale) -> Line:
    difference = cell.difference
    return Line(
        run=cell.run,
        number=number,
        mean=f"not run: {cell.not_run}" if cell.not_run else in_words(cell.estimate),
        unscored=cell.unscored,
        difference=_difference(cell, baseline),
        mark=mark(difference.estimate, scale) if difference else None,
        verdict=verdict(cell, column.direction),
        remarks=tuple(_remarks(cell)),
    )


def _difference(cell: Cell, baseline: str) -> str:
    if cell.run == baseline:
        return "baseline"
    if cell.scored and not cell.compared:
        return "not comparable"
    return in_words(cell.difference.estimate, "+") if cell.difference else NOTHING


def _remarks(cell: Cell) -> Iterator[str]:
    difference = cell.difference
    if cell.p_holm is not None:
        yield f"p {_p_value(cell.p_holm)} after Holm's correction"
    if difference and difference.effect_size is not None:
        yield f"effect size {difference.effect_size:.2f}"
    if difference and difference.needed is not None:
        yield f"{difference.needed} prompts needed to see it"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
