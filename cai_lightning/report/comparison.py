"""Compares runs column by column: means with intervals, paired differences to a baseline, ranks. Pure functions.

    comparison = compare_runs(load_runs(paths), baseline="qwen_base")
    comparison.columns[0].cells[1].difference.estimate.excludes_zero

Runs compare in a column only if they were judged alike: under the same settings and, where the column depends on them,
with the same references. What does not compare stands in the notes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cai_lightning.report.arms import Arms, arm_of, arms_of
from cai_lightning.report.cells import Cell as Cell
from cai_lightning.report.cells import ColumnComparison as ColumnComparison
from cai_lightning.report.cells import Comparison as Comparison
from cai_lightning.report.judging import REFERENCES, Group, group_of, notes
from cai_lightning.report.measured import behaviour_columns, category_columns, metric_columns
from cai_lightning.report.ranking import column_ranks, overall_ranking
from cai_lightning.report.runs import Run
from cai_lightning.report.silence import silence_warnings
from cai_lightning.report.stability import resampled_ranks, shares_first
from cai_lightning.report.summary import Direction
from cai_lightning.statistics import Estimate, PairedDifference, arm_difference, arm_mean, holm, mean_interval
from cai_lightning.statistics.clusters import Array, Prompts


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
    groups = [[group_of(column, arms, arm, prompts) for column in columns] for columns in kinds]
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


def _resampled(metrics: Sequence[Group], prompts: Prompts) -> dict[str, Array]:
    """The ranks in each resample of every metric that ranks anything."""
    ranked = {group.column.name: (_direction(group), group.arms) for group in metrics if group.common}
    return resampled_ranks(ranked, prompts=prompts)


def _column(
    group: Group, arms: Arms, baseline: str, confidence: float, resampled: Mapping[str, Array]
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


def _cell(group: Group, arm: str, runs: Sequence[str], baseline: str, confidence: float) -> Cell:
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


def _estimate(group: Group, arm: str, runs: Sequence[str], confidence: float) -> Estimate:
    """Over the common prompts where the arm compares; else its own mean, with an interval if only references differ."""
    own = group.arms.get(arm) or group.own(runs)
    if not own:
        return mean_interval({})
    estimate = arm_mean(own, confidence, group.column.unit_scale, group.prompts)
    if arm in group.differing and group.differing[arm][1] != (REFERENCES,):
        return replace(estimate, low=None, high=None)
    return estimate


def _difference(group: Group, arm: str, baseline: str, confidence: float) -> PairedDifference | None:
    """Over the pairs scored in both arms, also those that a third has not scored."""
    if arm == baseline or not {arm, baseline} <= group.arms.keys():
        return None
    column, every = group.column, group.every
    return arm_difference(every[arm], every[baseline], confidence, column.unit_scale, group.prompts)


def _corrected(columns: Sequence[ColumnComparison], confidence: float) -> tuple[ColumnComparison, ...]:
    """The columns with Holm's correction over all their differences."""
    cells = [cell for column in columns for cell in column.cells if _p_value(cell) is not None]
    corrected = holm([_p_value(cell) or 0.0 for cell in cells])
    known = {id(cell): p for cell, p in zip(cells, corrected, strict=True)}
    return tuple(
        replace(column, cells=tuple(_settled(cell, known.get(id(cell)), 1 - confidence) for cell in column.cells))
        for column in columns
    )


def _settled(cell: Cell, p_holm: float | None, level: float) -> Cell:
    return replace(cell, p_holm=p_holm, clear=p_holm is not None and p_holm <= level)


def _p_value(cell: Cell) -> float | None:
    return cell.difference.p_value if cell.difference else None


def _direction(group: Group) -> Direction:
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
