"""An audit as tables, notes and a plot for people, and as the content of `audit.json`, which `compare --audit` reads.

document(audit).markdown()
as_json(content(audit))
save_plot(audit, output / "audit.png")
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_lightning.commands.audit.findings import (
    LEVEL,
    Agreement,
    Audit,
    ColumnFindings,
    PairAgreement,
    PairFindings,
    SingleFindings,
)
from cai_lightning.report.colors import colors, run_color
from cai_lightning.report.drawing import Key, Panel, save_panels
from cai_lightning.report.plots import DASHED, LEFT, SQUARE, Line, Mark, forest, label_both
from cai_lightning.report.table import (
    NOTHING,
    Document,
    Field,
    Row,
    Style,
    Table,
    in_hundredths,
    over_interval,
    p_value,
    per_cent,
    told,
    with_interval,
)
from cai_lightning.statistics import Interval
from cai_lightning.statistics.agreement import CHANCE, Calibration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT = "audit.png"
MOST_REASONS = 3
"""Reasons shown of each column; `audit.json` has them all."""
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


def document(audit: Audit) -> Document:
    """Everything that an audit says, with the plot that lies beside it; tables with nothing in them are left out."""
    makers = (_evaluators, _calibration, _agreement, _positions, _unscored)
    tables = [table for table in (make(audit) for make in makers) if table.rows]
    return Document("Audit", tables, list(_notes(audit)), picture=("Accuracy of the evaluators", PLOT))


def without_figures(column: ColumnFindings) -> str | None:
    """What stands in place of a column's figures; None where there are some."""
    if column.scored.not_run:
        return "not run"
    if column.scored.not_applicable:
        return "not applicable"
    return None if column.estimate.mean is not None else "nothing scored"


def _evaluators(audit: Audit) -> Table:
    """A row for each evaluator; the title says what p is corrected for."""
    pairs, singles = audit.labels.labelled.pairs, audit.labels.labelled.singles
    tested = sum(column.p_holm is not None for column in audit.columns)
    kind, figure = ("comparisons", "right") if pairs else ("labelled single responses", "AUC")
    title = f"{len(pairs or singles)} {kind}; p of chance, corrected over the {tested} evaluators that have one (Holm)"
    rows: list[Row] = [{"evaluator": column.name, figure: _figure(column), **_rest(column)} for column in audit.columns]
    return Table(title, rows)


def _figure(column: ColumnFindings) -> Field:
    """How often it is right with the interval, and below it what that says; a word on it where there is no figure."""
    if instead := without_figures(column):
        return Field(instead)
    style: Style = "better" if column.verdict == "better" else "worse"
    against_chance = f"{column.verdict} than chance, p {p_value(column.p_holm)}" if column.verdict else ""
    return Field(with_interval(column.estimate, in_hundredths, " %"), against_chance, style)


def _rest(column: ColumnFindings) -> Row:
    found = column.found
    if found is None or without_figures(column):
        return {}
    length = _coefficient(found.length)
    if isinstance(found, PairFindings):
        counts = Field(f"{found.ties} tied", f"{found.unscored} unscored")
        shorter, longer = _share(found.better_is_shorter), _share(found.better_is_longer)
        return {"": counts, "if shorter": shorter, "if longer": longer, "length": length}
    known = found.calibration
    return {
        "unscored": str(found.unscored),
        "Brier": Field(f"{known.brier:.3f}", f"({known.brier_of_base_rate:.3f})") if known else NOTHING,
        "calibration": told(known.error if known else None, ".3f"),
        "length": length,
    }


def _calibration(audit: Audit) -> Table:
    rows = [
        {
            "evaluator": column.name if number == 0 else "",
            "said": f"{100 * bin.low:.0f}-{per_cent(bin.high)}",
            "responses": str(bin.n),
            "mean said": per_cent(bin.probability, ".1f"),
            "good in fact": per_cent(bin.good, ".1f"),
        }
        for column in audit.columns
        for number, bin in enumerate(column.calibration.bins if column.calibration else ())
    ]
    return Table("Reliability: the probability of being good that is said, and the share that is", rows)


def _agreement(audit: Audit) -> Table:
    rows: list[Row] = [
        {
            "evaluator": pair.first,
            "and": pair.second,
            "Spearman": _coefficient(pair.correlation),
            "alpha of preferences": _coefficient(pair.alpha),
        }
        for pair in audit.agreement.pairs
    ]
    return Table("Agreement between evaluators", rows)


def _positions(audit: Audit) -> Table:
    rows: list[Row] = [
        {
            "judge": found.judge,
            "right": Field("not run") if found.not_run else _share(found.accuracy),
            "": Field("") if found.not_run else Field(f"{found.ties} tied", f"{found.unscored} unscored"),
            "same in both orders": _share(found.consistency),
            "first shown preferred": _share(found.first_shown),
        }
        for found in audit.positions
    ]
    return Table("Judges shown both responses, in both orders", rows)


def _unscored(audit: Audit) -> Table:
    rows = [
        {"evaluator": column.name, "reason": reason, "responses": str(count)}
        for column in audit.columns
        if not column.scored.not_run and not column.scored.not_applicable
        for reason, count in column.scored.scores.reasons.most_common(MOST_REASONS)
    ]
    return Table("Responses without a score", rows)


def _share(estimate: Interval) -> Field:
    return Field(*over_interval(estimate, partial(in_hundredths, digits=0), " %"))


def _coefficient(estimate: Interval) -> Field:
    return Field(*over_interval(estimate, "{:+.2f}".format))


def _notes(audit: Audit) -> Iterator[str]:
    """What was read for an audit, and how its tables are to be read."""
    yield from _read(audit)
    yield from HOW_TO_READ
    yield from HOW_TO_READ_PAIRS if audit.labels.labelled.pairs else HOW_TO_READ_SINGLES
    for found in audit.positions:
        if found.not_run:
            yield f"{found.judge}, shown both responses: not run: {found.not_run}"
    if audit.positions:
        yield "A judge shown both responses: where its two orders disagree it is a tie, which counts half."
    if any(column.estimate.mean is not None and column.verdict != "better" for column in audit.columns):
        yield "Do not trust an evaluator that is no better than chance on what this file is about."
    if audit.agreement.alpha.mean is not None:
        alpha = with_interval(audit.agreement.alpha, "{:.2f}".format)
        yield f"Krippendorff's alpha of the preferences of all evaluators: {alpha}."


def _read(audit: Audit) -> Iterator[str]:
    labelled = audit.labels.labelled
    yield (
        f"{audit.file} ({audit.digest}): {labelled.rows} rows, {len(labelled.pairs)} comparisons, "
        f"{len(labelled.singles)} labelled single responses."
    )
    for reason, count in labelled.left_out.items():
        yield f"Left out: {count} rows, {reason}."
    for column in audit.columns:
        if why := column.scored.not_run or column.scored.not_applicable:
            yield f"{column.name}: {without_figures(column)}: {why}"
        if cut := column.scored.scores.truncated:
            yield f"{column.name}: scored on a truncated text: {cut} of {len(column.scored.scores.values)}."


def content(audit: Audit) -> dict[str, Any]:
    """What `audit.json` holds: what could not be computed is null, shares are from 0 to 1."""
    labelled = audit.labels.labelled
    return {
        "file": audit.file,
        "digest": audit.digest,
        "rows": labelled.rows,
        "comparisons": len(labelled.pairs),
        "single_responses": len(labelled.singles),
        "left_out": labelled.left_out,
        "metrics": {column.name: _column(column) for column in audit.columns},
        "agreement": _alpha_apart(audit.agreement) | {"pairs": list(map(_alpha_apart, audit.agreement.pairs))},
        "pairwise": audit.positions,
    }


def _alpha_apart(found: Agreement | PairAgreement) -> dict[str, Any]:
    return vars(found) | {"alpha": found.alpha.mean, "alpha_ci95": found.alpha.interval}


def _column(column: ColumnFindings) -> dict[str, Any]:
    scored, estimate = column.scored, column.estimate
    names = ("auc", "auc_ci95") if isinstance(column.found, SingleFindings) else ("accuracy", "ci95")
    figures = {name: value for name, value in vars(column.found).items() if name != "right"} if column.found else {}
    return {
        "settings": scored.settings,
        "revision": scored.revision,
        "direction": scored.column.direction,
        "not_run": scored.not_run,
        "not_applicable": scored.not_applicable,
        "n": estimate.n,
        **dict.fromkeys(("accuracy", "ci95", "auc", "auc_ci95")),
        **dict(zip(names, (estimate.mean, estimate.interval), strict=True)),
        **figures,
        "p_value": column.right.p_value,
        "p_holm": column.p_holm,
        "better_than_chance": column.verdict == "better" if column.verdict else None,
        "worse_than_chance": column.verdict == "worse",
        "truncated": scored.scores.truncated,
        "reasons": dict(scored.scores.reasons.most_common()),
    }


def save_plot(audit: Audit, path: Path) -> list[Path]:
    """Writes a panel of accuracies, and beside it a reliability diagram where a column has one, as PNG."""
    calibrated = {column.name: column.calibration for column in audit.columns if column.calibration}
    panels = [_accuracies(audit), *([_reliability(calibrated)] if calibrated else [])]
    caption = "Lines: 95 % intervals. Green: better than chance after Holm's correction."
    return save_panels(path, panels, caption, ["png"])


def _accuracies(audit: Audit) -> Panel:
    kind = "Better response preferred" if audit.labels.chosen else "Good response above bad one (AUC)"
    lines = [
        Line(c.name, [Mark(c.estimate, "better" if c.verdict == "better" else "worse")], without_figures(c) or "")
        for c in audit.columns
    ]
    return forest(kind, lines, audit.file, CHANCE, (0.0, 1.0), percent=True)


def _reliability(columns: dict[str, Calibration]) -> Panel:
    keys = [Key("●", name, run_color(n)) for n, name in enumerate(columns, 1)]

    def draw(axis: "Axes") -> None:
        axis.plot([0, 100], [0, 100], color=colors()["quiet"], linestyle=DASHED, linewidth=1)
        for key, calibration in zip(keys, columns.values(), strict=True):
            said, good = zip(*((100 * bin.probability, 100 * bin.good) for bin in calibration.bins), strict=True)
            most = max(bin.n for bin in calibration.bins)
            axis.plot(said, good, color=colors()[key.color], linewidth=1)
            axis.scatter(said, good, [10 + 60 * bin.n / most for bin in calibration.bins], colors()[key.color])
        axis.set(xlim=(-3, 103), ylim=(-3, 103))
        label_both(axis, "probability of being good that is said, %", "good in fact, %")

    return Panel("Reliability", draw, SQUARE, LEFT, keys)
