"""Compares runs column by column: means with intervals, paired differences to a baseline, ranks. Pure functions.

    comparison = compare_runs(load_runs(paths), baseline="qwen_base")
    comparison.columns[0].cells[1].difference.estimate.excludes_zero
    for pair in both_sides(comparison): ...  # how helpful runs are, and how harmless

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
from cai_lightning.report.failures import silence_warnings
from cai_lightning.report.ranking import Standing, column_ranks, overall_ranking, resampled_ranks, shares_first
from cai_lightning.report.runs import Arms, Run, arm_of, arms_of
from cai_lightning.report.summary import Direction
from cai_lightning.statistics import Interval, PairedDifference, arm_difference, arm_mean, holm, mean_interval
from cai_lightning.statistics.intervals import Array, Prompts


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
        significant: Whether the difference is: `p_holm` is at most one less the confidence.
        truncated: Number of its scores that are of a text which the evaluator has not read whole.
    """

    run: str
    estimate: Interval
    scored: int
    unscored: int
    not_run: str | None
    compared: bool
    difference: PairedDifference | None
    rank: float | None
    p_holm: float | None = None
    first: float | None = None
    significant: bool = False
    truncated: int = 0


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
        return frozenset(run for arm in column.compared for run in self.fine_tunings.get(arm, (arm,)))


PAIRS = (
    ("helpfulness", "harmlessness"),
    ("judge_helpfulness", "judge_refusal"),
    ("oracle_helpful", "oracle_harmless"),
)
"""Columns that measure the two sides with the same kind of evaluator."""


@dataclass(frozen=True)
class BothSides:
    """A pair of columns; `cells` has both cells of each run that has both means, with the run's number."""

    helpful: str
    harmless: str
    cells: tuple[tuple[int, Cell, Cell], ...]


def both_sides(comparison: Comparison) -> list[BothSides]:
    """The pairs of columns in which some run has both means."""
    columns = {column.name: column.cells for column in comparison.columns}
    known = [(x, y) for x, y in PAIRS if x in columns and y in columns]
    pairs = [BothSides(x, y, tuple(_known(columns[x], columns[y]))) for x, y in known]
    return [pair for pair in pairs if pair.cells]


def _known(helpful: tuple[Cell, ...], harmless: tuple[Cell, ...]) -> list[tuple[int, Cell, Cell]]:
    cells = enumerate(zip(helpful, harmless, strict=True))
    return [(n, x, y) for n, (x, y) in cells if x.estimate.n and y.estimate.n]


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
    prompts = {id: prompt for run in runs for id, prompt in run.prompt_ids.items()}
    groups = [[comparable_runs(column, arms, arm, prompts) for column in columns] for columns in kinds]
    resampled = _resampled(groups[0], prompts)
    metrics, behaviours, categories = (
        _corrected([_column(group, arms, arm, confidence, resampled) for group in kind], confidence) for kind in groups
    )
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


def _resampled(metrics: Sequence[ComparableRuns], prompts: Prompts) -> dict[str, Array]:
    """The ranks in each resample of every metric that ranks anything."""
    ranked = {group.column.name: (_direction(group), group.arms) for group in metrics if group.common}
    return resampled_ranks(ranked, prompts=prompts)


def _column(
    group: ComparableRuns, arms: Arms, baseline: str, confidence: float, resampled: Mapping[str, Array]
) -> ColumnComparison:
    column = group.column
    ranked = column.category is None and column.name in resampled
    means = {arm: arm_mean(scores).mean for arm, scores in group.arms.items()} if ranked else {}
    ranks = column_ranks({arm: mean for arm, mean in means.items() if mean is not None}, _direction(group))
    first = dict(zip(group.arms, shares_first(resampled[column.name]), strict=True)) if ranked else {}
    cells = tuple(
        replace(_cell(group, arm, runs, baseline, confidence), rank=ranks.get(arm), first=first.get(arm))
        for arm, runs in arms.items()
    )
    return ColumnComparison(column.name, column.direction, len(group.common), cells, column.category)


def _cell(group: ComparableRuns, arm: str, runs: Sequence[str], baseline: str, confidence: float) -> Cell:
    measured = [group.column.runs[run] for run in runs]
    scored = sum(len(one.values) for one in measured)
    return Cell(
        run=arm,
        estimate=_estimate(group, arm, runs, confidence),
        scored=scored,
        unscored=sum(one.unscored for one in measured),
        not_run=None if scored else next((one.not_run for one in measured if one.not_run), None),
        compared=arm in group.arms,
        difference=_difference(group, arm, baseline, confidence),
        rank=None,
        truncated=sum(one.truncated for one in measured),
    )


def _estimate(group: ComparableRuns, arm: str, runs: Sequence[str], confidence: float) -> Interval:
    """Over the common prompts where the arm compares; else its own mean, with an interval if only references differ."""
    own = group.arms.get(arm) or group.own(runs)
    if not own:
        return mean_interval({})
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


def _corrected(columns: Sequence[ColumnComparison], confidence: float) -> tuple[ColumnComparison, ...]:
    """The columns with Holm's correction over all their differences."""
    differences = [cell.difference for column in columns for cell in column.cells]
    corrected = iter(holm([difference.p_value if difference else None for difference in differences]))
    return tuple(
        replace(column, cells=tuple(_tested(cell, next(corrected), 1 - confidence) for cell in column.cells))
        for column in columns
    )


def _tested(cell: Cell, p_holm: float | None, level: float) -> Cell:
    return replace(cell, p_holm=p_holm, significant=p_holm is not None and p_holm <= level)


def _direction(group: ComparableRuns) -> Direction:
    """The direction of a metric; only behaviours have none."""
    return group.column.direction or "higher"


def _single(arms: Arms) -> list[str]:
    """What is not known of runs beside arms of several seeds."""
    alone = [arm for arm, runs in arms.items() if len(runs) == 1]
    if not alone or len(alone) == len(arms):
        return []
    return [f"{', '.join(alone)}: one run each; how much another seed would change them is in no interval."]


def _unfinished(runs: Sequence[Run]) -> list[str]:
    return [f"{run.name} is no end of its training: {why}." for run in runs if (why := run.summary.get("unfinished"))]
