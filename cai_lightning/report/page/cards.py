"""The page's cards: one for each metric with a forest plot, the verdict in one sentence, win rates before a judge.

A scale for one axis of a plot on the page: places in per cent of its width, so that plots are as wide as the screen.

>>> scale = scale_over([0.12, 0.87])
>>> scale.low, scale.high, scale.place(0.5)
(0.0, 1.0, 50.0)

One card for each metric: means, and a forest plot of the paired differences to the baseline.

cards = [card(column, comparison) for column in comparison.columns]

The verdict of a comparison in one sentence, which claims no more than the tests do.

sentence = verdict_sentence(comparison)

How runs do against each other before a judge, on a scale from losing all to winning all.

lines = win_lines(comparison)
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cai_lightning.report.comparison import Cell, ColumnComparison, Comparison
from cai_lightning.report.evidence import AuditNote
from cai_lightning.report.runs import arm_of
from cai_lightning.report.table import Row
from cai_lightning.report.words import ARROWS, NOTHING, column_table, verdict, win_rate_table
from cai_lightning.statistics import Interval

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
INTERVALS = 5
"""Most intervals between ticks."""


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    place: float
    label: str


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, both multiples of `step`."""

    low: float
    high: float
    step: float

    def place(self, value: float) -> float:
        """Where a value stands, from 0 to 100."""
        return round(min(100.0, max(0.0, 100 * (value - self.low) / (self.high - self.low))), 2)

    @property
    def ticks(self) -> list[Tick]:
        count = round((self.high - self.low) / self.step)
        return [Tick(round(100 * n / count, 2), self._label(self.low + n * self.step)) for n in range(count + 1)]

    def _label(self, value: float) -> str:
        digits = len(f"{self.step:.10g}".partition(".")[2])
        return f"{round(value, 10) + 0.0:.{digits}f}"


def scale_over(values: Iterable[float]) -> Scale:
    """The smallest scale of round numbers that holds these values; without any it goes from 0 to 1."""
    known = list(values) or [0.0, 1.0]
    low, high = min(known), max(known)
    if low == high:
        low, high = low - 0.5, high + 0.5
    step = _step((high - low) / INTERVALS)
    return Scale(step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9), step)


def whole_scale(values: Iterable[float]) -> Scale:
    """The scale of these values; scores from 0 to 1 are shown on all of it, lest small differences look large."""
    known = list(values)
    return scale_over([*known, 0.0, 1.0] if known and min(known) >= 0 and max(known) <= 1 else known)


def _step(least: float) -> float:
    """The least round number that is not smaller."""
    power = _power_below(least)
    return next(power * step for step in STEPS if power * step >= least * (1 - 1e-9))


def _power_below(value: float) -> float:
    return float(10.0 ** math.floor(math.log10(value)))


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
    cells = zip(column.cells, column_table(column, comparison).rows, strict=True)
    lines = tuple(_line(n, cell, row, scale) for n, (cell, row) in enumerate(cells))
    direction, zero = ARROWS[column.direction], scale.place(0.0)
    return Card(column.name, direction, column.prompts, scale, zero, lines, column.audits)


def mark(estimate: Interval, scale: Scale) -> Mark | None:
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


def _line(number: int, cell: Cell, row: Row, scale: Scale) -> Line:
    run, mean, difference, verdict, *_ = map(str, row.values())
    remarks = tuple(f"{name} {row[name]}" for name in ("p", "d", "needed") if row[name] != NOTHING)
    place = mark(cell.difference.estimate, scale) if cell.difference else None
    return Line(run, number, mean, cell.unscored, cell.truncated, difference, place, verdict, remarks)


MOST_NAMES = 4


def verdict_sentence(comparison: Comparison) -> str:
    """Which run comes first, and where it surely differs from the baseline."""
    if len(comparison.runs) < 2:
        return f"There is one run, {comparison.baseline}, and nothing to compare it with."
    if not comparison.ranking:
        return "There is no overall ranking, because no metric ranks every run."
    leaders = [standing for standing in comparison.ranking if standing.place == 1]
    if len(leaders) > 1:
        return f"{_listed([standing.run for standing in leaders])} share the first place by mean rank."
    leader = leaders[0]
    sure = (
        ""
        if leader.first is None
        else f", and in {100 * leader.first:.0f}\N{NO-BREAK SPACE}% of the bootstrap resamples"
    )
    return f"{leader.run} comes first by mean rank{sure}{_against_the_baseline(comparison, leader.run)}."


def _against_the_baseline(comparison: Comparison, run: str) -> str:
    baseline = comparison.baseline
    if run == baseline:
        return "; it is the baseline that the others are measured against"
    found = {kind: _columns(comparison, run, kind) for kind in ("better", "worse", "unclear")}
    parts = [
        f"{kind} than {baseline} in {_listed(names)}" for kind, names in found.items() if names and kind != "unclear"
    ]
    if found["unclear"]:
        parts.append(f"not distinguishable from it in {_listed(found['unclear'])}")
    return f": {', '.join(parts)}" if parts else ""


def _columns(comparison: Comparison, run: str, kind: str) -> list[str]:
    return [
        column.name
        for column in comparison.columns
        for cell in column.cells
        if cell.run == run and verdict(cell, column.direction) == kind
    ]


def _listed(names: Sequence[str]) -> str:
    if len(names) > MOST_NAMES:
        return f"{len(names)} metrics"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


SCALE = Scale(0.0, 1.0, 0.25)


@dataclass(frozen=True)
class WinLine:
    """One run against another.

    Args:
        run: Its name.
        number: Its number among the runs, which is its color.
        other: The run that it is held against.
        rate: The win rate with its interval, in words.
        mark: The same on the scale; None where nothing was judged.
        counts: Wins, ties and losses.
        remarks: Who judged, how many have no verdict, and how often both orders of showing say the same.
    """

    run: str
    number: int
    other: str
    rate: str
    mark: Mark | None
    counts: str
    remarks: tuple[str, ...]


def win_lines(comparison: Comparison) -> list[WinLine]:
    """A line for each pair of runs that was judged."""
    lines = []
    for found, row in zip(comparison.win_rates, win_rate_table(comparison).rows, strict=True):
        run, other, judge, rate, counts, unscored, consistency = map(str, row.values())
        number = comparison.runs.index(arm_of(found.run, comparison.fine_tunings))
        remarks = (f"judge {judge}", f"{unscored} unscored", f"both orders alike {consistency}")
        lines.append(WinLine(run, number, other, rate, mark(found.estimate, SCALE), counts, remarks))
    return lines
