"""The figures of several corpora side by side, with their intervals and their differences to the first corpus.

report = compute_figures([inspect_corpus(corpus) for corpus in read_corpora(paths)])
report.figures[0].cells[1].difference.estimate.excludes_zero
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cai_lightning.commands.inspect.inspection import Inspection
from cai_lightning.report.measures import Measure, measures
from cai_lightning.report.summary import Direction
from cai_lightning.statistics import Interval, PairedDifference
from cai_lightning.statistics.intervals import mean_of_rows


@dataclass(frozen=True)
class Cell:
    """One figure of one corpus; `difference` is to the first corpus, over the ids in both, or None."""

    estimate: Interval
    difference: PairedDifference | None = None

    def verdict(self, direction: Direction | None) -> Literal["better", "worse", ""]:
        """Whether this is better or worse than the first corpus: where the interval of the difference excludes 0."""
        if direction is None or self.difference is None or not self.difference.estimate.excludes_zero:
            return ""
        return "better" if ((self.difference.estimate.low or 0.0) > 0) == (direction == "higher") else "worse"


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
        confidence: Share of intervals that shall hold the true value.
    """
    groups = measures(max(inspection.rounds for inspection in inspections))
    figures = [
        Figure(heading, measure, tuple(_cell(measure, inspections[0], other, confidence) for other in inspections))
        for heading, group in groups.items()
        for measure in group
        if any(measure.name in inspection.values for inspection in inspections)
    ]
    return Report(tuple(inspections), tuple(figures), confidence)


def _cell(measure: Measure, baseline: Inspection, inspection: Inspection, confidence: float) -> Cell:
    name = measure.name
    if name not in inspection.values:
        return Cell(Interval(None, None, None, 0))
    is_share = measure.unit == "share"
    estimate = mean_of_rows(inspection.values[name], inspection.prompts, is_share, confidence)
    if inspection is baseline or name not in baseline.values:
        return Cell(estimate)
    return Cell(estimate, _difference(name, baseline, inspection, confidence))


def _difference(name: str, baseline: Inspection, inspection: Inspection, confidence: float) -> PairedDifference | None:
    both = [id for id in inspection.places if id in baseline.places]
    if not both:
        return None
    here, there = [inspection.places[id] for id in both], [baseline.places[id] for id in both]
    differences = inspection.values[name][here] - baseline.values[name][there]
    estimate = mean_of_rows(differences, inspection.prompts[here], confidence=confidence)
    return PairedDifference(estimate, left_out=len(inspection.places.keys() ^ baseline.places.keys()))
