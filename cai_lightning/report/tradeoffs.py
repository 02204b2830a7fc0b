"""The two sides of the experiment: how helpful a run is, and how harmless.

for helpful, harmless in both_sides(comparison): ...
"""

from dataclasses import dataclass

from cai_lightning.report.cells import Cell, Comparison

PAIRS = (
    ("helpfulness", "harmlessness"),
    ("judge_helpfulness", "judge_refusal"),
    ("oracle_helpful", "oracle_harmless"),
)
"""Columns that measure the two sides with the same kind of evaluator."""


@dataclass(frozen=True)
class BothSides:
    """A pair of columns; `cells` has both cells of each run that has both means, with the run's number."""

    helpful: str
    harmless: str
    cells: tuple[tuple[int, Cell, Cell], ...]


def both_sides(comparison: Comparison) -> list[BothSides]:
    """The pairs of columns in which some run has both means."""
    columns = {column.name: column.cells for column in comparison.columns}
    known = [(x, y) for x, y in PAIRS if x in columns and y in columns]
    pairs = [BothSides(x, y, tuple(_known(columns[x], columns[y]))) for x, y in known]
    return [pair for pair in pairs if pair.cells]


def _known(helpful: tuple[Cell, ...], harmless: tuple[Cell, ...]) -> list[tuple[int, Cell, Cell]]:
    cells = enumerate(zip(helpful, harmless, strict=True))
    return [(n, x, y) for n, (x, y) in cells if x.estimate.n and y.estimate.n]
