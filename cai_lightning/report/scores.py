"""Reads a run's `scores.jsonl` into the values of each column: the scores of one adapter by one evaluator.

scores = read_scores(run, {"harmlessness": (settings_digest, revision)}, adapter=None)
scores["harmlessness"].values["0f3a..."]
"""

from collections import Counter
from collections.abc import Container, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cai_lightning import journal
from cai_lightning.errors import UserError

Evaluator = tuple[str | None, str | None]
"""What made a score: the digest of an evaluator's settings, and its revision."""

LARGEST = 3.4e38
"""What a score is at most, for evaluators give float32; sums of larger numbers have no end."""

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
        UserError: A score is neither a finite number nor null, or a row lacks `id` or `metric`.
    """
    path = run / "scores.jsonl"
    columns = {name: ColumnScores() for name in made_by}
    for row in journal.read(path, partial(_key, path=path)).values():
        name = row["metric"]
        counts = ids is None or row["id"] in ids
        if counts and name in columns and _carries(row, made_by[name], adapter):
            _add(columns[name], row, path)
    return columns


def _carries(row: journal.Row, made_by: Evaluator, adapter: str | None) -> bool:
    return (row.get("settings"), row.get("revision")) == made_by and row.get("adapter") == adapter


def _key(row: journal.Row, path: Path) -> Hashable:
    if not isinstance(row.get("id"), str) or not isinstance(row.get("metric"), str):
        raise UserError(f"{path}: a row lacks a text `id` or `metric`: {repr(row)[:200]}")
    return journal.by_metric(row)


def _add(column: ColumnScores, row: journal.Row, path: Path) -> None:
    score, detail = row.get("score"), row.get("detail")
    if detail and isinstance(detail, dict):
        column.details[row["id"]] = detail
    if score is None:
        column.unscored[row["id"]] = str(row.get("reason") or NO_REASON)
    elif type(score) in (int, float) and abs(score) <= LARGEST:
        column.values[row["id"]] = float(score)
    else:
        where = f"{path}, metric {row['metric']}, id {row['id']}"
        raise UserError(f"{where}: expected a finite score or null, found {repr(score)[:80]}")
