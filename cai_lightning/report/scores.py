"""Reads a run's `scores.jsonl` into the values of each column: the scores of one adapter by one evaluator.

scores = read_scores(run, {"harmlessness": (settings_digest, revision)}, adapter=None)
scores["harmlessness"].values["0f3a..."]
"""

from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cai_lightning import journal
from cai_lightning.record_files import read_records
from cai_lightning.records import Score

Evaluator = tuple[str | None, str | None]
"""What made a score: the digest of an evaluator's settings, and its revision."""

NO_REASON = "no reason given"


@dataclass(frozen=True)
class ColumnScores:
    """What one column holds for the prompts of a run.

    Args:
        values: Scores by id.
        unscored: Why a row is unscored, by id.
        details: What the evaluator has said besides, by id.
    """

    values: dict[str, float] = field(default_factory=dict)
    unscored: dict[str, str] = field(default_factory=dict)
    details: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def reasons(self) -> Counter[str]:
        """How many rows are unscored, by reason."""
        return Counter(self.unscored.values())

    @property
    def truncated(self) -> int:
        """How many scores are of a text that the evaluator has not read whole."""
        return sum(self.details[id].get("truncated") is True for id in self.values if id in self.details)


def read_scores(
    run: Path, made_by: Mapping[str, Evaluator], adapter: str | None, ids: Container[str] | None = None
) -> dict[str, ColumnScores]:
    """The scores of every column asked for.

    Args:
        run: Folder of the run; without a `scores.jsonl` every column is empty.
        made_by: The columns, each with the digest of settings and the revision that its scores must carry.
        adapter: Digest of the adapter that the scores must carry; None for the base model.
        ids: The prompts whose scores count; None takes all.

    Raises:
        UserError: A row of the file is malformed.
    """
    columns = {name: ColumnScores() for name in made_by}
    for score in read_records(run / "scores.jsonl", Score, journal.by_metric).values():
        counts = score.metric in columns and (ids is None or score.id in ids)
        if counts and (score.settings, score.revision, score.adapter) == (*made_by[score.metric], adapter):
            _add(columns[score.metric], score)
    return columns


def _add(column: ColumnScores, score: Score) -> None:
    if score.detail:
        column.details[score.id] = score.detail
    if score.score is None:
        column.unscored[score.id] = score.reason or NO_REASON
    else:
        column.values[score.id] = float(score.score)
