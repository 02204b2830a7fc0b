"""An audit as tables of plain words; `notes` says how to read them.

for grid in grids(audit):
    print(grid.title, grid.headings, grid.rows)
"""

from collections.abc import Callable, Sequence

from cai_lightning.audit.calibration import Bin, Calibration
from cai_lightning.audit.findings import ColumnFindings
from cai_lightning.audit.results import Audit
from cai_lightning.report.inspection.grids import Grid, Words
from cai_lightning.report.numbers import NOTHING, p_value
from cai_lightning.report.runs import printable
from cai_lightning.statistics import Estimate

MOST_REASONS = 3
"""Reasons shown of each column; `audit.json` has them all."""

Fields = Callable[[ColumnFindings], Sequence[Words]]


def grids(audit: Audit) -> list[Grid]:
    """The tables of an audit; those with nothing in them are left out."""
    makers = (_comparisons, _singles, _reliability, _agreement, _positions, _unscored)
    return [grid for grid in (make(audit) for make in makers) if grid.rows]


def judgement(column: ColumnFindings) -> str:
    """What the corrected p-value says about an evaluator; empty where there is none."""
    if column.better_than_chance is None:
        return ""
    chance = "better" if column.better_than_chance else "worse" if column.worse_than_chance else "no better"
    return f"{chance} than chance, p {p_value(column.p_holm)}"


def without_figures(column: ColumnFindings) -> str | None:
    """What stands in place of a column's figures; None where there are some."""
    if column.scored.not_run:
        return "not run"
    if column.scored.not_applicable:
        return "not applicable"
    return None if column.estimate.mean is not None else "nothing scored"


def _comparisons(audit: Audit) -> Grid:
    headings = ("evaluator", "right", "", "if shorter", "if longer", "length")
    return _by_column(audit, len(audit.labels.chosen), "comparisons", headings, _pair_fields)


def _singles(audit: Audit) -> Grid:
    headings = ("evaluator", "AUC", "unscored", "Brier", "calibration", "length")
    return _by_column(audit, len(audit.labels.singles), "labelled single responses", headings, _single_fields)


def _by_column(audit: Audit, number: int, kind: str, headings: tuple[str, ...], fields: Fields) -> Grid:
    """A row for each evaluator, where there is anything of this kind; the title says what p is corrected for."""
    tested = sum(column.p_holm is not None for column in audit.columns)
    title = f"{number} {kind}; p of chance, corrected over the {tested} evaluators that have one (Holm)"
    columns = audit.columns if number else ()
    return Grid(title, headings, tuple(_row(column, fields(column), len(headings)) for column in columns))


def _row(column: ColumnFindings, fields: Sequence[Words], width: int) -> tuple[Words, ...]:
    """A column's row; where it has no figures, a word on that in their place."""
    name, instead = Words(printable(column.name)), without_figures(column)
    return (name, Words(instead), *[Words("")] * (width - 2)) if instead else (name, *fields)


def _pair_fields(column: ColumnFindings) -> tuple[Words, ...]:
    if (found := column.pairs) is None:
        return ()
    return (
        _judged(found.accuracy.estimate, column),
        Words(f"{found.ties} tied", f"{found.unscored} unscored"),
        _share(found.shorter),
        _share(found.longer),
        _coefficient(found.length),
    )


def _single_fields(column: ColumnFindings) -> tuple[Words, ...]:
    if (found := column.singles) is None:
        return ()
    return (
        _judged(found.area.estimate, column),
        Words(str(found.unscored)),
        *_calibrated(found.calibration),
        _coefficient(found.length),
    )


def _calibrated(found: Calibration | None) -> tuple[Words, Words]:
    if found is None:
        return Words(NOTHING), Words(NOTHING)
    return Words(f"{found.brier:.3f}", f"({found.brier_of_base_rate:.3f})"), Words(f"{found.error:.3f}")


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
            _coefficient(pair.correlation),
            _coefficient(pair.alpha),
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


def _coefficient(estimate: Estimate) -> Words:
    if estimate.mean is None:
        return Words(NOTHING)
    interval = "[{:+.2f}, {:+.2f}]".format(*estimate.interval) if estimate.interval else ""
    return Words(f"{estimate.mean:+.2f}", interval)
