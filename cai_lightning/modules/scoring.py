"""Scores the responses of a run with one evaluator, row by row resumable."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cai_lightning import journal, provenance
from cai_lightning.metrics import ResponseMetric, Scores
from cai_lightning.records import Response, Score


@dataclass(frozen=True)
class Scoring:
    """One evaluator's work on one process.

    Args:
        metric: The evaluator.
        rows: The responses of this process with their row numbers among all test prompts.
        failed: Ids of the prompts that got no response, with the reasons; unscored until a later run gets one.
        run: Folder of the run, whose `scores.jsonl` says what is scored already.
        adapter: Digest of the evaluated adapter.
    """

    metric: ResponseMetric
    rows: dict[int, Response]
    failed: dict[str, str]
    run: Path
    adapter: str | None

    @property
    def settings(self) -> str:
        """Digest of the evaluator's settings; scores made under others do not count."""
        return metric_digest(self.metric)

    def restore(self) -> dict[int, Response]:
        """Takes over what is scored already and returns the rows that are missing or unscored."""
        known = journal.read(self.run / "scores.jsonl", journal.by_metric)
        missing = {}
        for number, response in self.rows.items():
            values = [self._known(known.get((response.id, column.name))) for column in self.metric.columns]
            if all(map(math.isfinite, values)):
                self._update([number], dict(zip(self._names, map(torch.tensor, ([v] for v in values)), strict=True)))
            else:
                missing[number] = response
        return missing

    def score(self, missing: dict[int, Response], batch_size: int, emit: Callable[[list[Score]], None]) -> None:
        """Scores the missing rows; `emit` gets one row's scores at a time."""
        for id, reason in self.failed.items():
            emit([self._record(id, name, math.nan, f"no response: {reason}", {}) for name in self._names])
        numbers = list(missing)
        for start in range(0, len(numbers), batch_size):
            batch = numbers[start : start + batch_size]
            responses = [missing[number] for number in batch]
            scores = self.metric.score(responses)
            self._update(batch, scores.values)
            for records in self._records(responses, scores):
                emit(records)

    @property
    def _names(self) -> list[str]:
        return [column.name for column in self.metric.columns]

    def _known(self, row: journal.Row | None) -> float:
        """The score of a row under the present adapter and settings, NaN where there is none."""
        if row is None or row["score"] is None or row.get("adapter") != self.adapter:
            return math.nan
        return float(row["score"]) if row.get("settings") == self.settings else math.nan

    def _update(self, numbers: Sequence[int], values: dict[str, torch.Tensor]) -> None:
        self.metric.update(torch.tensor(numbers, dtype=torch.int64), values)

    def _records(self, responses: Sequence[Response], scores: Scores) -> Iterator[list[Score]]:
        details = scores.details or [{} for _ in responses]
        for n, response in enumerate(responses):
            yield [
                self._record(response.id, name, float(scores.values[name][n]), scores.reasons[n], details[n])
                for name in self._names
            ]

    def _record(self, id: str, name: str, value: float, reason: str | None, detail: dict[str, object]) -> Score:
        scored = math.isfinite(value)
        return Score(
            id=id,
            metric=name,
            score=value if scored else None,
            reason=None if scored else reason or "no reason given",
            detail=detail,
            adapter=self.adapter,
            settings=self.settings,
        )


def metric_digest(metric: ResponseMetric) -> str:
    """16 hex digits that stand for an evaluator's settings."""
    return provenance.digest(provenance.settings(metric))
