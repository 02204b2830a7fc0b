"""Helpfulness against harmlessness as plots: one for each pair of metrics that a comparison has.

plots = tradeoffs(comparison)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cai_lightning.report.cells import Cell, Comparison
from cai_lightning.report.page.cards import Mark, mark
from cai_lightning.report.page.scales import Scale, whole_scale
from cai_lightning.report.tradeoffs import BothSides, both_sides
from cai_lightning.report.words import number


@dataclass(frozen=True)
class Point:
    """One run; `across` and `up` are its places with their intervals, from the left and from the top."""

    run: str
    number: int
    across: Mark
    up: Mark
    words: str


@dataclass(frozen=True)
class Tradeoff:
    """One plot with its two axes."""

    helpful: str
    harmless: str
    across: Scale
    up: Scale
    points: tuple[Point, ...]


def tradeoffs(comparison: Comparison) -> list[Tradeoff]:
    """The plots of all pairs in which some run has both means."""
    return [_tradeoff(pair) for pair in both_sides(comparison)]


def _tradeoff(pair: BothSides) -> Tradeoff:
    across, up = _scale([x for _, x, _ in pair.cells]), _scale([y for _, _, y in pair.cells])
    points = (_point(n, x, y, across, up) for n, x, y in pair.cells)
    return Tradeoff(pair.helpful, pair.harmless, across, up, tuple(point for point in points if point))


def _scale(cells: Sequence[Cell]) -> Scale:
    estimates = [cell.estimate for cell in cells]
    return whole_scale(end for e in estimates for end in (e.mean, e.low, e.high) if end is not None)


def _point(n: int, helpful: Cell, harmless: Cell, across: Scale, up: Scale) -> Point | None:
    x, y = mark(helpful.estimate, across), mark(harmless.estimate, up)
    words = f"helpful {number(helpful.estimate)}, harmless {number(harmless.estimate)}"
    return Point(helpful.run, n, x, _from_the_top(y), words) if x and y else None


def _from_the_top(mark: Mark) -> Mark:
    low, high = (None if end is None else round(100 - end, 2) for end in (mark.high, mark.low))
    return Mark(round(100 - mark.place, 2), low, high)
