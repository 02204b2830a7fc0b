"""Compares runs column by column: means with intervals, paired differences to a baseline, ranks. Pure functions.

    comparison = compare_runs(load_runs(paths), baseline="qwen_base")
    comparison.columns[0].cells[1].difference.estimate.excludes_zero

Runs compare in a column only if they were judged alike: under the same settings and, where the column depends on them,
with the same references. What does not compare stands in the notes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cai_lightning.report.columns import (
    REFERENCES,
    ComparableRuns,
    behaviour_columns,
    category_columns,
    comparable_runs,
    metric_columns,
    notes,
)
from cai_lightning.report.evidence import AuditNote, WinRate
from cai_lightning.report.ranking import Standing, column_ranks, overall_ranking, resampled_ranks, shares_first
from cai_lightning.report.runs import Arms, Run, arm_of, arms_of
from cai_lightning.report.table import part
from cai_lightning.run.records import shared_id
from cai_lightning.statistics import Direction, Interval, PairedDifference, Verdict, arm_difference, arm_mean, corrected
from cai_lightning.statistics.intervals import NOTHING, Array

APART = 0.05
"""Shares of prompts without an answer that are so far apart are worth a warning, however few prompts there are."""


@dataclass(frozen=True)
class Cell:
    """One run in one column.

    Args:
        run: Name of the run.
        estimate: Mean and interval over the prompts scored in every compared run; over its own if it does not compare.
        scored: Number of its responses with a score.
        unscored: Number of its responses without one.
        truncated: Number of its scores that are of a text which the evaluator has not read whole.
        not_run: Why its evaluator could not run, or None.
        compared: Whether it was judged like the baseline.
        difference: This run minus the baseline, over the prompts scored in both; None where there is none. Its p-value
            is corrected over all differences to the baseline in all columns of the same kind (`columns`, `behaviours`
            or `categories`).
        rank: Its place among the compared runs, 1 is best, ties share the mean of their places; None where not ranked.
        first: Share of the bootstrap resamples in which it ranks first in this column; None where not ranked.
    """

    run: str
    estimate: Interval
    scored: int
    unscored: int
    truncated: int
    not_run: str | None
    compared: bool
    difference: PairedDifference | None
    rank: float | None = None
    first: float | None = None

    def verdict(self, direction: Direction | None) -> Verdict:
        """Whether it is better or worse than the baseline; nothing where there is no difference."""
        return self.difference.verdict(direction) if self.difference else ""


@dataclass(frozen=True)
class ColumnComparison:
    """All runs in one column.

    Args:
        name: The metric's column, or the behaviour.
        direction: Whether `higher` or `lower` is better; None where neither is, as with refusals of any prompt.
        prompts: Number of ids scored in every compared run.
        cells: One for each run.
        category: The category of the prompts that it is confined to; None for all prompts.
        audits: How far its evaluator can be trusted.
    """

    name: str
    direction: Direction | None
    prompts: int
    cells: tuple[Cell, ...]
    category: str | None = None
    audits: tuple[AuditNote, ...] = ()

    @property
    def compared(self) -> frozenset[str]:
        """The runs, or arms, that were judged like the baseline."""
        return frozenset(cell.run for cell in self.cells if cell.compared)


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
            category `benign`, `evasiveness`, then `repetition` and `cut`. They are not ranked.
        categories: The columns that tell harm, once for each category of prompts; not ranked.
        fine_tunings: The runs that make up each of `runs`: itself, or the seeds of an arm.
        win_rates: How single runs do against each other before a judge.
        warnings: What makes its figures misleading.
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
    win_rates: tuple[WinRate, ...] = ()
    warnings: tuple[str, ...] = ()

    def compared(self, column: ColumnComparison) -> frozenset[str]:
        """The runs, or the single runs of arms, that compare in a column."""
        return frozenset(run for arm in column.compared for run in self.fine_tunings[arm])

    def number(self, run: str) -> int:
        """The place among `runs` of a run, or of the arm that it belongs to."""
        return self.runs.index(arm_of(run, self.fine_tunings))


def compare_runs(runs: Sequence[Run], baseline: str, confidence: float = 0.95) -> Comparison:
    """Compares runs in every column that one of them has.

    Args:
        runs: The runs, each with a name of its own; folders that differ only behind an `@` are one arm.
        baseline: Name of the run, or of the arm, that differences are taken to.
        confidence: Share of intervals that shall hold the true value.

    Raises:
        UserError: Two runs of an arm are the same fine-tuning.
    """
    arms = arms_of(runs)
    arm = arm_of(baseline, arms)
    kinds = [metric_columns(runs), behaviour_columns(runs), category_columns(runs)]
    prompts = {id: shared_id(response) for run in runs for id, response in run.responses.items()}
    groups = [[comparable_runs(column, arms, arm, prompts) for column in columns] for columns in kinds]
    ranked = {one.column.name: (one.column.direction or "higher", one.arms) for one in groups[0] if one.common}
    resampled = resampled_ranks(ranked, prompts=prompts)
    metrics, behaviours, categories = (_compare(kind, arms, arm, confidence) for kind in groups)
    metrics = tuple(_ranked(column, resampled.get(column.name)) for column in metrics)
    ranks = {column.name: {cell.run: cell.rank for cell in column.cells} for column in metrics}
    ranking, left_out = overall_ranking(ranks, resampled, confidence)
    found = notes([*groups[0], *groups[1]], arms, arm)
    if left_out:
        found.append(f"The overall ranking leaves out {', '.join(left_out)}: not every run is ranked there.")
    return Comparison(
        baseline=arm,
        confidence=confidence,
        runs=tuple(arms),
        columns=metrics,
        ranking=tuple(ranking),
        notes=(*found, *_single(arms), *_unfinished(runs)),
        behaviours=behaviours,
        categories=categories,
        fine_tunings=arms,
        warnings=tuple(silence_warnings(runs, arms)),
    )


def _compare(
    groups: Sequence[ComparableRuns], arms: Arms, baseline: str, confidence: float
) -> tuple[ColumnComparison, ...]:
    """The columns of one kind, their p-values corrected over all their differences."""
    differences = [_difference(group, arm, baseline, confidence) for group in groups for arm in arms]
    tested = iter(corrected(differences, 1 - confidence))
    columns = []
    for group in groups:
        cells = tuple(_cell(group, arm, runs, next(tested), confidence) for arm, runs in arms.items())
        column = group.column
        columns.append(ColumnComparison(column.name, column.direction, len(group.common), cells, column.category))
    return tuple(columns)


def _cell(
    group: ComparableRuns, arm: str, runs: Sequence[str], difference: PairedDifference | None, confidence: float
) -> Cell:
    measured = [group.column.runs[run] for run in runs]
    scored = sum(len(one.values) for one in measured)
    return Cell(
        run=arm,
        estimate=_estimate(group, arm, runs, confidence),
        scored=scored,
        unscored=sum(one.unscored for one in measured),
        truncated=sum(one.truncated for one in measured),
        not_run=None if scored else next((one.not_run for one in measured if one.not_run), None),
        compared=arm in group.arms,
        difference=difference,
    )


def _ranked(column: ColumnComparison, drawn: Array | None) -> ColumnComparison:
    """The column with the ranks of what compares; without, where no resamples were drawn of it."""
    if drawn is None:
        return column
    means = {cell.run: cell.estimate.mean or 0.0 for cell in column.cells if cell.compared}
    ranks = column_ranks(means, column.direction or "higher")
    first = dict(zip(means, shares_first(drawn), strict=True))
    cells = (replace(cell, rank=ranks.get(cell.run), first=first.get(cell.run)) for cell in column.cells)
    return replace(column, cells=tuple(cells))


def _estimate(group: ComparableRuns, arm: str, runs: Sequence[str], confidence: float) -> Interval:
    """Over the common prompts where the arm compares; else its own mean, with an interval if only references differ."""
    own = group.arms.get(arm) or [scores for run in runs if (scores := group.column.runs[run].values)]
    if not own:
        return NOTHING
    estimate = arm_mean(own, confidence, group.column.unit_scale, group.prompts)
    if arm in group.differing and group.differing[arm][1] != (REFERENCES,):
        return replace(estimate, low=None, high=None)
    return estimate


def _difference(group: ComparableRuns, arm: str, baseline: str, confidence: float) -> PairedDifference | None:
    """Over the pairs scored in both arms, also those that a third has not scored."""
    if arm == baseline or not {arm, baseline} <= group.arms.keys():
        return None
    column, every = group.column, group.every
    return arm_difference(every[arm], every[baseline], confidence, column.unit_scale, group.prompts)


def _single(arms: Arms) -> list[str]:
    """What is not known of runs beside arms of several seeds."""
    alone = [arm for arm, runs in arms.items() if len(runs) == 1]
    if not alone or len(alone) == len(arms):
        return []
    return [f"{', '.join(alone)}: one run each; how much another seed would change them is in no interval."]


def _unfinished(runs: Sequence[Run]) -> list[str]:
    return [f"{run.name} is no end of its training: {why}." for run in runs if (why := run.summary.get("unfinished"))]


def silence_warnings(runs: Sequence[Run], arms: Arms) -> list[str]:
    """A warning where arms are `APART` in the share of prompts without an answer.

    What says nothing is in no mean, so that a model which has collapsed looks as good as the answers it still gives. A
    prompt is without an answer where the response has no words, or where there is none.
    """
    by_name = {run.name: run for run in runs}
    counts = {arm: _count_silent([by_name[name] for name in names]) for arm, names in arms.items()}
    shares = [silent / asked for silent, asked in counts.values() if asked]
    if not shares or max(shares) - min(shares) < APART:
        return []
    told = ", ".join(f"{arm} {part(*count)}" for arm, count in counts.items() if count[1])
    return [
        f"prompts without an answer: {told}. They are in no mean, which flatters who says less (warned of where runs "
        f"are {100 * APART:g} points apart)."
    ]


def _count_silent(runs: Sequence[Run]) -> tuple[int, int]:
    """How many prompts were not answered in words, and how many were asked; none where no response is recorded."""
    asked = silent = 0
    for run in runs:
        prompts = run.responses.keys() if run.prompts is None or not run.responses else run.prompts
        asked += len(prompts)
        silent += sum(id not in run.responses or run.responses[id].why_silent is not None for id in prompts)
    return silent, asked
