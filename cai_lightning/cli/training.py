"""A training of the command line, from its last checkpoint to its end.

train(trainer, run, {"model": model, "datamodule": data, "ckpt_path": None})
finish(trainer, run, "adapter")
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info

from cai_lightning.cli import trainer_settings
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError

DETERMINING = (
    "precision",
    "max_epochs",
    "max_steps",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "val_check_interval",
    "check_val_every_n_epoch",
    "devices",
    "num_nodes",
    "limit_val_batches",
)


def determining(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that change what fit learns, by dotted name."""
    return {f"trainer.{name}": trainer[name] for name in DETERMINING}


def train(trainer: Trainer, run: Path, arguments: Mapping[str, Any]) -> None:
    """Trains from a checkpoint: the one that is named, or else the last one where there is one.

    Args:
        trainer: What trains.
        run: The run's folder.
        arguments: Those of `Trainer.fit`.
    """
    begun, last = arguments["ckpt_path"], _last_checkpoint(run)
    if begun in (None, "last"):
        begun = str(last) if last.exists() else None
    if begun:
        rank_zero_info(f"going on from {begun}")
    trainer_settings.begin_from(trainer, begun)
    trainer.fit(**{**arguments, "ckpt_path": None, "weights_only": True})


def finish(trainer: Trainer, run: Path, output: str) -> None:
    """Notes that a training has come to its end, and says where the best of it is.

    Args:
        trainer: What has trained.
        run: The run's folder.
        output: What is kept in it: `adapter` or `model`.

    Raises:
        UserError: It has ended, and nothing was kept.
    """
    best = run / output
    if trainer.is_global_zero and has_ended(trainer):
        if not best.is_dir():
            raise UserError(
                f"the training has ended, and there is no {best}: no validation has come to keep it. Look at "
                "trainer.val_check_interval, and begin anew: --fresh."
            )
        manifest.finish(run, "fit")
    if best.is_dir():
        rank_zero_info(f"the best {output} is in {best}")


def has_ended(trainer: Trainer) -> bool:
    """Whether a training has come to its own end, rather than to that of its time."""
    early = any(callback.stopping_reason.value for callback in trainer.early_stopping_callbacks)
    epochs, steps = trainer.max_epochs, trainer.max_steps
    return early or (epochs or -1) == trainer.current_epoch or steps == trainer.global_step


def told_interrupt(run: Path) -> str:
    """What there is of a training that is interrupted."""
    last = _last_checkpoint(run)
    if last.exists():
        return f"the same command goes on from {last}"
    return "there is no checkpoint yet, so the same command begins anew"


def _last_checkpoint(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"
