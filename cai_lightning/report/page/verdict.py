"""The verdict of a comparison in one sentence, which claims no more than the tests do.

sentence = verdict_sentence(comparison)
"""

from collections.abc import Sequence

from cai_lightning.report.cells import Comparison
from cai_lightning.report.words import verdict

MOST_NAMES = 4


def verdict_sentence(comparison: Comparison) -> str:
    """Which run comes first, and where it surely differs from the baseline."""
    if len(comparison.runs) < 2:
        return f"There is one run, {comparison.baseline}, and nothing to compare it with."
    if not comparison.ranking:
        return "There is no overall ranking, because no metric ranks every run."
    leaders = [standing for standing in comparison.ranking if standing.place == 1]
    if len(leaders) > 1:
        return f"{_listed([standing.run for standing in leaders])} share the first place by mean rank."
    leader = leaders[0]
    sure = (
        ""
        if leader.first is None
        else f", and in {100 * leader.first:.0f}\N{NO-BREAK SPACE}% of the bootstrap resamples"
    )
    return f"{leader.run} comes first by mean rank{sure}{_against_the_baseline(comparison, leader.run)}."


def _against_the_baseline(comparison: Comparison, run: str) -> str:
    baseline = comparison.baseline
    if run == baseline:
        return "; it is the baseline that the others are measured against"
    found = {kind: _columns(comparison, run, kind) for kind in ("better", "worse", "unclear")}
    parts = [
        f"{kind} than {baseline} in {_listed(names)}" for kind, names in found.items() if names and kind != "unclear"
    ]
    if found["unclear"]:
        parts.append(f"not distinguishable from it in {_listed(found['unclear'])}")
    return f": {', '.join(parts)}" if parts else ""


def _columns(comparison: Comparison, run: str, kind: str) -> list[str]:
    return [
        column.name
        for column in comparison.columns
        for cell in column.cells
        if cell.run == run and verdict(cell, column.direction) == kind
    ]


def _listed(names: Sequence[str]) -> str:
    if len(names) > MOST_NAMES:
        return f"{len(names)} metrics"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
