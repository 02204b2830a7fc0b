"""Lines about a training in a log file, where Lightning's bar shows nothing: steps, losses, speed and the time left.

fit: step 120/960, loss 1.412, 3,210 tokens/s, 0:41:20 left
fit: step 120/960, validation loss 1.398
"""

import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console

from cai_lightning.callbacks.base import SECONDS_BETWEEN_LINES


def has_bar() -> bool:
    """Whether Lightning's bar can be seen; elsewhere it leaves the table of its last state behind, cell under cell."""
    return Console().is_terminal


class StepLines(Callback):
    """Writes a line every half minute and after every validation, on the first process, where there is no terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, soft_wrap=True)
        self._has_bar = has_bar()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._shown = trainer.is_global_zero and not self._has_bar
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
        now, done = time.monotonic(), trainer.global_step - self._first
        loss = trainer.callback_metrics.get("train_loss")
        parts = [] if loss is None else [f"loss {loss.item():.3f}"]
        if self._tokens and now > self._line:
            parts.append(f"{self._tokens / (now - self._line):,.0f} tokens/s")
        if done and trainer.global_step < self._total:
            left = (now - self._began) / done * (self._total - trainer.global_step)
            parts.append(f"{timedelta(seconds=round(left))} left")
        return parts
