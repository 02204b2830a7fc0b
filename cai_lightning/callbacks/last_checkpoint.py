"""Keeps `<run>/checkpoints/last.ckpt`, from which a training that was killed goes on with the same command."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from cai_lightning.errors import UserError


class LastCheckpoint(Checkpoint):
    """Saves after every so many steps, and at the end of each epoch.

    Where a validation falls on a step, it comes first: whoever goes on from a checkpoint does not look back, and what
    the validation would have kept would be lost. The last step of an epoch is left to the epoch's end, for others, such
    as EarlyStopping, have something to say there.

    Args:
        every: Optimizer steps between two checkpoints; with 0 there are only those of the epochs.

    Raises:
        UserError: The number is negative.
    """

    def __init__(self, every: int) -> None:
        if every < 0:
            raise UserError(f"--checkpoint_every: a number of steps from 0 on expected, found {every}.")
        self.every = every
        self._step, self._due = 0, False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        whole, self._step = trainer.global_step > self._step, trainer.global_step  # else gradients would be lost
        self._due = bool(whole and self.every and self._step % self.every == 0 and not trainer.is_last_batch)
        if self._due and not _validation_follows(trainer):
            _save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._due:
            _save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _save(trainer)


def _validation_follows(trainer: Trainer) -> bool:
    """What Lightning asks itself right after the batch."""
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)


def _save(trainer: Trainer) -> None:
    trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt")
