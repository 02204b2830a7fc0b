"""An audit as tables of plain words, with what was read and how to read them; for programs `audit.json`.

An audit as tables of plain words; `notes` says how to read them.

for grid in grids(audit):
    print(grid.title, grid.headings, grid.rows)

What was read for an audit, and how its tables are to be read.

for line in notes(audit):
    print(line)

An audit for people: tables in the terminal, and the same in Markdown. Names and reasons are shown, never obeyed.

Console().print(terminal(audit))
journal.replace_text(output / "audit.md", markdown(audit))

An audit for programs: `audit.json`, which `compare --audit` reads.

journal.replace_text(output / "audit.json", as_json(audit))
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.text import Text

from cai_lightning.commands.audit.findings import LEVEL, Agreement, Audit, ColumnFindings, PairFindings, SingleFindings
from cai_lightning.commands.inspect.tables import Grid, Words, markdown_table, terminal_table
from cai_lightning.report.numbers import NOTHING, p_value
from cai_lightning.run.text import escape_markdown, printable
from cai_lightning.statistics import Interval
from cai_lightning.statistics.accuracy import Bin, Calibration

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


def _judged(estimate: Interval, column: ColumnFindings) -> Words:
    """A share in per cent with its interval, and below it what that says."""
    interval = " [{:.1f}, {:.1f}]".format(*(100 * end for end in estimate.interval)) if estimate.interval else ""
    color = "better" if column.better_than_chance else "worse"
    return Words(f"{100 * (estimate.mean or 0):.1f} %{interval}", judgement(column), color)


def _share(estimate: Interval) -> Words:
    """A share in per cent with its interval below."""
    if estimate.mean is None:
        return Words(NOTHING)
    interval = "[{:.0f}, {:.0f}]".format(*(100 * end for end in estimate.interval)) if estimate.interval else ""
    return Words(f"{100 * estimate.mean:.0f} %", interval)


def _coefficient(estimate: Interval) -> Words:
    if estimate.mean is None:
        return Words(NOTHING)
    interval = "[{:+.2f}, {:+.2f}]".format(*estimate.interval) if estimate.interval else ""
    return Words(f"{estimate.mean:+.2f}", interval)


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


PLOT = "audit.png"


def terminal(audit: Audit) -> Group:
    """The audit for rich."""
    tables = [Padding(terminal_table(grid), (1, 0, 0, 0)) for grid in grids(audit)]
    return Group(*tables, Text("\n" + "\n".join(notes(audit))))


def markdown(audit: Audit) -> str:
    """The audit as a Markdown document, with the plot that lies beside it."""
    parts = ["# Audit", f"![Accuracy of the evaluators]({PLOT})"]
    for grid in grids(audit):
        parts += [f"## {escape_markdown(grid.title)}", markdown_table(grid)]
    parts += ["## Notes", "\n".join(f"- {escape_markdown(line)}" for line in notes(audit))]
    return "\n\n".join(parts) + "\n"


def as_json(audit: Audit) -> str:
    """The audit as JSON: what could not be computed is null, shares are from 0 to 1."""
    labelled = audit.labels.labelled
    document = {
        "file": audit.file,
        "digest": audit.digest,
        "rows": labelled.rows,
        "comparisons": len(labelled.pairs),
        "single_responses": len(labelled.singles),
        "left_out": dict(labelled.left_out),
        "metrics": {column.name: _column(column) for column in audit.columns},
        "agreement": _agreement_json(audit.agreement),
        "pairwise": [asdict(position) for position in audit.positions],
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _agreement_json(agreement: Agreement) -> dict[str, Any]:
    pairs = [
        {"first": pair.first, "second": pair.second, "correlation": asdict(pair.correlation), **_alpha_json(pair.alpha)}
        for pair in agreement.pairs
    ]
    return {"pairs": pairs, **_alpha_json(agreement.alpha)}


def _alpha_json(estimate: Interval) -> dict[str, Any]:
    return {"alpha": estimate.mean, "alpha_ci95": estimate.interval}


def _column(column: ColumnFindings) -> dict[str, Any]:
    scored = column.scored
    return {
        "settings": scored.settings,
        "revision": scored.revision,
        "direction": scored.column.direction,
        "not_run": scored.not_run,
        "not_applicable": scored.not_applicable,
        "n": column.estimate.n,
        **_pairs(column.pairs),
        **_singles_json(column.singles),
        "p_value": column.right.p_value,
        "p_holm": column.p_holm,
        "better_than_chance": column.better_than_chance,
        "worse_than_chance": column.worse_than_chance,
        "truncated": scored.scores.truncated,
        "reasons": dict(scored.scores.reasons.most_common()),
    }


def _pairs(found: PairFindings | None) -> dict[str, Any]:
    if found is None:
        return {"accuracy": None, "ci95": None}
    return {
        "accuracy": found.accuracy.estimate.mean,
        "ci95": found.accuracy.estimate.interval,
        "ties": found.ties,
        "unscored": found.unscored,
        "length": asdict(found.length),
        "better_is_shorter": asdict(found.shorter),
        "better_is_longer": asdict(found.longer),
    }


def _singles_json(found: SingleFindings | None) -> dict[str, Any]:
    if found is None:
        return {"auc": None, "auc_ci95": None}
    return {
        "auc": found.area.estimate.mean,
        "auc_ci95": found.area.estimate.interval,
        "unscored": found.unscored,
        "length": asdict(found.length),
        "calibration": asdict(found.calibration) if found.calibration else None,
    }
