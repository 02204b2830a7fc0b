"""Keeps the best adapter as a PEFT directory, or the best model where the whole of it is trained."""

import math
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from cai_lightning import provenance
from cai_lightning.errors import UserError
from cai_lightning.folders import replacing


@runtime_checkable
class Saveable(Protocol):
    """What trains an adapter or a model, under whatever objective."""

    output: Literal["adapter", "model"]
    """The folder of the run in which the best one is kept."""

    def trained_state(self) -> dict[str, Tensor]:
        """What is trained, gathered from all processes."""

    def save(self, folder: Path, trained: dict[str, Tensor]) -> None:
        """Writes what was gathered, ready for `from_pretrained`."""


class BestCheckpoint(Callback):
    """Writes `<run>/adapter` (or `model`) whenever the validation loss is the lowest so far."""

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
            if isinstance(pl_module, Saveable):
                trained = pl_module.trained_state()
                if trainer.is_global_zero:
                    with replacing(Path(trainer.default_root_dir) / pl_module.output) as fresh:
                        pl_module.save(fresh, trained)
                    _note(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.epoch = state_dict["best"], state_dict["epoch"]


def _note(trainer: Trainer) -> None:
    """Notes of which step the best one is, for whoever finds it before the training has ended."""
    run, steps = Path(trainer.default_root_dir), trainer.estimated_stepping_batches
    if (run / "fit.json").is_file():
        provenance.add(run, "fit", kept={"step": trainer.global_step, "of": int(steps)})
