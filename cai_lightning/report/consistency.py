"""Whether `scores.jsonl` still holds what `summary.json` says of it.

    metrics, scores = agreeing(run, summary["metrics"], read_scores(run, made_by, adapter, prompts))

A file of scores may have been cut short, edited, or belong to another validation; then its numbers are not those that
`validate` has summarized, and no comparison is made of them.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cai_lightning import journal
from cai_lightning.errors import UserError
from cai_lightning.record_files import is_number
from cai_lightning.report.scores import ColumnScores
from cai_lightning.statistics.clusters import by_prompt

Metrics = dict[str, dict[str, Any]]
_ROUNDING = 1e-12


def agreeing(
    run: Path, metrics: Metrics, scores: Mapping[str, ColumnScores]
) -> tuple[Metrics, dict[str, ColumnScores]]:
    """The columns and their scores; while a validation is under way, those that disagree are not run, with the reason.

    Args:
        run: Folder of the run.
        metrics: What the summary says of each column.
        scores: What its file of scores holds.

    Raises:
        UserError: They disagree, and no validation has left its own files beside the scores.
    """
    path = run / "scores.jsonl"
    wrong = {name: why for name, entry in metrics.items() if (why := _disagreement(entry, scores[name]))}
    if wrong and not journal.rank_files(path):
        name, why = next(iter(wrong.items()))
        raise UserError(f"{path}, metric {name}: {why}. Run validate again.")
    reasons = {name: {"not_run": f"a validation is under way or was broken off: {why}"} for name, why in wrong.items()}
    kept = {name: ColumnScores() if name in wrong else column for name, column in scores.items()}
    return {name: entry | reasons.get(name, {}) for name, entry in metrics.items()}, kept


def _disagreement(entry: Mapping[str, Any], scores: ColumnScores) -> str | None:
    """In what the scores are not those that the summary tells of; None where they are, or it does not tell."""
    for word, found in (("scored", len(scores.values)), ("unscored", len(scores.unscored))):
        if entry.get(word, found) != found:
            return f"{found} rows are {word} here, {entry[word]!r} in summary.json"
    mean = by_prompt(scores.values).mean if scores.values else None
    if entry.get("mean", mean) == mean or _close(entry.get("mean"), mean):
        return None
    return f"the mean is {mean} here, {entry['mean']!r} in summary.json"


def _close(one: Any, other: float | None) -> bool:
    if not is_number(one) or other is None:
        return False
    return math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
