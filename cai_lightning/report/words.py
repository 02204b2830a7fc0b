"""A comparison as tables and notes for people, and as the content of `summary.json` and `scores.csv` for programs.

document(comparison).markdown()
as_json(content(comparison))
as_csv(SCORES, scores(runs))
"""

from collections.abc import Iterator, Sequence
from typing import Any

from cai_lightning.report.comparison import Cell, ColumnComparison, Comparison
from cai_lightning.report.evidence import WinRate
from cai_lightning.report.runs import Run
from cai_lightning.report.table import (
    ARROWS,
    NOTHING,
    Document,
    Field,
    Row,
    Table,
    interval_name,
    number,
    p_value,
    per_cent,
    span,
    told,
)
from cai_lightning.statistics import Direction, PairedDifference

MOST_COUNTED = 9_999
NEEDED_SEEDS = (
    "needed, in seeds: where fine-tunings differ, which no number of prompts changes, so many of each arm of several, "
    "on the prompts there are; - where a thousand are not enough."
)
WIN_RATES_READ = (
    "Win rates: a tie counts half, also where the judge's two orders disagree; both orders: how often it says the same "
    "whichever response it is shown first. Each interval is for itself."
)
TESTED = ("left_out", "p_value", "p_holm", "effect_size", "needed", "needed_seeds")
"""What `summary.json` says of a difference beside its mean and interval."""
SCORES = ("id", "category", "run", "metric", "score", "reason")
"""The head of `scores.csv`."""


def document(comparison: Comparison) -> Document:
    """Everything that a comparison says."""
    tables = [column_table(column, comparison) for column in (*comparison.columns, *comparison.behaviours)]
    tables += [category_table(name, columns, comparison) for name, columns in by_metric(comparison).items()]
    tables += [win_rate_table(comparison)] if comparison.win_rates else []
    tables += [ranking_table(comparison)] if comparison.ranking else []
    warnings = [f"Warning: {warning}" for warning in comparison.warnings]
    return Document("Comparison", tables, list(notes(comparison)), warnings)


def column_table(column: ColumnComparison, comparison: Comparison) -> Table:
    """All runs in one column, with what audits say of it; a difference has the color of its verdict."""
    audits = [Field(note.text, style="warning" if note.trusted is False else "") for note in column.audits]
    title = f"{_titled(column.name, column.direction)}, {column.prompts} prompts"
    return Table(title, [_row(cell, column, comparison) for cell in column.cells], audits)


def by_metric(comparison: Comparison) -> dict[str, list[ColumnComparison]]:
    """The categories' columns, gathered by metric."""
    gathered: dict[str, list[ColumnComparison]] = {}
    for column in comparison.categories:
        gathered.setdefault(column.name, []).append(column)
    return gathered


def win_rate_table(comparison: Comparison) -> Table:
    """Each pair of runs that a judge was asked about."""
    rows = [
        {
            "run": rate.run,
            "against": rate.other,
            "judge": rate.found.judge["model"],
            "win rate [95 %]": number(rate.estimate),
            "won, tied, lost": f"{rate.found.wins}, {rate.found.ties}, {rate.found.losses}",
            "unscored": str(rate.found.unscored),
            "both orders": per_cent(rate.found.position_consistency),
        }
        for rate in comparison.win_rates
    ]
    return Table("Win rates before a judge, 0.5 is no difference", rows)


def ranking_table(comparison: Comparison) -> Table:
    """The runs by their mean rank over the metrics that rank every run."""
    rows = [
        {
            "": f"{standing.place}{'=' if standing.tied else '.'}",
            "run": standing.run,
            "mean rank": f"{standing.mean_rank:.2f}",
            "Borda": f"{standing.borda:g}",
            "first in resamples": per_cent(standing.first),
            "places in resamples": span(*standing.places),
        }
        for standing in comparison.ranking
    ]
    return Table("Overall, by mean rank over the metrics", rows)


def category_table(name: str, columns: Sequence[ColumnComparison], comparison: Comparison) -> Table:
    """The runs in one metric, category by category; a category leads to its conversations on the page."""
    rows = []
    for column in columns:
        query = {"category": str(column.category), "metric": column.name, "sort": "lowest"}
        cells = {_name(cell.run, comparison): _category_field(cell, column.direction) for cell in column.cells}
        rows.append({"": Field(f"{column.category} ({column.prompts})", query=query), **cells})
    return Table(_titled(f"{name} by category", columns[0].direction), rows)


def notes(comparison: Comparison) -> Iterator[str]:
    """How the tables are to be read, and what they cannot say."""
    confidence = comparison.confidence
    arms = {run: names for run, names in comparison.fine_tunings.items() if len(names) > 1}
    if not comparison.ranking:
        yield "No overall ranking: no metric ranks every run."
    yield (
        f"Brackets are {per_cent(confidence, 'g')} intervals over prompts; differences are paired by prompt, to "
        f"{comparison.baseline}."
    )
    yield (
        f"p: of the difference, corrected over all metrics (Holm); unclear: above {1 - confidence:.2g}. "
        "d: Cohen's d_z. needed: prompts to see such a difference in 4 of 5 experiments."
    )
    yield "rank: in brackets how often it is first among the resamples of prompts."
    if comparison.behaviours or comparison.categories:
        yield "Behaviours and categories (*: significant) are each corrected among themselves."
    if comparison.win_rates:
        yield WIN_RATES_READ
    for run, names in arms.items():
        yield f"{run} x{len(names)}: {', '.join(names)}; how these differ is in its intervals."
    if arms:
        yield NEEDED_SEEDS
    for column in (*comparison.columns, *comparison.behaviours):
        yield from counts(column)
    yield from comparison.notes


def counts(column: ColumnComparison) -> Iterator[str]:
    """How many responses are unscored, and how many scores are of a truncated text."""
    unscored = [(cell.run, cell.unscored, cell.scored + cell.unscored) for cell in column.cells]
    truncated = [(cell.run, cell.truncated, cell.scored) for cell in column.cells]
    for what, known in (("unscored", unscored), ("scored on a truncated text", truncated)):
        if found := [f"{run} {some} of {all_of_them}" for run, some, all_of_them in known if some]:
            yield f"{column.name}: {what}: {', '.join(found)}."


def _titled(name: str, direction: Direction | None) -> str:
    return f"{name} {ARROWS[direction]}".rstrip()


def _row(cell: Cell, column: ColumnComparison, comparison: Comparison) -> Row:
    interval, difference = f"[{per_cent(comparison.confidence, 'g')}]", cell.difference
    rank = f"{cell.rank:g} ({per_cent(cell.first)})" if cell.rank else NOTHING
    found = cell.verdict(column.direction)
    return {
        "run": _name(cell.run, comparison),
        f"mean {interval}": f"not run: {cell.not_run}" if cell.not_run else number(cell.estimate),
        f"difference {interval}": Field(_difference(cell, comparison.baseline), style=found),
        "": found,
        "p": p_value(difference.p_holm if difference else None),
        "d": told(difference.effect_size if difference else None, "+.2f"),
        "needed": _needed(difference),
        **({"rank": rank} if any(other.rank for other in column.cells) else {}),
    }


def _name(run: str, comparison: Comparison) -> str:
    seeds = len(comparison.fine_tunings[run])
    return f"{run} x{seeds}" if seeds > 1 else run


def _difference(cell: Cell, baseline: str) -> str:
    if cell.run == baseline:
        return "baseline"
    if cell.scored and not cell.compared:
        return "not comparable"
    return number(cell.difference.estimate, sign="+") if cell.difference else NOTHING


def _needed(difference: PairedDifference | None) -> str:
    """Prompts, or fine-tunings where these differ."""
    if difference and difference.needed:
        return f"{difference.needed:,}" if difference.needed <= MOST_COUNTED else f">{MOST_COUNTED:,}"
    return f"{difference.needed_seeds:,} seeds" if difference and difference.needed_seeds else NOTHING


def _category_field(cell: Cell, direction: Direction | None) -> Field:
    """The mean and, where there is one, the difference, with a star where it is significant."""
    mean, difference = told(cell.estimate.mean, ".3f"), cell.difference
    if cell.estimate.mean is not None and not cell.compared:
        return Field(f"{mean} (not comparable)")
    if difference is None or difference.estimate.mean is None:
        return Field(mean)
    star = "*" if difference.significant else ""
    return Field(f"{mean} ({difference.estimate.mean:+.3f}{star})", style=cell.verdict(direction))


def content(comparison: Comparison) -> dict[str, Any]:
    """What `summary.json` holds; intervals are named by their confidence, `ci95` by default."""
    kinds = ("columns", "behaviours", "categories", "win_rates")
    interval = interval_name(comparison.confidence)
    categories = {
        name: {column.category: _column(column, interval) for column in columns}
        for name, columns in by_metric(comparison).items()
    }
    return {name: value for name, value in vars(comparison).items() if name not in kinds} | {
        "metrics": {column.name: _column(column, interval) for column in comparison.columns},
        "behaviours": {column.name: _column(column, interval) for column in comparison.behaviours},
        "categories": categories,
        "win_rates": list(map(_win_rate, comparison.win_rates)),
    }


def _column(column: ColumnComparison, interval: str) -> dict[str, Any]:
    return {
        "direction": column.direction,
        "prompts": column.prompts,
        "audits": column.audits,
        "runs": {cell.run: _cell(cell, interval) for cell in column.cells},
    }


def _win_rate(rate: WinRate) -> dict[str, Any]:
    found = rate.found
    return {
        "run": rate.run,
        "other": rate.other,
        "judge": found.judge["model"],
        "estimate": found.win_rate,
        "consistency": found.position_consistency,
        **{name: vars(found)[name] for name in ("ci95", "wins", "ties", "losses", "unscored")},
    }


def _cell(cell: Cell, interval: str) -> dict[str, Any]:
    """A cell with its difference beside its mean, null where there is none."""
    found = cell.difference.estimate if cell.difference else None
    tested = dict.fromkeys(TESTED) | (vars(cell.difference) if cell.difference else {})
    return {
        "mean": cell.estimate.mean,
        interval: cell.estimate.interval,
        **{name: value for name, value in vars(cell).items() if name not in ("run", "estimate", "difference")},
        "difference": found.mean if found else None,
        f"difference_{interval}": found.interval if found else None,
        "excludes_zero": found.excludes_zero if found else None,
        "pairs": found.n if found else None,
        **{name: tested[name] for name in TESTED},
        "clear": cell.difference is not None and cell.difference.significant,
    }


def scores(runs: Sequence[Run]) -> Iterator[Sequence[str | float | None]]:
    """The rows of `scores.csv`, one for each prompt, run and metric; an unscored one is empty and has its reason."""
    for run in runs:
        categories = {id: response.category or "" for id, response in run.responses.items()}
        for metric, column in run.scores.items():
            for id in (*column.values, *column.unscored):
                score, reason = column.values.get(id), column.unscored.get(id, "")
                yield id, categories.get(id, ""), run.name, metric, score, reason
