"""Refuses before the first step a training that never comes to a validation: only what was validated is kept."""

import math

from lightning.fabric.utilities.data import sized_len
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from cai_lightning.errors import UserError


class FirstValidation(Callback):
    """Looks at the numbers of batches before the model is loaded, and at the steps before the first of them."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data: LightningDataModule = trainer.datamodule  # type: ignore[attr-defined]
        interval = getattr(trainer, "val_check_interval", None)  # there is none where the clock tells
        if isinstance(interval, int) and trainer.check_val_every_n_epoch is not None:
            _check_interval(interval, sized_len(data.train_dataloader()))
        if isinstance(trainer.limit_val_batches, float) and 0 < trainer.limit_val_batches < 1:
            _check_share(trainer.limit_val_batches, sized_len(data.val_dataloader()))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        first, steps = _first_validation(trainer), trainer.estimated_stepping_batches
        if first > steps:
            raise UserError(
                f"the training ends after {steps} steps, before the first validation (step {first}), and only what was "
                "validated is kept: look at trainer.max_steps, val_check_interval, check_val_every_n_epoch and "
                "limit_val_batches."
            )


def _check_interval(interval: int, batches: int | None) -> None:
    if batches is not None and interval > batches:
        raise UserError(
            f"trainer.val_check_interval: a validation after {interval} batches was asked for, and an epoch has "
            f"{batches}. Take a smaller number, or count over all epochs: trainer.check_val_every_n_epoch null."
        )


def _check_share(share: float, batches: int | None) -> None:
    if batches is not None and int(share * batches) == 0:
        raise UserError(
            f"trainer.limit_val_batches: {share} of {batches} batches is less than one. Take a larger share, or a "
            "number of batches."
        )


def _first_validation(trainer: Trainer) -> float:
    """The optimizer step after which the model is validated first."""
    together, batches = trainer.accumulate_grad_batches, trainer.val_check_batch
    if batches is None:  # told by the clock
        return 0
    if not trainer.enable_validation or math.isinf(batches):
        return math.inf
    if trainer.check_val_every_n_epoch is None:  # batches are counted over all epochs
        full, rest = divmod(batches, trainer.num_training_batches)
        return full * math.ceil(trainer.num_training_batches / together) + math.ceil(rest / together)
    before = (trainer.check_val_every_n_epoch - 1) * math.ceil(trainer.num_training_batches / together)
    return before + math.ceil(batches / together)
