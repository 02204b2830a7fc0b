"""What a verb says of its progress: what it is about to do, a bar in a terminal, a line every half minute in a log.

    revisions: 120/979 rows, 2 failed, 4 of 366 replies cut, 1,432 tokens/s, 0:07:03 left
    fit: step 120/960, loss 1.412, 3,210 tokens/s, 0:41:20 left
    fit: step 120/960, validation loss 1.398

A training begins with a statement of the corpus, the steps and the memory, so that a mistake is seen before the hours
are spent; in a terminal its bar is Lightning's.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from cai_lightning.callbacks.recording import (
    SECONDS_BETWEEN_LINES,
    RecordListener,
    RecordWriter,
    Sink,
    merge_records,
)
from cai_lightning.run.records import Record


@runtime_checkable
class Stating(Protocol):
    """What can say in a few lines what it brings to a training."""

    def statement(self) -> str:
        """Lines for a person."""


class Statement(Callback):
    """Prints the corpus, the steps, the trained parameters and an estimate of the memory."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        parts: Sequence[Any] = (trainer.datamodule, pl_module)  # type: ignore[attr-defined]
        told = [part.statement() for part in parts if isinstance(part, Stating)]
        total, done = int(trainer.estimated_stepping_batches), trainer.global_step
        begun = f", {done:,} of them done" if done else ""
        batches = trainer.accumulate_grad_batches * trainer.world_size
        epochs = f"; epochs: at most {trainer.max_epochs}" if trainer.max_epochs != -1 else ""
        steps = f"steps: {total:,}{begun}; batches in a step: {batches}{epochs}"
        rank_zero_info("\n".join([*told, steps]))


class RowProgress(RecordListener):
    """Shows rows done and failed, replies cut at their limit, tokens per second and the time left.

    The first process does so, and for its share alone.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._shown, self._share = False, ""

    def start(self, processes: int = 1) -> None:
        """Begins to show what this process does."""
        self._shown = True
        self._share = f" (process 1 of {processes})" if processes > 1 else ""
        self._bar.start()

    def stop(self) -> None:
        self._say()
        self._bar.stop()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.is_global_zero:
            self.start(trainer.world_size)

    def on_stage(self, name: str, total: int, done: int) -> None:
        self._say()  # how the stage before has ended
        self._name, self._total, self._before, self._rows = name + self._share, total, done, done
        self._counts = Counter[str]()
        self._began = time.monotonic()
        self._bar.add_task(self._name, total=total, completed=done, state="")
        self._say()

    def on_reply(self, prompt_tokens: int, tokens: int, cut: bool) -> None:
        self._counts.update(tokens=tokens, replies=1, cut=int(cut))
        self._show()

    def on_row(self, failed: bool = False) -> None:
        self._counts["failed"] += failed
        self._rows += not failed
        self._show()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._bar.stop()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.stop()

    def _show(self) -> None:
        completed = self._rows + self._counts["failed"]
        self._bar.update(self._bar.task_ids[-1], completed=completed, state=self._state())
        if time.monotonic() - self._line > SECONDS_BETWEEN_LINES:
            self._say()

    def _say(self) -> None:
        self._line = time.monotonic()
        if self._shown and self._bar.task_ids and not self._console.is_terminal:
            self._console.print(f"{self._name}: {self._state()}", highlight=False)

    def _state(self) -> str:
        """Such as `120/979 rows, 2 failed, 4 of 366 replies cut, 1,432 tokens/s, 0:07:03 left`."""
        seconds, counts = time.monotonic() - self._began, self._counts
        ended = self._rows - self._before + counts["failed"]
        parts = [f"{self._rows}/{self._total} rows"]
        if counts["failed"]:
            parts.append(f"{counts['failed']} failed")
        if counts["cut"]:
            parts.append(f"{counts['cut']} of {counts['replies']} replies cut")
        parts += _speed(counts["tokens"], seconds)
        return ", ".join([*parts, *_left(seconds, ended, self._total - self._before - ended)])


def _speed(tokens: int, seconds: float) -> list[str]:
    """Such as `1,432 tokens/s`; nothing where there are none yet."""
    return [f"{tokens / seconds:,.0f} tokens/s"] if tokens and seconds > 0 else []


def _left(seconds: float, done: int, rest: int) -> list[str]:
    """Such as `0:07:03 left`, as fast as what is done; nothing where nothing is done, or nothing is left."""
    return [f"{timedelta(seconds=round(seconds / done * rest))} left"] if done and rest > 0 else []


@contextmanager
def recording(folder: Path, kind: type[Record], order: Sequence[str] = ()) -> Iterator[Sink]:
    """Keeps the records of one kind that are made without a trainer, and shows how far they are.

    Args:
        folder: Where their file is, which is merged before and after.
        kind: Their kind.
        order: Ids in the order that the file shall have.
    """
    writer, bar = RecordWriter(kind), RowProgress()
    merge_records(folder, [kind], order)
    writer.open(folder)
    bar.start()
    try:
        yield Sink(writer, bar)
    finally:
        bar.stop()
        writer.close()
        merge_records(folder, [kind], order)


def has_bar() -> bool:
    """Whether Lightning's bar can be seen; elsewhere it leaves the table of its last state behind, cell under cell."""
    return Console().is_terminal


class StepLines(Callback):
    """Writes a line every half minute and after every validation, on the first process, where there is no terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, soft_wrap=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._shown = trainer.is_global_zero and not has_bar()
        self._total, self._first = int(trainer.estimated_stepping_batches), trainer.global_step
        self._began = time.monotonic()
        self._restart()
        self._say(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._tokens += batch["tokens"] * trainer.world_size
        if time.monotonic() - self._line > SECONDS_BETWEEN_LINES:
            self._say(trainer, *self._state(trainer))
            self._restart()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = trainer.callback_metrics.get("val_loss")
        if loss is not None and not trainer.sanity_checking:
            self._say(trainer, f"validation loss {loss.item():.3f}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._say(trainer, *self._state(trainer))

    def _restart(self) -> None:
        self._line, self._tokens = time.monotonic(), 0

    def _say(self, trainer: Trainer, *parts: str) -> None:
        if self._shown:
            self._console.print(", ".join([f"fit: step {trainer.global_step}/{self._total}", *parts]), highlight=False)

    def _state(self, trainer: Trainer) -> list[str]:
        """Such as `loss 1.412`, `3,210 tokens/s`, `0:41:20 left`."""
        now, step = time.monotonic(), trainer.global_step
        loss = trainer.callback_metrics.get("train_loss")
        parts = [] if loss is None else [f"loss {loss.item():.3f}"]
        parts += _speed(self._tokens, now - self._line)
        return [*parts, *_left(now - self._began, step - self._first, self._total - step)]
