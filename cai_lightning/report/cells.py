"""What a comparison holds, for tables, plots and files: each run in each column, the ranking, the notes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cai_lightning.report.audits import AuditNote
from cai_lightning.report.ranking import Standing
from cai_lightning.report.summary import Direction
from cai_lightning.report.win_rates import WinRate
from cai_lightning.statistics import Estimate, PairedDifference


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
        clear: Whether the difference is told from 0: `p_holm` is at most one less the confidence.
        truncated: Number of its scores that are of a text which the evaluator has not read whole.
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
    clear: bool = False
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
