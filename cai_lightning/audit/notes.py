"""What was read for an audit, and how its tables are to be read.

for line in notes(audit):
    print(line)
"""

from collections.abc import Iterator

from cai_lightning.audit.findings import LEVEL
from cai_lightning.audit.grids import without_figures
from cai_lightning.audit.results import Audit
from cai_lightning.report.runs import printable

HOW_TO_READ = (
    "Brackets are 95 % intervals over conversations, each for itself; an evaluator beats chance where its p-value, "
    f"corrected for the number of evaluators (Holm), is at most {LEVEL:g}.",
)
HOW_TO_READ_PAIRS = (
    "Right: the better response has the better score; ties count half, unscored pairs not at all.",
    "If shorter, if longer: the same where the better response is the shorter, or the longer one.",
    "Length: rank correlation of differences in score and in characters; 0 is no bias.",
)
HOW_TO_READ_SINGLES = (
    "AUC: how often a good response has a better score than a bad one; ties count half.",
    "Brier, calibration (expected calibration error): 0 is best. The Brier score in brackets is had by saying "
    "the share of good responses of every one.",
    "Length: rank correlation of score and characters; 0 is no bias.",
)


def notes(audit: Audit) -> list[str]:
    """The notes below the tables."""
    how = HOW_TO_READ_PAIRS if audit.labels.labelled.pairs else HOW_TO_READ_SINGLES
    return [*_read(audit), *HOW_TO_READ, *how, *_judges(audit), *_warnings(audit), *_alpha(audit)]


def _read(audit: Audit) -> Iterator[str]:
    labelled = audit.labels.labelled
    yield (
        f"{printable(audit.file)} ({audit.digest}): {labelled.rows} rows, {len(labelled.pairs)} comparisons, "
        f"{len(labelled.singles)} labelled single responses."
    )
    for reason, count in labelled.left_out.items():
        yield f"Left out: {count} rows, {reason}."
    for column in audit.columns:
        if why := column.scored.not_run or column.scored.not_applicable:
            yield f"{printable(column.name)}: {without_figures(column)}: {printable(why)}"
        if cut := column.scored.scores.truncated:
            yield f"{printable(column.name)}: scored on a truncated text: {cut} of {len(column.scored.scores.values)}."


def _judges(audit: Audit) -> Iterator[str]:
    for found in audit.positions:
        if found.not_run:
            yield f"{printable(found.judge)}, shown both responses: not run: {printable(found.not_run)}"
    if audit.positions:
        yield "A judge shown both responses: where its two orders disagree it is a tie, which counts half."


def _warnings(audit: Audit) -> Iterator[str]:
    if any(column.estimate.mean is not None and not column.better_than_chance for column in audit.columns):
        yield "Do not trust an evaluator that is no better than chance on what this file is about."


def _alpha(audit: Audit) -> Iterator[str]:
    alpha = audit.agreement.alpha
    if alpha.mean is not None:
        interval = " [{:.2f}, {:.2f}]".format(*alpha.interval) if alpha.interval else ""
        yield f"Krippendorff's alpha of the preferences of all evaluators: {alpha.mean:.2f}{interval}."
