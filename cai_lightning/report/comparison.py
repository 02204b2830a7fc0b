"""Compares runs column by column: means with intervals, paired differences to a baseline, ranks. Pure functions.

    comparison = compare_runs(load_runs(paths), baseline="qwen_base")
    comparison.columns[0].cells[1].difference.estimate.excludes_zero

Runs compare in a column only if they were judged alike: under the same settings and, where the column depends on them,
with the same references. What does not compare stands in the notes.

>>> column_ranks({"base": 0.2, "random": 0.5, "contextual": 0.5}, "higher")
{'base': 3.0, 'random': 1.5, 'contextual': 1.5}

How stable ranks are is told by those that runs would have had with other draws of prompts and fine-tunings. In one
resample the same prompts are drawn in all columns and runs, so that what goes together stays together. Of k
fine-tunings k - 1 are drawn: drawing k from so few would understate how much their mean varies, by the factor (k-1)/k.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import scipy

from cai_lightning.report.comparable import (
    SIDE_BY_SIDE,
    ComparableRuns,
    Scores,
    behaviour_columns,
    boilerplate_notes,
    boilerplate_of,
    category_columns,
    comparable_runs,
    metric_columns,
    notes,
    notes_on_runs,
    silence_warnings,
)
from cai_lightning.report.evidence import AuditNote, WinRate
from cai_lightning.report.runs import Arms, Run, arm_of, arms_of
from cai_lightning.run.records import shared_id
from cai_lightning.statistics import Direction, Interval, PairedDifference, Verdict, arm_difference, arm_mean, corrected
from cai_lightning.statistics.intervals import NO_PROMPTS, NOTHING, SEED, Array, Prompts, batch_sizes, by_prompt, draws

RESAMPLES = 2_000
DIGITS = 12
"""Means that differ by less differ by rounding, and tie."""

Scored = Mapping[str, Sequence[Scores]]
"""The scores of the fine-tunings of each arm."""


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
class Standing:
    """A run's place in the overall ranking.

    Args:
        run: Name of the run.
        place: 1 for the best; runs of the same mean rank share a place.
        mean_rank: The plain mean of its ranks over the columns.
        tied: Whether another run shares the place.
        borda: Borda points: over all columns, how many runs it is ahead of, a tie counting half.
        first: Share of the bootstrap resamples in which it comes first; runs that tie there share the resample.
        places: The best and the worst place that the resamples give it, at the confidence of the comparison.
    """

    run: str
    place: int
    mean_rank: float
    tied: bool
    borda: float
    first: float
    places: tuple[int, int]


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
            category `benign`, `evasiveness`, then `repetition`, `cut`, and `boilerplate` beside a baseline. Unranked.
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
    boilerplate = boilerplate_of(runs, arms[arm])
    kinds = [metric_columns(runs), behaviour_columns(runs, boilerplate), category_columns(runs)]
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
        notes=(*found, *boilerplate_notes(boilerplate, arm), *notes_on_runs(runs, arms)),
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
    compared = [cell for cell in column.cells if cell.compared]
    means = {cell.run: cell.estimate.mean for cell in compared if cell.estimate.mean is not None}
    ranks = column_ranks(means, column.direction or "higher")
    first = dict(zip(means, shares_first(drawn), strict=True))
    cells = (replace(cell, rank=ranks.get(cell.run), first=first.get(cell.run)) for cell in column.cells)
    return replace(column, cells=tuple(cells))


def _estimate(group: ComparableRuns, arm: str, runs: Sequence[str], confidence: float) -> Interval:
    """Over the common prompts where the arm compares; else its own mean, with an interval where that stands beside."""
    own = group.arms.get(arm) or [scores for run in runs if (scores := group.column.runs[run].values)]
    if not own:
        return NOTHING
    estimate = arm_mean(own, confidence, group.column.unit_scale, group.prompts)
    if arm in group.differing and not SIDE_BY_SIDE.issuperset(group.differing[arm][1]):
        return replace(estimate, low=None, high=None)
    return estimate


def _difference(group: ComparableRuns, arm: str, baseline: str, confidence: float) -> PairedDifference | None:
    """Over the pairs scored in both arms, also those that a third has not scored."""
    if arm == baseline or not {arm, baseline} <= group.arms.keys():
        return None
    column, every = group.column, group.every
    return arm_difference(every[arm], every[baseline], confidence, column.unit_scale, group.prompts)


def column_ranks(means: Mapping[str, float], direction: Direction) -> dict[str, float]:
    """The rank of each run, 1 for the best; runs that tie share the mean of their places."""
    (ranks,) = _ranks(np.array([[*means.values()]]), direction).tolist()
    return dict(zip(means, ranks, strict=True))


def overall_ranking(
    ranks: Mapping[str, Mapping[str, float | None]], resampled: Mapping[str, Array], confidence: float = 0.95
) -> tuple[list[Standing], list[str]]:
    """Orders runs by their mean rank: the plain mean of a run's ranks over the columns in which every run is ranked.

    Every column weighs the same, however alike two columns are and however small the differences within one.

    Args:
        ranks: Per column the rank of every run, None where it is not ranked.
        resampled: Of each column that ranks every run, the ranks in the resamples (`resampled_ranks`).
        confidence: Share of the resamples that the interval of a place shall hold.

    Returns:
        The runs from best to worst, none where no column ranks them all; and the names of the columns left out.
    """
    complete = {name: column for name, column in ranks.items() if None not in column.values()}
    left_out = [name for name in ranks if name not in complete]
    if not complete:
        return [], left_out
    runs = [*next(iter(complete.values()))]
    means = np.array([[column[run] for run in runs] for column in complete.values()], dtype=np.float64).mean(axis=0)
    drawn = np.mean([resampled[name] for name in complete], axis=0)
    known = zip(runs, means.tolist(), shares_first(drawn), place_intervals(drawn, confidence), strict=True)
    standings = [
        Standing(
            run=run,
            place=1 + int((means < mean).sum()),
            mean_rank=mean,
            tied=int((means == mean).sum()) > 1,
            borda=len(complete) * (len(runs) - mean),
            first=first,
            places=places,
        )
        for run, mean, first, places in known
    ]
    return sorted(standings, key=lambda standing: standing.place), left_out


def resampled_ranks(columns: Mapping[str, tuple[Direction, Scored]], prompts: Prompts = NO_PROMPTS) -> dict[str, Array]:
    """The ranks of the arms in each column, one row for each resample; 1 is best, ties share the mean of their places.

    Args:
        columns: Per column its direction, and of each arm the scores of its fine-tunings, all over the same ids.
        prompts: What each id shares with the others about its prompt.
    """
    rng, ranks = np.random.default_rng(SEED), {}
    fine_tunings = [scores for _, arms in columns.values() for runs in arms.values() for scores in runs]
    means = iter(_resampled_means(fine_tunings, prompts, rng)) if fine_tunings else iter(())
    weights = dict(_weights(columns, rng))
    for name, (direction, arms) in columns.items():
        averages = [sum(weight * next(means) for weight in weights[arm, len(runs)]) for arm, runs in arms.items()]
        ranks[name] = _ranks(np.stack(averages, axis=1), direction)
    return ranks


def shares_first(ranks: Array) -> list[float]:
    """The share of resamples in which each arm is first; arms that tie there share the resample."""
    first = ranks <= ranks.min(axis=1, keepdims=True) + 10.0**-DIGITS
    shares: list[float] = (first / first.sum(axis=1, keepdims=True)).mean(axis=0).tolist()
    return shares


def place_intervals(ranks: Array, confidence: float) -> list[tuple[int, int]]:
    """The best and the worst place of each arm, but for the rarest at both ends."""
    places = 1 + (ranks[:, None, :] < ranks[:, :, None] - 10.0**-DIGITS).sum(axis=2)
    ends = np.quantile(places, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0, method="nearest")
    return [(int(best), int(worst)) for best, worst in ends.T]


def _resampled_means(fine_tunings: Sequence[Scores], prompts: Prompts, rng: np.random.Generator) -> Array:
    """The mean of each fine-tuning in each resample, a row each; 0 where a resample holds none of its prompts.

    Resamples are drawn in batches: all at once they would take 16 KB a prompt.
    """
    names = [sorted({prompts.get(id, id) for id in scores}) for scores in fine_tunings]
    places = {name: place for place, name in enumerate(sorted(set[str]().union(*names)))}
    sums, counts = np.zeros((2, len(places), len(fine_tunings)))
    for number, (scores, its_names) in enumerate(zip(fine_tunings, names, strict=True)):
        at, clusters = [places[name] for name in its_names], by_prompt(scores, prompts)
        sums[at, number], counts[at, number] = clusters.sums, clusters.counts
    batches = (draws(rng, len(places), size) for size in batch_sizes(RESAMPLES, len(places)))
    means: Array = np.concatenate([times @ sums / np.maximum(times @ counts, 1) for times in batches]).T
    return means


def _weights(
    columns: Mapping[str, tuple[Direction, Scored]], rng: np.random.Generator
) -> Iterator[tuple[tuple[str, int], Array]]:
    """What each of an arm's k fine-tunings counts for in each resample, the same in all columns that have k."""
    sizes = {(arm, len(fine_tunings)) for _, arms in columns.values() for arm, fine_tunings in arms.items()}
    for arm, k in sorted(sizes):
        drawn = rng.multinomial(max(1, k - 1), [1 / k] * k, size=RESAMPLES)
        yield (arm, k), drawn.T / max(1, k - 1)


def _ranks(means: Array, direction: Direction) -> Array:
    ranks: Array = scipy.stats.rankdata(np.round(-means if direction == "higher" else means, DIGITS), axis=1)
    return ranks
