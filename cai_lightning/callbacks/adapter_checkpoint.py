"""Keeps the best adapter as a PEFT directory, and says how fast and how well the training goes."""

import math
import shutil
import time
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer

from cai_lightning.errors import UserError


@runtime_checkable
class HasAdapter(Protocol):
    """What trains an adapter, under whatever objective."""

    def save_adapter(self, folder: Path) -> None:
        """Writes the adapter as a PEFT directory."""


class AdapterCheckpoint(Callback):
    """Writes `<run>/adapter` whenever the validation loss is the lowest so far."""

    def __init__(self) -> None:
        self.best: float | None = None
        self.epoch: int | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        loss = float(trainer.callback_metrics["val_loss"])
        if not math.isfinite(loss):
            raise UserError(f"epoch {trainer.current_epoch}: the validation loss is {loss}; lower model.learning_rate.")
        if self.best is None or loss < self.best:
            self.best, self.epoch = loss, trainer.current_epoch
            if trainer.is_global_zero and isinstance(pl_module, HasAdapter):
                _replace(pl_module, Path(trainer.default_root_dir) / "adapter")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.epoch = state_dict["best"], state_dict["epoch"]


class TokenSpeed(Callback):
    """Logs the tokens per second of training, padding left out."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        tokens = int(batch["attention_mask"].sum())
        pl_module.log("tokens_per_s", tokens / (time.perf_counter() - self._began), prog_bar=True, batch_size=1)


def _replace(module: HasAdapter, folder: Path) -> None:
    """Writes the new adapter beside the old one before it takes its place."""
    fresh, old = folder.with_name(".adapter.new"), folder.with_name(".adapter.old")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    module.save_adapter(fresh)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
