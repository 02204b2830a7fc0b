"""A bar of rows, replies cut, tokens per second and the time left; in a log file, a line every half minute instead."""

import time
from datetime import timedelta

from lightning.pytorch import LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from cai_lightning.callbacks.base import SECONDS_BETWEEN_LINES, RecordListener
from cai_lightning.engines import Reply


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
        self._stage: TaskID | None = None
        self._shown = False
        self._share = ""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._shown = trainer.is_global_zero
        self._share = f" (process 1 of {trainer.world_size})" if trainer.world_size > 1 else ""
        if self._shown:
            self._bar.start()

    def on_stage(self, name: str, total: int, done: int) -> None:
        self._end_stage()
        self._name = name + self._share
        self._total, self._before, self._rows, self._failed, self._tokens = total, done, done, 0, 0
        self._replies, self._cut = 0, 0
        self._began = time.monotonic()
        self._stage = self._bar.add_task(self._name, total=total, completed=done, state="")
        self._say()

    def on_reply(self, reply: Reply) -> None:
        self._tokens += reply.tokens
        self._replies += 1
        self._cut += reply.finish_reason == "length"
        self._show()

    def on_row(self, failed: bool = False) -> None:
        self._failed += failed
        self._rows += not failed
        self._show()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._bar.stop()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._end_stage()
        self._bar.stop()

    def _show(self) -> None:
        if self._stage is not None:
            self._bar.update(self._stage, completed=self._rows + self._failed, state=self._state())
        if time.monotonic() - self._line > SECONDS_BETWEEN_LINES:
            self._say()

    def _say(self) -> None:
        self._line = time.monotonic()
        if self._shown and not self._console.is_terminal:
            self._console.print(f"{self._name}: {self._state()}", highlight=False)

    def _end_stage(self) -> None:
        if self._stage is not None:
            self._say()
            self._stage = None

    def _state(self) -> str:
        """Such as `120/979 rows, 2 failed, 4 of 366 replies cut, 1,432 tokens/s, 0:07:03 left`."""
        seconds = time.monotonic() - self._began
        ended = self._rows - self._before + self._failed
        left = self._total - self._rows - self._failed
        parts = [f"{self._rows}/{self._total} rows"]
        if self._failed:
            parts.append(f"{self._failed} failed")
        if self._cut:
            parts.append(f"{self._cut} of {self._replies} replies cut")
        if self._tokens and seconds > 0:
            parts.append(f"{self._tokens / seconds:,.0f} tokens/s")
        if ended and left:
            parts.append(f"{timedelta(seconds=round(seconds / ended * left))} left")
        return ", ".join(parts)
