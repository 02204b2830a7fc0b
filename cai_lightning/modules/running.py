"""Runs one evaluator after the other on all processes; one that cannot run says why, and the others go on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from lightning.pytorch import Trainer

from cai_lightning.callbacks.recording import listeners
from cai_lightning.metrics import ResponseMetric
from cai_lightning.metrics.scoring import Scoring
from cai_lightning.models.memory import is_out_of_memory
from cai_lightning.run.errors import UserError, WriteError
from cai_lightning.run.records import Score

NO_REASON = "no reason given"


@contextmanager
def able_to_run() -> Iterator[None]:
    """Turns what a machine lacks into a `UserError`; every other error is a mistake in the evaluator, and stays one."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"not enough memory ({_first_sentence(error)}); lower its batch size, or free some.") from error
    except ModuleNotFoundError as error:
        raise UserError(f"the package {error.name} is not installed.") from error


@dataclass(frozen=True)
class Running:
    """What evaluators run on, and what became of them, by the name of their first column.

    All processes take every step together, so that none waits for another that has given up.

    Args:
        trainer: Knows the other processes, and who listens.
        device: Where the weights are loaded.
        batch_size: Responses handed to an evaluator at once.
        not_run: Why an evaluator could not run, or not to its end.
        revisions: What stood behind an evaluator's settings.
    """

    trainer: Trainer
    device: torch.device
    batch_size: int
    not_run: dict[str, str] = field(default_factory=dict)
    revisions: dict[str, str | None] = field(default_factory=dict)

    def run(self, scoring: Scoring) -> None:
        """Runs an evaluator, and loads it only where a process has something left to score."""
        metric, known = scoring.metric, list[list[Score]]()
        looked_up = self._try(metric, lambda: scoring.look_up(known.append))
        self._announce(scoring, len(known))
        for scores in known:
            self._emit(scores)
        if looked_up and self._any(scoring.missing):
            if self._try(metric, lambda: self._load(scoring)):
                self._try(metric, lambda: scoring.score(self.batch_size, self._emit))
            metric.free()
        self.revisions[metric.columns[0].name] = scoring.revision

    def _load(self, scoring: Scoring) -> None:
        """Loads an evaluator, which may fetch another revision of its model; then the scores are looked up again."""
        scoring.metric.load(self.device)
        if scoring.metric.revision() != scoring.revision:
            scoring.look_up(self._emit)

    def _try(self, metric: ResponseMetric, step: Callable[[], None]) -> bool:
        """Whether an evaluator gets through a step on every process; if not, the first reason is kept."""
        why = None
        try:
            with able_to_run():
                step()
        except WriteError:
            raise
        except UserError as error:
            why = str(error) or NO_REASON
        ranks = range(self.trainer.world_size)
        reasons = [reason for rank in ranks if (reason := self.trainer.strategy.broadcast(why, rank))]
        if reasons:
            self.not_run[metric.columns[0].name] = reasons[0]
        return not reasons

    def _any(self, missing: object) -> bool:
        """Whether something is missing on any process."""
        return not self.trainer.strategy.reduce_boolean_decision(not missing)

    def _announce(self, scoring: Scoring, known: int) -> None:
        total = len(scoring.rows) + len(scoring.failed)
        for listener in listeners(self.trainer):
            listener.on_stage(type(scoring.metric).__name__, total, total - known - len(scoring.missing))

    def _emit(self, scores: list[Score]) -> None:
        for listener in listeners(self.trainer):
            for score in scores:
                listener.on_record(score)
            listener.on_row()


def _first_sentence(error: BaseException) -> str:
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return line.split(". ")[0].rstrip(".")
