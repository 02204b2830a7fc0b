"""An inspection for programs: `inspection.csv`, one row for each figure of each corpus.

journal.replace_text(output / "inspection.csv", as_csv(report))
"""

import csv
import io
from collections.abc import Iterator

from cai_lightning.report.inspection.figures import Report
from cai_lightning.report.inspection.grids import DECILES, deciles
from cai_lightning.report.inspection.inspection import Inspection
from cai_lightning.statistics import Estimate

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


def _fields(estimate: Estimate) -> list[Field]:
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
