"""Scores responses with one evaluator after the other: what is scored is found by its key, the rest is made.

scorer = Scorer(run, sink, trainer.strategy, prompts)
outcome = scorer.score(metric, responses, failed={}, adapter=None)
outcome.not_run or metric.compute()

`validate` runs it on all processes, `audit` on one. Each score is handed to the sink as soon as it is known.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.pytorch.strategies import Strategy

from cai_lightning.metrics.base import ResponseMetric, within_bounds
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError, WriteError, first_sentence, is_out_of_memory
from cai_lightning.run.jsonl import read_records
from cai_lightning.run.records import Response, Score

NO_REASON = "no reason given"
STALE = "the response has changed since it was scored"


class Sink(Protocol):
    """Takes scores as they are made."""

    def stage(self, name: str, total: int, done: int) -> None:
        """An evaluator begins, with so many rows on this process."""

    def record(self, *records: Score) -> None:
        """Scores are made."""

    def row(self) -> None:
        """A row has all its scores."""


@dataclass(frozen=True)
class Outcome:
    """What became of an evaluator, on all processes together.

    Args:
        metric: The evaluator, which knows the scores.
        revision: What stood behind its settings.
        not_run: Why it could not run, or not to its end; None where it did.
    """

    metric: ResponseMetric
    revision: str | None
    not_run: str | None

    @property
    def name(self) -> str:
        """The evaluator is named by its first column."""
        return self.metric.columns[0].name


class Scorer:
    """Runs evaluators; one that cannot run says why, and the next one is run.

    Args:
        run: Folder whose `scores.jsonl` says what is scored already.
        sink: Gets the scores.
        strategy: Knows the other processes, all of which take every step together, so that none waits for another
            that has given up.
        prompts: The ids of the responses of all processes, with what each shares with the others about its prompt.
        batch_size: Responses handed to an evaluator at once.
    """

    def __init__(
        self, run: Path, sink: Sink, strategy: Strategy, prompts: Mapping[str, str], batch_size: int = 64
    ) -> None:
        self.run = run
        self.sink = sink
        self.strategy = strategy
        self.places = numbered(prompts)
        self.batch_size = batch_size

    def score(
        self, metric: ResponseMetric, responses: Sequence[Response], failed: Mapping[str, str], adapter: str | None
    ) -> Outcome:
        """Scores the responses of this process with an evaluator, loaded only where something is left to score.

        Args:
            metric: The evaluator.
            responses: Those of this process.
            failed: Ids of the prompts that got no response, with the reasons; unscored until a later run gets one.
            adapter: Digest of the evaluated adapter.
        """
        work = _Work(self, metric, responses, failed, adapter)
        why = self._try(work.look_up)
        total = len(responses) + len(failed)
        self.sink.stage(type(metric).__name__, total, total - len(work.missing))
        if why is None and not self.strategy.reduce_boolean_decision(not work.missing):
            why = self._try(work.load) or self._try(work.score)
            metric.free()
        return Outcome(metric, work.revision, why)

    def _try(self, step: Callable[[], None]) -> str | None:
        """Why an evaluator does not get through a step on every process, the first reason of several.

        What the user can mend, or the machine lacks, is a reason; every other error is a mistake in the evaluator.
        """
        why = None
        try:
            step()
        except WriteError:
            raise
        except UserError as error:
            why = str(error) or NO_REASON
        except ModuleNotFoundError as error:
            why = f"the package {error.name} is not installed."
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            why = f"not enough memory ({first_sentence(error)}); lower its batch size, or free some."
        processes: int = self.strategy.world_size  # type: ignore[attr-defined]
        reasons = [self.strategy.broadcast(why, rank) for rank in range(processes)]
        return next(filter(None, reasons), None)


Made = Mapping[Hashable, Score]
"""Scores by id and column, or by key and column."""


@dataclass
class _Work:
    """One evaluator's work on one process; `missing` are the responses that it has to score."""

    scorer: Scorer
    metric: ResponseMetric
    responses: Sequence[Response]
    failed: Mapping[str, str]
    adapter: str | None
    revision: str | None = None

    def __post_init__(self) -> None:
        self.sink = self.scorer.sink
        self.settings = metric_digest(self.metric)
        self.names = [column.name for column in self.metric.columns]
        self.missing = list(self.responses)

    def look_up(self) -> None:
        """Finds the evaluator's revision, and takes over the scores made under it.

        Raises:
            UserError: The evaluator cannot tell its revision; the scores made under the last one then stand. Or a row
                of `scores.jsonl` is malformed.
        """
        made = read_records(self.scorer.run / "scores.jsonl", Score)
        try:
            self.revision = self.metric.revision()
        except UserError:
            self.revision = self._last_revision(made.values())
            raise
        finally:
            self._restore(made)

    def load(self) -> None:
        """Loads the evaluator, which may fetch another revision of its model; then scores are looked up again."""
        self.metric.load(self.scorer.strategy.root_device)
        if self.metric.revision() != self.revision:
            self.look_up()

    def score(self) -> None:
        """Scores the missing responses.

        Raises:
            UserError: The evaluator cannot go on; what it has scored is kept.
        """
        size = self.scorer.batch_size
        for start in range(0, len(self.missing), size):
            batch = self.missing[start : start + size]
            scores = within_bounds(self.metric.score(batch), self.metric.columns)
            self._update(batch, scores.values)
            details = scores.details or [{} for _ in batch]
            for n, response in enumerate(batch):
                key, reason = self._key(response), scores.reasons[n]
                values = {name: float(scores.values[name][n]) for name in self.names}
                scored = (self._record(response.id, name, values[name], reason, key, details[n]) for name in values)
                self.sink.record(*scored)
                self.sink.row()

    def _last_revision(self, made: Iterable[Score]) -> str | None:
        """The revision of most scores that stand there for these settings."""
        alike = [score for score in made if score.metric in self.names and score.settings == self.settings]
        revisions = Counter(score.revision for score in alike if score.adapter == self.adapter)
        return revisions.most_common(1)[0][0] if revisions else None

    def _restore(self, made: Made) -> None:
        self.metric.reset()
        self.missing = []
        for id, reason in self.failed.items():
            self._unscored(id, f"no response: {reason}")
        by_key: Made = {(score.key, score.metric): score for score in made.values() if score.score is not None}
        for response in self.responses:
            if why := response.why_silent or self.metric.inapplicable(response):
                self._unscored(response.id, why, self._key(response))
            else:
                self._take_over(response, made, by_key)

    def _take_over(self, response: Response, made: Made, by_key: Made) -> None:
        """Takes over what is known of a response; where that is not all, it is scored anew."""
        known = {name: self._known(response, name, made, by_key) for name in self.names}
        scores = {name: score.score if score else None for name, score in known.items()}
        values = {name: torch.tensor([math.nan if score is None else score]) for name, score in scores.items()}
        self._update([response], values)
        if None in scores.values():
            self.missing.append(response)
        self.sink.record(*(score for name, score in known.items() if score and score != made.get((score.id, name))))

    def _known(self, response: Response, name: str, made: Made, by_key: Made) -> Score | None:
        """A score of a response that was made before, be it under another id or adapter.

        One of a response that stood here before stands no more.
        """
        key = self._key(response)
        own = made.get((response.id, name))
        score = own if own and own.key == key and own.score is not None else by_key.get((key, name))
        if score is not None:
            # A tensor holds a score in single precision, as the metric does.
            return replace(score, id=response.id, adapter=self.adapter, score=torch.tensor(score.score).item())
        made_by = self.settings, self.revision, self.adapter
        if own is None or own.score is None or (own.settings, own.revision, own.adapter) != made_by:
            return None
        return self._record(response.id, name, math.nan, STALE, None, {})

    def _update(self, responses: Sequence[Response], values: dict[str, torch.Tensor]) -> None:
        numbers, prompts = torch.tensor([self.scorer.places[response.id] for response in responses]).T
        self.metric.update(numbers, values, prompts)

    def _unscored(self, id: str, reason: str, key: str | None = None) -> None:
        self.sink.record(*(self._record(id, name, math.nan, reason, key, {}) for name in self.names))

    def _record(
        self, id: str, name: str, score: float, reason: str | None, key: str | None, detail: dict[str, Any]
    ) -> Score:
        known = None if math.isnan(score) else score
        why = (reason or NO_REASON) if known is None else None
        return Score(id, name, known, why, detail, self.adapter, self.settings, self.revision, key)

    def _key(self, response: Response) -> str:
        """16 hex digits that stand for all that a score depends on, the reference only where the evaluator reads it."""
        reference = response.reference if self.metric.uses_references else None
        asked = response.turns or response.prompt
        return manifest.digest([self.settings, self.revision, asked, response.response, reference])


def numbered(prompts: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """The place of each id among all ids in their order, and that of its prompt among all prompts."""
    places = {prompt: place for place, prompt in enumerate(sorted(set(prompts.values())))}
    return {id: (number, places[prompts[id]]) for number, id in enumerate(sorted(prompts))}


def metric_digest(metric: ResponseMetric) -> str:
    """16 hex digits that stand for an evaluator and its settings."""
    return manifest.digest(manifest.settings(metric))
