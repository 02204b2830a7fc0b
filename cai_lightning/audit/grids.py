"""An audit as tables of plain words, and the notes that say how to read them.

for grid in grids(audit):
    print(grid.title, grid.headings, grid.rows)
"""

from cai_lightning.audit.calibration import Bin
from cai_lightning.audit.findings import ColumnFindings, PairFindings, SingleFindings
from cai_lightning.audit.results import Audit
from cai_lightning.report.inspection.grids import Grid, Words
from cai_lightning.report.runs import printable
from cai_lightning.report.tables import NOTHING
from cai_lightning.statistics import Estimate

MOST_REASONS = 3
"""Reasons shown of each column; `audit.json` has them all."""

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


def grids(audit: Audit) -> list[Grid]:
    """The tables of an audit; those with nothing in them are left out."""
    makers = (_comparisons, _singles, _reliability, _agreement, _positions, _unscored)
    return [grid for grid in (make(audit) for make in makers) if grid.rows]


def notes(audit: Audit) -> list[str]:
    """What was read, and how the tables are to be read."""
    labelled = audit.labels.labelled
    lines = [
        f"{printable(audit.file)} ({audit.digest}): {labelled.rows} rows, {len(labelled.pairs)} comparisons, "
        f"{len(labelled.singles)} labelled single responses."
    ]
    lines += [f"Left out: {count} rows, {reason}." for reason, count in labelled.left_out.items()]
    for column in audit.columns:
        if why := column.scored.not_run or column.scored.not_applicable:
            lines.append(f"{printable(column.name)}: {without_figures(column)}: {printable(why)}")
    lines.append("Brackets are 95 % intervals over conversations; an evaluator beats chance where its interval does.")
    lines += HOW_TO_READ_PAIRS if labelled.pairs else HOW_TO_READ_SINGLES
    for found in audit.positions:
        if found.not_run:
            lines.append(f"{printable(found.judge)}, shown both responses: not run: {printable(found.not_run)}")
    if audit.positions:
        lines.append("A judge shown both responses: where its two orders disagree it is a tie, which counts half.")
    if any(column.estimate.mean is not None and not column.better_than_chance for column in audit.columns):
        lines.append("Do not trust an evaluator that is no better than chance on what this file is about.")
    if audit.agreement.alpha is not None:
        lines.append(f"Krippendorff's alpha of the preferences of all evaluators: {audit.agreement.alpha:.2f}.")
    return lines


def judgement(column: ColumnFindings) -> str:
    """What the interval says about an evaluator; empty where there is none."""
    if column.better_than_chance is None:
        return ""
    if column.better_than_chance:
        return "better than chance"
    return "worse than chance" if column.worse_than_chance else "no better than chance"


def without_figures(column: ColumnFindings) -> str | None:
    """What stands in place of a column's figures; None where there are some."""
    if column.scored.not_run:
        return "not run"
    if column.scored.not_applicable:
        return "not applicable"
    return None if column.estimate.mean is not None else "nothing scored"


def _comparisons(audit: Audit) -> Grid:
    headings = ("evaluator", "right", "", "if shorter", "if longer", "length")
    columns = audit.columns if audit.labels.chosen else ()
    rows = [_row(column, _pair_fields(column, column.pairs), len(headings)) for column in columns]
    return Grid(f"{len(audit.labels.chosen)} comparisons", headings, tuple(rows))


def _pair_fields(column: ColumnFindings, found: PairFindings | None) -> list[Words]:
    if found is None:
        return []
    return [
        _judged(found.accuracy, column),
        Words(f"{found.ties} tied", f"{found.unscored} unscored"),
        _share(found.shorter),
        _share(found.longer),
        _correlation(found.length),
    ]


def _singles(audit: Audit) -> Grid:
    headings = ("evaluator", "AUC", "unscored", "Brier", "calibration", "length")
    columns = audit.columns if audit.labels.singles else ()
    rows = [_row(column, _single_fields(column, column.singles), len(headings)) for column in columns]
    return Grid(f"{len(audit.labels.singles)} labelled single responses", headings, tuple(rows))


def _single_fields(column: ColumnFindings, found: SingleFindings | None) -> list[Words]:
    if found is None:
        return []
    calibration = found.calibration
    brier = (f"{calibration.brier:.3f}", f"({calibration.brier_of_base_rate:.3f})") if calibration else (NOTHING,)
    return [
        _judged(found.area, column),
        Words(str(found.unscored)),
        Words(*brier),
        Words(f"{calibration.error:.3f}" if calibration else NOTHING),
        _correlation(found.length),
    ]


def _row(column: ColumnFindings, fields: list[Words], width: int) -> tuple[Words, ...]:
    """A column's row; where it has no figures, a word on that in their place."""
    name, instead = Words(printable(column.name)), without_figures(column)
    return (name, Words(instead), *[Words("")] * (width - 2)) if instead else (name, *fields)


def _reliability(audit: Audit) -> Grid:
    headings = ("evaluator", "said", "responses", "mean said", "good in fact")
    rows = [
        tuple(map(Words, (printable(column.name) if number == 0 else "", *_bin(bin))))
        for column in audit.columns
        if column.singles and column.singles.calibration
        for number, bin in enumerate(column.singles.calibration.bins)
    ]
    return Grid("Reliability: the probability of being good that is said, and the share that is", headings, tuple(rows))


def _bin(bin: Bin) -> tuple[str, ...]:
    said = f"{100 * bin.low:.0f}-{100 * bin.high:.0f} %"
    return said, str(bin.n), f"{100 * bin.probability:.1f} %", f"{100 * bin.good:.1f} %"


def _agreement(audit: Audit) -> Grid:
    headings = ("evaluator", "and", "Spearman", "alpha of preferences")
    rows = [
        (
            Words(printable(pair.first)),
            Words(printable(pair.second)),
            _correlation(pair.correlation),
            Words(NOTHING if pair.alpha is None else f"{pair.alpha:.2f}"),
        )
        for pair in audit.agreement.pairs
    ]
    return Grid("Agreement between evaluators", headings, tuple(rows))


def _positions(audit: Audit) -> Grid:
    headings = ("judge", "right", "", "same in both orders", "first shown preferred")
    rows = [
        (
            Words(printable(found.judge)),
            Words("not run") if found.not_run else _share(found.accuracy),
            Words("" if found.not_run else f"{found.ties} tied", "" if found.not_run else f"{found.unscored} unscored"),
            _share(found.consistency),
            _share(found.first_shown),
        )
        for found in audit.positions
    ]
    return Grid("Judges shown both responses, in both orders", headings, tuple(rows))


def _unscored(audit: Audit) -> Grid:
    rows = [
        tuple(map(Words, (printable(column.name), printable(reason), str(count))))
        for column in audit.columns
        if not column.scored.not_run and not column.scored.not_applicable
        for reason, count in column.scored.scores.reasons.most_common(MOST_REASONS)
    ]
    return Grid("Responses without a score", ("evaluator", "reason", "responses"), tuple(rows))


def _judged(estimate: Estimate, column: ColumnFindings) -> Words:
    """A share in per cent with its interval, and below it what that says."""
    interval = " [{:.1f}, {:.1f}]".format(*(100 * end for end in estimate.interval)) if estimate.interval else ""
    color = "better" if column.better_than_chance else "worse"
    return Words(f"{100 * (estimate.mean or 0):.1f} %{interval}", judgement(column), color)


def _share(estimate: Estimate) -> Words:
    """A share in per cent with its interval below."""
    if estimate.mean is None:
        return Words(NOTHING)
    interval = "[{:.0f}, {:.0f}]".format(*(100 * end for end in estimate.interval)) if estimate.interval else ""
    return Words(f"{100 * estimate.mean:.0f} %", interval)


def _correlation(estimate: Estimate) -> Words:
    if estimate.mean is None:
        return Words(NOTHING)
    interval = "[{:+.2f}, {:+.2f}]".format(*estimate.interval) if estimate.interval else ""
    return Words(f"{estimate.mean:+.2f}", interval)
