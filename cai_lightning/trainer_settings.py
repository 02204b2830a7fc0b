"""The trainer's settings that determine what fit learns, and those with which a verb could not do its work.

check("fit", trainer)
provenance.settle(run, "fit", determining(trainer))
"""

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any, get_args

from lightning.pytorch.cli import LightningArgumentParser

from cai_lightning.errors import UserError

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

DIVISORS = ("accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval")
"""Settings by which Lightning divides, and which it does not look at before."""


def determining(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that change what fit learns, by dotted name."""
    return {f"trainer.{name}": trainer[name] for name in DETERMINING}


CUTS = {"predict": "limit_predict_batches", "fit": "limit_train_batches", "validate": "limit_val_batches"}
"""Of each verb the setting that leaves batches of its rows out."""


def check(verb: str, trainer: Mapping[str, Any]) -> None:
    """Refuses what the trainer takes and fails with later, leaves rows out by, or learns nothing with.

    Raises:
        UserError: A setting is none that the verb can have.
    """
    for name in (CUTS[verb], "overfit_batches", "fast_dev_run"):
        if _cuts(name, trainer[name]):
            raise UserError(
                f"trainer.{name} would end {verb} in the midst of its rows; take fewer of them: data.limit."
            )
    if trainer["use_distributed_sampler"]:
        raise UserError("trainer.use_distributed_sampler: rows are shared out among the processes without it.")
    if verb == "fit":
        _check_training(trainer)


def _cuts(name: str, value: float | None) -> bool:
    """1.0 is a share, that of all batches, and 1 a number of them."""
    return (
        bool(value) if name in ("overfit_batches", "fast_dev_run") else value not in (None, 1.0) or type(value) is int
    )


def _check_training(trainer: Mapping[str, Any]) -> None:
    for name in DIVISORS:
        if isinstance(trainer[name], int | float) and trainer[name] <= 0:
            raise UserError(f"trainer.{name}: a number above 0 expected, found {trainer[name]}.")
    for name in ("max_epochs", "max_steps"):
        if trainer[name] == 0:
            raise UserError(f"trainer.{name}: nothing is learned in 0; take a number from 1 on, or -1 for no bound.")


def count_before_share(parser: LightningArgumentParser) -> None:
    """Makes 1 a number of batches and 1.0 all of them, whatever was imported before.

    The parser tries the types of a union in turn, and Python may return Union[float, int] where Union[int, float] was
    written, as it holds the two to be equal.
    """
    for action in parser._actions:
        kinds = get_args(getattr(action, "_typehint", None))
        if int in kinds and float in kinds:
            ordered = sorted(kinds, key=lambda kind: kind is not int)
            action._typehint = reduce(or_, ordered)  # type: ignore[attr-defined]
