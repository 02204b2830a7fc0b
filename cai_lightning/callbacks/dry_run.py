"""`predict --dry-run`: makes the first rows, throws them away, and says what the others would take."""

import time
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from rich.console import Console
from rich.table import Column, Table

from cai_lightning.callbacks.recording import RecordListener
from cai_lightning.data.prompt_data import PromptData
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Failure, Record

MOST_ROWS = 16
"""Rows that a process tries; enough for a mean, few enough to be thrown away."""


@dataclass(frozen=True)
class Price:
    """What the model costs, in US dollars.

    Args:
        per_million_prompt_tokens: For the tokens of the conversations sent.
        per_million_tokens: For the tokens written.
        per_hour: For the machine, or for all of them together.
    """

    per_million_prompt_tokens: float = 0.0
    per_million_tokens: float = 0.0
    per_hour: float = 0.0


@dataclass(frozen=True)
class Trial:
    """What the first rows took, on one process.

    Args:
        rows: How many were made, all of them in flight together.
        seconds: How long one took from its beginning to its end, on average; where there are several stages, in all of
            them together.
        prompt_tokens: Tokens of a row's conversations, on average.
        tokens: Tokens written for a row, on average.
    """

    rows: int
    seconds: float
    prompt_tokens: float
    tokens: float

    def time(self, rows: int, width: int) -> tuple[float, float]:
        """The least and the most seconds that `rows` rows take on this process where `width` are in flight.

        With n rows in flight, each of which takes s seconds, one is finished every s / n seconds (Little's law). Where
        more are in flight than were tried, the engine may be as quick for each of them, or gain nothing by it.
        """
        total = rows * self.seconds
        return total / max(self.rows, min(width, rows)), total / self.rows


class DryRun(RecordListener):
    """Tries the first rows of every process; the first process prints the table of its own figures."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        chain: Any = pl_module  # such as CritiqueRevision
        self._data: PromptData = trainer.datamodule  # type: ignore[attr-defined]
        self._width, self._price = chain.engine.concurrency, chain.price or Price()
        self._data.first = max(1, min(self._width, MOST_ROWS) // self._data.rows_each)
        self._stages: list[list[float]] = []
        self._prompt_tokens, self._tokens = 0, 0
        self._failures: list[Failure] = []

    def on_stage(self, name: str, total: int, done: int) -> None:
        self._began = time.monotonic()
        self._stages.append([])

    def on_choice(self, prompt_tokens: int) -> None:
        self._prompt_tokens += prompt_tokens

    def on_reply(self, prompt_tokens: int, tokens: int, cut: bool) -> None:
        self._prompt_tokens += prompt_tokens
        self._tokens += tokens

    def on_record(self, record: Record) -> None:
        if isinstance(record, Failure):
            self._failures.append(record)

    def on_row(self, failed: bool = False) -> None:
        if not failed:
            self._stages[-1].append(time.monotonic() - self._began)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        console, processes, missing = Console(), trainer.world_size, len(self._data.unmade)
        console.print(f"dry run: {missing} of {len(self._data.wanted)} rows are to be made", highlight=False)
        if made := self._stages[-1] if self._stages else []:
            n = len(made)
            trial = Trial(n, sum(map(fmean, filter(None, self._stages))), self._prompt_tokens / n, self._tokens / n)
            console.print(_table(trial, missing, processes, self._width, self._price))
            console.print(_note(trial, processes, self._width), highlight=False, soft_wrap=True)
        if self._failures:
            tried, last = len(made) + len(self._failures), self._failures[-1]
            raise UserError(f"{len(self._failures)} of {tried} rows failed, one in its {last.stage}: {last.reason}")


def _table(trial: Trial, rows: int, processes: int, width: int, price: Price) -> Table:
    seconds = trial.time(-(-rows // processes), width)
    in_all = [rows * trial.prompt_tokens, rows * trial.tokens]
    table = Table("", Column("a row", justify="right"), Column(f"{rows:,} rows", justify="right"), box=None)
    asked = [f"{n:,.0f}" for n in (trial.prompt_tokens, in_all[0])]
    table.add_row("prompt tokens", *(asked if trial.prompt_tokens else ["", "not told by this engine"]))
    table.add_row("written tokens", f"{trial.tokens:,.0f}", f"{in_all[1]:,.0f}")
    table.add_row("time on this machine", "", _range(*(str(timedelta(seconds=round(each))) for each in seconds)))
    if price != Price():
        tokens = (in_all[0] * price.per_million_prompt_tokens + in_all[1] * price.per_million_tokens) / 1e6
        dollars = [f"{tokens + each / 3600 * price.per_hour:,.2f}" for each in seconds]
        table.add_row("US dollars" if trial.prompt_tokens else "US dollars without prompts", "", _range(*dollars))
    return table


def _range(least: str, most: str) -> str:
    return most if least == most else f"{least} to {most}"


def _note(trial: Trial, processes: int, width: int) -> str:
    where = f" on each of {processes} processes" if processes > 1 else ""
    text = (
        f"Measured on {trial.rows} rows in flight together{where}, which were thrown away: each took "
        f"{trial.seconds:.1f} s, so that one was finished every {trial.seconds / trial.rows:.2f} s."
    )
    if width > trial.rows:
        text += (
            f" predict keeps {width} in flight: the first figure holds if each is as quick then, the second if the "
            "engine gains nothing by it."
        )
    return text
