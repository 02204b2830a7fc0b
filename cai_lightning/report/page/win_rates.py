"""How runs do against each other before a judge, on a scale from losing all to winning all.

lines = win_lines(comparison)
"""

from dataclasses import dataclass

from cai_lightning.report.arms import arm_of
from cai_lightning.report.cells import Comparison
from cai_lightning.report.page.cards import Mark, mark
from cai_lightning.report.page.scales import Scale
from cai_lightning.report.words import win_rate_rows

SCALE = Scale(0.0, 1.0, 0.25)


@dataclass(frozen=True)
class WinLine:
    """One run against another.

    Args:
        run: Its name.
        number: Its number among the runs, which is its color.
        other: The run that it is held against.
        rate: The win rate with its interval, in words.
        mark: The same on the scale; None where nothing was judged.
        counts: Wins, ties and losses.
        remarks: Who judged, how many have no verdict, and how often both orders of showing say the same.
    """

    run: str
    number: int
    other: str
    rate: str
    mark: Mark | None
    counts: str
    remarks: tuple[str, ...]


def win_lines(comparison: Comparison) -> list[WinLine]:
    """A line for each pair of runs that was judged."""
    lines = []
    for found, row in zip(comparison.win_rates, win_rate_rows(comparison), strict=True):
        run, other, judge, rate, counts, unscored, consistency = row
        number = comparison.runs.index(arm_of(found.run, comparison.fine_tunings))
        remarks = (f"judge {judge}", f"{unscored} unscored", f"both orders alike {consistency}")
        lines.append(WinLine(run, number, other, rate, mark(found.estimate, SCALE), counts, remarks))
    return lines
