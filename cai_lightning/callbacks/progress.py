"""A progress bar of rows and tokens per second; in a log file, a line every half minute instead."""

import time

from lightning.pytorch import LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cai_lightning.callbacks.base import RecordListener

SECONDS_BETWEEN_LINES = 30.0


class RowProgress(RecordListener):
    """Shows rows done, tokens per second and the time left, on the first process alone."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rows, {task.fields[speed]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._stage: TaskID | None = None
        self._shown = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._shown = trainer.is_global_zero
        if self._shown:
            self._bar.start()

    def on_stage(self, name: str, total: int, done: int) -> None:
        self._end_stage()
        self._stage = self._bar.add_task(name, total=total, completed=done, speed="")
        self._name, self._total, self._rows, self._tokens = name, total, done, 0
        self._began = self._line = time.monotonic()
        self._say()

    def on_reply(self, tokens: int) -> None:
        self._tokens += tokens
        self._show()

    def on_row(self) -> None:
        self._rows += 1
        self._show()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._bar.stop()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._end_stage()
        self._bar.stop()

    def _show(self) -> None:
        if self._stage is not None:
            self._bar.update(self._stage, completed=self._rows, speed=self._speed())
        if time.monotonic() - self._line > SECONDS_BETWEEN_LINES:
            self._say()

    def _say(self) -> None:
        self._line = time.monotonic()
        if self._shown and not self._console.is_terminal:
            self._console.print(f"{self._name}: {self._rows}/{self._total} rows{self._speed(', ')}", highlight=False)

    def _end_stage(self) -> None:
        if self._stage is not None:
            self._say()
            self._stage = None

    def _speed(self, before: str = "") -> str:
        seconds = time.monotonic() - self._began
        return f"{before}{self._tokens / seconds:,.0f} tokens/s" if self._tokens and seconds > 0 else ""
