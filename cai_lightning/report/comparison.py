"""Compares runs column by column: means with intervals, paired differences to a baseline, ranks. Pure functions.

    comparison = compare_runs(load_runs(paths), baseline="qwen_base")
    comparison.columns[0].cells[1].difference.estimate.excludes_zero

Runs compare in a column only if they were judged alike: under the same settings and, where the column depends on them,
with the same references. What does not compare stands in the notes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cai_lightning.report.ranking import Standing, column_ranks, overall_ranking
from cai_lightning.report.runs import Run
from cai_lightning.report.summary import Direction
from cai_lightning.statistics import Estimate, PairedDifference, mean_interval, paired_difference


@dataclass(frozen=True)
class Cell:
    """One run in one column.

    Args:
        run: Name of the run.
        estimate: Mean and interval over the prompts scored in every compared run; over its own if it does not compare.
        scored: Number of its responses with a score.
        unscored: Number of its responses without one.
        not_run: Why its evaluator could not run, or None.
        compared: Whether it was judged like the baseline.
        difference: This run minus the baseline, over the prompts scored in both; None where there is none.
        rank: Its place among the compared runs, 1 is best, ties share the mean of their places; None where not ranked.
        p_holm: The p-value of the difference after Holm's correction over all differences to the baseline in all
            columns of the same kind (`columns`, `behaviours` or `categories`); None where there is no p-value.
        first: Share of the bootstrap resamples in which it ranks first in this column; None where not ranked.
    """

    run: str
    estimate: Estimate
    scored: int
    unscored: int
    not_run: str | None
    compared: bool
    difference: PairedDifference | None
    rank: float | None
    p_holm: float | None = None
    first: float | None = None


@dataclass(frozen=True)
class ColumnComparison:
    """All runs in one column.

    Args:
        name: The metric's column, or the behaviour.
        direction: Whether `higher` or `lower` is better; None where neither is, as with refusals of any prompt.
        prompts: Number of ids scored in every compared run.
        cells: One for each run.
        category: The category of the prompts that it is confined to; None for all prompts.
    """

    name: str
    direction: Direction | None
    prompts: int
    cells: tuple[Cell, ...]
    category: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Everything that tables and plots show.

    Args:
        baseline: Name of the run that differences are taken to.
        confidence: Share of intervals that shall hold the true value.
        runs: Names of what is compared: of runs, or of arms of several fine-tunings.
        columns: The metrics.
        ranking: The runs by their mean rank over the metrics.
        notes: What the tables cannot say, such as what does not compare and why.
        behaviours: What is read off the responses without a model: `refusal_rate` and, where prompts are of the
            category `benign`, `evasiveness`. They are not ranked.
        categories: The columns that tell harm, once for each category of prompts; not ranked.
        fine_tunings: The runs that make up each of `runs`: itself, or the seeds of an arm.
    """

    baseline: str
    confidence: float
    runs: tuple[str, ...]
    columns: tuple[ColumnComparison, ...]
    ranking: tuple[Standing, ...]
    notes: tuple[str, ...]
    behaviours: tuple[ColumnComparison, ...] = ()
    categories: tuple[ColumnComparison, ...] = ()
    fine_tunings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Group:
    """The runs that compare in a column: those judged like `anchor`, the baseline or else the first run with scores."""

    column: str
    direction: Direction
    anchor: Run | None
    runs: tuple[Run, ...]
    common: frozenset[str]


def compare_runs(runs: Sequence[Run], baseline: str, confidence: float = 0.95) -> Comparison:
    """Compares runs in every column that one of them has.

    Args:
        runs: The runs, each with a name of its own.
        baseline: Name of the run that differences are taken to.
        confidence: Share of intervals that shall hold the true value.
    """
    names = dict.fromkeys(name for run in runs for name in run.summary["metrics"])
    groups = [_group(name, runs, baseline) for name in names]
    columns = tuple(_column(group, runs, baseline, confidence) for group in groups)
    ranking, left_out = overall_ranking({c.name: {cell.run: cell.rank for cell in c.cells} for c in columns})
    notes = [note for group in groups for note in _notes(group, runs, baseline)]
    if left_out:
        notes.append(f"The overall ranking leaves out {', '.join(left_out)}: not every run is ranked there.")
    return Comparison(baseline, confidence, tuple(run.name for run in runs), columns, tuple(ranking), tuple(notes))


def _group(column: str, runs: Sequence[Run], baseline: str) -> _Group:
    scored = [run for run in runs if run.values(column)]
    anchor = next((run for run in scored if run.name == baseline), scored[0] if scored else None)
    alike = tuple(run for run in scored if anchor and not _unlike(run, anchor, column))
    common = frozenset.intersection(*(frozenset(run.values(column)) for run in alike)) if alike else frozenset()
    holder = anchor or next(run for run in runs if run.entry(column))
    return _Group(column, holder.entry(column)["direction"], anchor, alike, common)


def _unlike(run: Run, anchor: Run, column: str) -> list[str]:
    """What of the two runs' judging differs, in words."""
    here, there = run.entry(column), anchor.entry(column)
    differing = [name for name in ("settings", "direction") if here.get(name) != there.get(name)]
    if here.get("uses_references", True) and run.summary.get("references") != anchor.summary.get("references"):
        differing.append("references")
    return differing


def _column(group: _Group, runs: Sequence[Run], baseline: str, confidence: float) -> ColumnComparison:
    ranks = _ranks(group)
    cells = tuple(_cell(group, run, baseline, confidence, ranks.get(run.name)) for run in runs)
    return ColumnComparison(group.column, group.direction, len(group.common), cells)


def _ranks(group: _Group) -> dict[str, float]:
    if not group.common:
        return {}
    means = {run.name: mean_interval(_shared_values(group, run)).mean for run in group.runs}
    return column_ranks({run: mean for run, mean in means.items() if mean is not None}, group.direction)


def _cell(group: _Group, run: Run, baseline: str, confidence: float, rank: float | None) -> Cell:
    values = run.values(group.column)
    scores = run.scores.get(group.column)
    return Cell(
        run=run.name,
        estimate=mean_interval(_shared_values(group, run), confidence),
        scored=len(values),
        unscored=scores.reasons.total() if scores else 0,
        not_run=None if values else run.entry(group.column).get("not_run", "not among its metrics"),
        compared=run in group.runs,
        difference=_difference(group, run, baseline, confidence),
        rank=rank,
    )


def _shared_values(group: _Group, run: Run) -> dict[str, float]:
    """The scores that a run is compared by; all it has where there is nothing in common."""
    values = run.values(group.column)
    return {id: values[id] for id in group.common} if run in group.runs and group.common else values


def _difference(group: _Group, run: Run, baseline: str, confidence: float) -> PairedDifference | None:
    anchor = group.anchor
    if anchor is None or anchor.name != baseline or run.name == baseline or run not in group.runs:
        return None
    return paired_difference(run.values(group.column), anchor.values(group.column), confidence)


def _notes(group: _Group, runs: Sequence[Run], baseline: str) -> list[str]:
    if group.anchor is None:
        return []
    anchor, notes = group.anchor, []
    if anchor.name != baseline:
        notes.append(f"{group.column}: no differences, for the baseline {baseline} has no scores.")
    for run in runs:
        if run.values(group.column) and run not in group.runs:
            differing = " and ".join(_unlike(run, anchor, group.column))
            notes.append(f"{group.column}: {run.name} does not compare with {anchor.name}: other {differing}.")
    return notes + _notes_on_prompts(group)


def _notes_on_prompts(group: _Group) -> list[str]:
    scored = {run.name: len(run.values(group.column)) for run in group.runs}
    if all(n == len(group.common) for n in scored.values()):
        return []
    counts = ", ".join(f"{name} {n}" for name, n in scored.items())
    if not group.common:
        return [f"{group.column}: no ranks, for no prompt is scored in every run (scored: {counts})."]
    return [f"{group.column}: compared on the {len(group.common)} prompts scored in every run (scored: {counts})."]
