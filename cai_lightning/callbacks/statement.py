"""Says before the first step what is about to be done, so that a mistake is seen before the hours are spent."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info


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
        rank_zero_info("\n".join([*told, _steps(trainer)]))


def _steps(trainer: Trainer) -> str:
    total, done = int(trainer.estimated_stepping_batches), trainer.global_step
    batches = trainer.accumulate_grad_batches * trainer.world_size
    begun = f", {done:,} of them done" if done else ""
    return f"steps: {total:,}{begun}; batches in a step: {batches}; epochs: at most {trainer.max_epochs}"
