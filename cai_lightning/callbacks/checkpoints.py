"""Checkpoints of a training: the last one, to go on from, and the best one, to use; each whole or not there.

`<run>/checkpoints/last.ckpt` is what the same command goes on from after a kill; `<run>/adapter` (or `model`) is the
state of the best validation, that of the lowest loss unless the objective says otherwise, ready for `from_pretrained`.
Both are written beside the old one, and then put in its place. Only what was validated is kept, so a training that
never comes to a validation is refused before its first step.
"""

import math
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol, cast, runtime_checkable

import torch
from lightning.fabric.utilities.data import sized_len
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins import CheckpointIO

from cai_lightning.callbacks.recording import journals
from cai_lightning.models.policy import trained_state
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError, WriteError
from cai_lightning.run.files import replace_file, replacing
from cai_lightning.run.records import GUARDS, Rollout

TRAINED = manifest.Outputs(
    "fit", ("adapter", "model", "checkpoints", *journals(Rollout)), beside=("reference.safetensors", GUARDS)
)
"""What a training makes in the run's folder, under whatever objective."""


class WholeCheckpoints(CheckpointIO):
    """Writes and reads `.ckpt` files; a kill or a full disk leaves the last good one where it is."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        try:
            replace_file(Path(path), partial(torch.save, checkpoint))
        except RuntimeError as error:  # of torch's writer, where the disk is full
            raise WriteError(f"{path}: the checkpoint cannot be written ({error!s:.120}).") from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        try:
            checkpoint = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        except (RuntimeError, EOFError, UnpicklingError) as error:
            raise _unreadable(path, str(error)) from error
        if not (isinstance(checkpoint, dict) and {"pytorch-lightning_version", "state_dict"} <= checkpoint.keys()):
            raise _unreadable(path, "it is none of a training")
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def _unreadable(path: Any, why: str) -> UserError:
    return UserError(f"{path}: no readable checkpoint ({why:.120}). Remove it, or begin anew: --fresh.")


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
            raise UserError(f"--checkpoint_every: must be ≥ 0, not {every}.")
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
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)  # type: ignore[arg-type]


def _save(trainer: Trainer) -> None:
    trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt")


@runtime_checkable
class Stopping(Protocol):
    """A callback that may end a training because its policy has gone astray."""

    stopped: str | None
    """Why it has; None as long as it has not."""


def why_stopped(trainer: Trainer) -> str | None:
    """Why a callback has ended a training, whose last state is then not to be kept; None where none has."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((each.stopped for each in callbacks if isinstance(each, Stopping) and each.stopped), None)


class BestCheckpoint(Callback):
    """Writes `<run>/adapter` (or `model`) whenever a validation is the best so far, and notes its step.

    A state for which a callback ends the training (`Stopping`) is none of them.

    What is trained says by `monitor` which figure tells that, by `output` which of the two it is, and writes it by
    `save`, as every `PolicyModule` does.
    """

    def __init__(self) -> None:
        self.best: float | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or why_stopped(trainer):
            return
        policy = cast(Any, pl_module)
        name, mode = policy.monitor
        value = float(trainer.callback_metrics[name])
        if not math.isfinite(value):
            called = "loss" if name == "val_loss" else name
            raise UserError(
                f"epoch {trainer.current_epoch}: the validation {called} is {value}; lower model.learning_rate."
            )
        if self.best is not None and (value >= self.best if mode == "min" else value <= self.best):
            return
        self.best = value
        run, trained = Path(trainer.default_root_dir), trained_state(pl_module)
        if trainer.is_global_zero:
            with replacing(run / policy.output) as fresh:
                policy.save(fresh, trained)
            manifest.add(run, "fit", kept={"step": trainer.global_step, "of": int(trainer.estimated_stepping_batches)})

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]


class FirstValidation(Callback):
    """Looks at the numbers of batches before the model is loaded, and at the steps before the first of them."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data: LightningDataModule = trainer.datamodule  # type: ignore[attr-defined]
        interval = getattr(trainer, "val_check_interval", None)  # there is none where the clock tells
        batches, share = sized_len(data.train_dataloader()) or math.inf, trainer.limit_val_batches
        if isinstance(interval, int) and trainer.check_val_every_n_epoch is not None and interval > batches:
            raise UserError(
                f"trainer.val_check_interval: a validation after {interval} batches was asked for, and an epoch has "
                f"{batches}. Take a smaller number, or count over all epochs: trainer.check_val_every_n_epoch null."
            )
        batches = sized_len(data.val_dataloader()) or math.inf
        if isinstance(share, float) and 0 < share < 1 and share * batches < 1:
            raise UserError(
                f"trainer.limit_val_batches: {share} of {batches} batches is less than one. Take a larger share, or a "
                "number of batches."
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        first, steps = _first_validation(trainer), trainer.estimated_stepping_batches
        if first > steps:
            raise UserError(
                f"the training ends after {steps} steps, before the first validation (step {first}), and only what was "
                "validated is kept: look at trainer.max_steps, val_check_interval, check_val_every_n_epoch and "
                "limit_val_batches."
            )


def _first_validation(trainer: Trainer) -> float:
    """The optimizer step after which the model is validated first."""
    together, batches = trainer.accumulate_grad_batches, trainer.val_check_batch
    if batches is None:  # told by the clock
        return 0
    if not trainer.enable_validation or math.isinf(batches):
        return math.inf
    every = trainer.check_val_every_n_epoch  # without it, batches are counted over all epochs
    epochs, rest = divmod(batches, trainer.num_training_batches) if every is None else (every - 1, batches)
    return epochs * math.ceil(trainer.num_training_batches / together) + math.ceil(rest / together)
