"""A comparison in words: the headings and rows of its tables, the overall ranking, the notes.

for column in comparison.columns:
    print(title(column), headings(column, comparison), rows(column, comparison))
"""

from collections.abc import Sequence

from cai_lightning.report.comparison import Cell, ColumnComparison, Comparison
from cai_lightning.report.evidence import WinRate
from cai_lightning.report.numbers import NOTHING as NOTHING
from cai_lightning.report.numbers import number as number
from cai_lightning.report.numbers import p_value
from cai_lightning.report.ranking import Standing
from cai_lightning.report.summary import Direction
from cai_lightning.run.text import printable
from cai_lightning.statistics import PairedDifference

WIN_RATES = "Win rates before a judge, 0.5 is no difference"
WIN_RATES_READ = (
    "Win rates: a tie counts half, also where the judge's two orders disagree; both orders: how often it says the same "
    "whichever response it is shown first. Each interval is for itself."
)
ARROWS: dict[Direction | None, str] = {"higher": "↑ higher is better", "lower": "↓ lower is better", None: ""}
MOST_COUNTED = 9_999
NEEDED_SEEDS = (
    "needed, in seeds: where fine-tunings differ, which no number of prompts changes, so many of each arm of several, "
    "on the prompts there are; - where a thousand are not enough."
)


def verdict(cell: Cell, direction: Direction | None) -> str:
    """`better` or `worse` than the baseline where the corrected p-value tells them apart, else `unclear`."""
    if direction is None or cell.difference is None or cell.difference.estimate.mean is None:
        return ""
    if not cell.significant:
        return "unclear"
    return "better" if (cell.difference.estimate.mean > 0) == (direction == "higher") else "worse"


def title(column: ColumnComparison) -> str:
    return " ".join(f"{printable(column.name)} {ARROWS[column.direction]}".split()) + f", {column.prompts} prompts"


def headings(column: ColumnComparison, comparison: Comparison) -> list[str]:
    share = f"{100 * comparison.confidence:g} %"
    always = ["run", f"mean [{share}]", f"difference [{share}]", "", "p", "d", "needed"]
    return [*always, "rank"] if _is_ranked(column) else always


def rows(column: ColumnComparison, comparison: Comparison) -> list[list[str]]:
    """Each cell as the words of a table's row."""
    return [_row(cell, column, comparison) for cell in column.cells]


def _row(cell: Cell, column: ColumnComparison, comparison: Comparison) -> list[str]:
    difference = cell.difference
    words = [
        _name(cell.run, comparison),
        f"not run: {printable(cell.not_run)}" if cell.not_run else number(cell.estimate),
        _difference(cell, comparison.baseline),
        verdict(cell, column.direction),
        p_value(cell.p_holm),
        NOTHING if difference is None or difference.effect_size is None else f"{difference.effect_size:+.2f}",
        _needed(difference),
    ]
    return [*words, _rank(cell)] if _is_ranked(column) else words


def _is_ranked(column: ColumnComparison) -> bool:
    return any(cell.rank is not None for cell in column.cells)


def _name(run: str, comparison: Comparison) -> str:
    seeds = len(comparison.fine_tunings.get(run, (run,)))
    return f"{run} x{seeds}" if seeds > 1 else run


def _needed(difference: PairedDifference | None) -> str:
    """Prompts, or fine-tunings where these differ."""
    if difference is None or (difference.needed is None and difference.needed_seeds is None):
        return NOTHING
    if difference.needed is None:
        return f"{difference.needed_seeds:,} seeds"
    return f"{difference.needed:,}" if difference.needed <= MOST_COUNTED else f">{MOST_COUNTED:,}"


def _rank(cell: Cell) -> str:
    if cell.rank is None:
        return NOTHING
    return f"{cell.rank:g}" if cell.first is None else f"{cell.rank:g} ({100 * cell.first:.0f} %)"


def by_metric(comparison: Comparison) -> dict[str, list[ColumnComparison]]:
    """The categories' columns, gathered by metric."""
    gathered: dict[str, list[ColumnComparison]] = {}
    for column in comparison.categories:
        gathered.setdefault(column.name, []).append(column)
    return gathered


def category_title(name: str, columns: Sequence[ColumnComparison]) -> str:
    return f"{printable(name)} by category {ARROWS[columns[0].direction]}"


def category_headings(comparison: Comparison) -> list[str]:
    return ["category", *(_name(run, comparison) for run in comparison.runs)]


def category_rows(columns: Sequence[ColumnComparison], comparison: Comparison) -> list[list[str]]:
    return [
        [f"{printable(column.category or '')} ({column.prompts})", *(_category_field(cell) for cell in column.cells)]
        for column in columns
    ]


def _category_field(cell: Cell) -> str:
    """The mean and, where there is one, the difference, with a star where it is significant."""
    if cell.estimate.mean is None:
        return NOTHING
    mean = f"{cell.estimate.mean:.3f}"
    if not cell.compared:
        return f"{mean} (not comparable)"
    if cell.difference is None or cell.difference.estimate.mean is None:
        return mean
    return f"{mean} ({cell.difference.estimate.mean:+.3f}{'*' if cell.significant else ''})"


def _difference(cell: Cell, baseline: str) -> str:
    if cell.run == baseline:
        return "baseline"
    if cell.scored and not cell.compared:
        return "not comparable"
    return number(cell.difference.estimate, sign="+") if cell.difference else NOTHING


def win_rate_headings() -> list[str]:
    return ["run", "against", "judge", "win rate [95 %]", "won, tied, lost", "unscored", "both orders"]


def win_rate_rows(comparison: Comparison) -> list[list[str]]:
    """Each pair of runs that was judged as the words of a table's row."""
    return [_win_rate_row(found) for found in comparison.win_rates]


def _win_rate_row(found: WinRate) -> list[str]:
    counts = f"{found.wins}, {found.ties}, {found.losses}"
    consistency = NOTHING if found.consistency is None else f"{100 * found.consistency:.0f} %"
    judge, rate = printable(found.judge), number(found.estimate)
    return [found.run, found.other, judge, rate, counts, str(found.unscored), consistency]


def ranking(comparison: Comparison) -> list[str]:
    if not comparison.ranking:
        return ["No overall ranking: no metric ranks every run."]
    return ["Overall, by mean rank over the metrics:", *map(_standing, comparison.ranking)]


def _standing(standing: Standing) -> str:
    facts = [f"mean rank {standing.mean_rank:.2f}", f"Borda {standing.borda:g}"]
    if standing.first is not None:
        facts.append(f"first in {100 * standing.first:.0f} % of resamples")
    if standing.places is not None:
        best, worst = standing.places
        facts.append(f"place {best}" if best == worst else f"place {best} to {worst}")
    return f"{standing.place}{'=' if standing.tied else '.'} {standing.run} ({', '.join(facts)})"


def warnings(comparison: Comparison) -> list[str]:
    """What is to be known before anything else."""
    return [f"Warning: {printable(warning)}" for warning in comparison.warnings]


def notes(comparison: Comparison) -> list[str]:
    share = f"{100 * comparison.confidence:g} %"
    reading = [
        f"Brackets are {share} intervals over prompts; differences are paired by prompt, to {comparison.baseline}.",
        f"p: of the difference, corrected over all metrics (Holm); unclear: above {1 - comparison.confidence:.2g}. "
        "d: Cohen's d_z. needed: prompts to see such a difference in 4 of 5 experiments.",
        "rank: in brackets how often it is first among the resamples of prompts.",
    ]
    if comparison.behaviours or comparison.categories:
        reading.append("Behaviours and categories (*: significant) are each corrected among themselves.")
    if comparison.win_rates:
        reading.append(WIN_RATES_READ)
    for run, names in comparison.fine_tunings.items():
        if len(names) > 1:
            reading.append(f"{run} x{len(names)}: {', '.join(names)}; how these differ is in its intervals.")
    if any(len(names) > 1 for names in comparison.fine_tunings.values()):
        reading.append(NEEDED_SEEDS)
    return [*reading, *_unscored(comparison), *_truncated(comparison), *map(printable, comparison.notes)]


def _unscored(comparison: Comparison) -> list[str]:
    found = []
    for column in (*comparison.columns, *comparison.behaviours):
        counts = [f"{c.run} {c.unscored} of {c.scored + c.unscored}" for c in column.cells if c.unscored]
        if counts:
            found.append(f"{printable(column.name)}: unscored: {', '.join(counts)}.")
    return found


def _truncated(comparison: Comparison) -> list[str]:
    found = []
    for column in comparison.columns:
        counts = [f"{c.run} {c.truncated} of {c.scored}" for c in column.cells if c.truncated]
        if counts:
            found.append(f"{printable(column.name)}: scored on a truncated text: {', '.join(counts)}.")
    return found
