"""The figures of several corpora side by side, with their intervals and their differences to the first corpus.

    report = compute_figures([inspect_corpus(corpus) for corpus in read_corpora(paths)])
    report.figures[0].cells[1].p_holm

A report has many differences, of which one in twenty would seem to be one by chance. So their p-values are corrected
for their number, as those of a comparison are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cai_lightning.commands.inspect.inspection import Inspection
from cai_lightning.report.measures import Measure, measures
from cai_lightning.report.summary import Direction
from cai_lightning.statistics import Interval, PairedDifference, holm
from cai_lightning.statistics.intervals import NOTHING, gather, mean_of_rows
from cai_lightning.statistics.tests import t_test


@dataclass(frozen=True)
class Cell:
    """One figure of one corpus.

    Args:
        estimate: Its mean and interval.
        difference: That to the first corpus, over the ids in both, or None.
        p_holm: The p-value of the difference after Holm's correction over all differences of the report, or None.
        significant: Whether the difference is: `p_holm` is at most one less the confidence.
    """

    estimate: Interval
    difference: PairedDifference | None = None
    p_holm: float | None = None
    significant: bool = False

    def verdict(self, direction: Direction | None) -> Literal["better", "worse", ""]:
        """Whether this is better or worse than the first corpus: where the difference is significant."""
        if direction is None or self.difference is None or not self.significant:
            return ""
        return "better" if ((self.difference.estimate.mean or 0.0) > 0) == (direction == "higher") else "worse"


@dataclass(frozen=True)
class Figure:
    """One measure in every corpus, in their order; `heading` says what it stands under."""

    heading: str
    measure: Measure
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Report:
    """Everything that tables, files and the plot show."""

    inspections: tuple[Inspection, ...]
    figures: tuple[Figure, ...]
    confidence: float

    @property
    def names(self) -> list[str]:
        return [inspection.name for inspection in self.inspections]


def compute_figures(inspections: Sequence[Inspection], confidence: float = 0.95) -> Report:
    """Every measure that at least one corpus has.

    Args:
        inspections: The corpora; differences are to the first of them.
        confidence: Share of intervals that shall hold the true value; p-values up to its complement are significant.
    """
    groups = measures(max(inspection.rounds for inspection in inspections))
    figures = [
        Figure(heading, measure, tuple(_cell(measure, inspections[0], other, confidence) for other in inspections))
        for heading, group in groups.items()
        for measure in group
        if any(measure.name in inspection.values for inspection in inspections)
    ]
    return Report(tuple(inspections), tuple(_tested(figures, 1 - confidence)), confidence)


def _cell(measure: Measure, baseline: Inspection, inspection: Inspection, confidence: float) -> Cell:
    name = measure.name
    if name not in inspection.values:
        return Cell(NOTHING)
    estimate = mean_of_rows(inspection.values[name], inspection.prompts, measure.unit == "share", confidence)
    if inspection is baseline or name not in baseline.values:
        return Cell(estimate)
    return Cell(estimate, _difference(name, baseline, inspection, confidence))


def _difference(name: str, baseline: Inspection, inspection: Inspection, confidence: float) -> PairedDifference | None:
    both = [id for id in inspection.places if id in baseline.places]
    if not both:
        return None
    here, there = [inspection.places[id] for id in both], [baseline.places[id] for id in both]
    differences, prompts = inspection.values[name][here] - baseline.values[name][there], inspection.prompts[here]
    estimate = mean_of_rows(differences, prompts, confidence=confidence)
    left_out = len(inspection.places.keys() ^ baseline.places.keys())
    return PairedDifference(estimate, left_out, t_test(gather(differences, prompts)))


def _tested(figures: Sequence[Figure], level: float) -> Iterator[Figure]:
    """The figures with Holm's correction over all their differences."""
    differences = [cell.difference for figure in figures for cell in figure.cells]
    corrected = iter(holm([difference.p_value if difference else None for difference in differences]))
    for figure in figures:
        yield replace(figure, cells=tuple(_judged(cell, next(corrected), level) for cell in figure.cells))


def _judged(cell: Cell, p_holm: float | None, level: float) -> Cell:
    return replace(cell, p_holm=p_holm, significant=p_holm is not None and p_holm <= level)
