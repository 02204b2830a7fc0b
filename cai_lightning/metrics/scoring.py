"""Scores the responses of a run with one evaluator: what is scored already is found by its key, the rest is made."""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from cai_lightning.metrics import ResponseMetric, Scores
from cai_lightning.metrics.base import within_bounds
from cai_lightning.run import jsonl, manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.record_files import read_records
from cai_lightning.run.records import Response, Score

Made = dict[Hashable, Score]
Emit = Callable[[list[Score]], None]
"""Gets the scores of one row, one of each column."""


class Scoring:
    """One evaluator's work on one process.

    Args:
        metric: The evaluator.
        rows: The responses of this process with their row numbers among all test prompts.
        failed: Ids of the prompts that got no response, with the reasons; unscored until a later run gets one.
        run: Folder of the run, whose `scores.jsonl` says what is scored already.
        adapter: Digest of the evaluated adapter.

    Attributes:
        revision: What stands behind the evaluator's settings.
        missing: The rows that it has to score, by number.
    """

    def __init__(
        self,
        metric: ResponseMetric,
        rows: dict[int, Response],
        failed: dict[str, str],
        run: Path,
        adapter: str | None,
    ) -> None:
        self.metric = metric
        self.rows = rows
        self.failed = failed
        self.run = run
        self.adapter = adapter
        self.revision: str | None = None
        self.missing = dict(rows)

    @cached_property
    def settings(self) -> str:
        """Digest of the evaluator's settings."""
        return metric_digest(self.metric)

    def look_up(self, emit: Emit) -> None:
        """Finds the evaluator's revision, and takes over the scores made under it.

        Args:
            emit: Gets what can be written down without the evaluator and does not stand there yet.

        Raises:
            UserError: The evaluator cannot tell its revision; the scores made under the last one then stand. Or a row
                of `scores.jsonl` is malformed.
        """
        made = read_records(self.run / "scores.jsonl", Score, jsonl.by_metric)
        try:
            self.revision = self.metric.revision()
        except UserError:
            self.revision = self._last_revision(made.values())
            raise
        finally:
            self._restore(made, emit)

    def score(self, batch_size: int, emit: Emit) -> None:
        """Scores the missing rows.

        Raises:
            UserError: The evaluator cannot go on; what it has scored is kept.
        """
        numbers = list(self.missing)
        for start in range(0, len(numbers), batch_size):
            batch = numbers[start : start + batch_size]
            responses = [self.missing[number] for number in batch]
            scores = within_bounds(self.metric.score(responses), self.metric.columns)
            self._update(batch, scores.values)
            for records in self._records(responses, scores):
                emit(records)

    @property
    def _names(self) -> list[str]:
        return [column.name for column in self.metric.columns]

    def _last_revision(self, made: Iterable[Score]) -> str | None:
        """The revision of most scores that stand there for these settings."""
        alike = [score for score in made if score.metric in self._names and score.settings == self.settings]
        revisions = Counter(score.revision for score in alike if score.adapter == self.adapter)
        return revisions.most_common(1)[0][0] if revisions else None

    def _restore(self, made: Made, emit: Emit) -> None:
        self.metric.reset()
        self.missing = {}
        for id, reason in self.failed.items():
            emit(self._unscored(id, f"no response: {reason}"))
        by_key: Made = {(score.key, score.metric): score for score in made.values() if score.score is not None}
        for number, response in self.rows.items():
            scores = self._scores_of(response, made, by_key)
            if why := response.why_silent or self.metric.inapplicable(response):
                emit(self._unscored(response.id, why, self._key(response)))
            elif scores:
                self._update([number], {one.metric: torch.tensor([one.score], dtype=torch.float32) for one in scores})
                if any(one != made.get((one.id, one.metric)) for one in scores):
                    emit(scores)
            else:
                self.missing[number] = response

    def _scores_of(self, response: Response, made: Made, by_key: Made) -> list[Score] | None:
        """The scores of a response that were made before, be it under another id or adapter; None if one is missing."""
        key = self._key(response)
        scores = []
        for name in self._names:
            own = made.get((response.id, name))
            score = own if own and own.key == key and own.score is not None else by_key.get((key, name))
            if score is None:
                return None
            scores.append(replace(score, id=response.id, adapter=self.adapter))
        return scores

    def _update(self, numbers: Sequence[int], values: dict[str, torch.Tensor]) -> None:
        self.metric.update(torch.tensor(numbers, dtype=torch.int64), values)

    def _records(self, responses: Sequence[Response], scores: Scores) -> Iterator[list[Score]]:
        details = scores.details or [{} for _ in responses]
        for n, response in enumerate(responses):
            values = [(name, float(scores.values[name][n])) for name in self._names]
            reason = scores.reasons[n] or "no reason given"
            key = self._key(response)
            yield [
                self._record(response.id, name, None, reason, key, details[n])
                if math.isnan(value)
                else self._record(response.id, name, value, None, key, details[n])
                for name, value in values
            ]

    def _unscored(self, id: str, reason: str, key: str | None = None) -> list[Score]:
        return [self._record(id, name, None, reason, key, {}) for name in self._names]

    def _record(
        self, id: str, name: str, score: float | None, reason: str | None, key: str | None, detail: dict[str, Any]
    ) -> Score:
        return Score(id, name, score, reason, detail, self.adapter, self.settings, self.revision, key)

    def _key(self, response: Response) -> str:
        return score_key(self.settings, self.revision, response, self.metric.uses_references)


def metric_digest(metric: ResponseMetric) -> str:
    """16 hex digits that stand for an evaluator and its settings."""
    return manifest.digest(manifest.settings(metric))


def score_key(settings: str, revision: str | None, response: Response, uses_references: bool) -> str:
    """16 hex digits that stand for all that a score depends on.

    Args:
        settings: `metric_digest` of the evaluator.
        revision: What stands behind its settings.
        response: The response that is scored.
        uses_references: Whether the score depends on the reference too.
    """
    reference = response.reference if uses_references else None
    asked = response.turns or response.prompt
    return manifest.digest([settings, revision, asked, response.response, reference])
