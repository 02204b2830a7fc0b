"""The trainer: its settings, what it is to know of a Slurm job, and a training from its last checkpoint to its end.

    check("fit", settings)
    prepare("fit", trainer, settings["strategy"])
    train(trainer, run, {"model": model, "datamodule": data, "ckpt_path": None})
    finish(trainer, run, "adapter")

Told by SIGUSR1 that a Slurm job's time is over, Lightning writes `hpc_ckpt_N.ckpt` into the run's folder at whatever
place of a step it is, and goes on from there in whatever verb comes next, before any other checkpoint. Such a training
misses the end of its epoch. Here SIGUSR1 ends a verb at once, as SIGTERM does, and each goes on from what it keeps.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, get_args

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from lightning.pytorch.utilities import rank_zero_info

from cai_lightning.callbacks.checkpoints import WholeCheckpoints, why_stopped
from cai_lightning.callbacks.progress import has_bar
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.processes import launched_by_the_first

DIVISORS = ("accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval")
"""Settings by which Lightning divides, and which it does not look at before."""

CUTS = {"predict": "limit_predict_batches", "fit": "limit_train_batches", "validate": "limit_val_batches"}
"""Of each verb the setting that leaves batches of its rows out."""

STEP = ("precision", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "devices", "num_nodes")
LENGTH = ("max_epochs", "max_steps", "val_check_interval", "check_val_every_n_epoch", "limit_val_batches")
"""Settings that change what fit learns: what a step computes; how long it goes on, and when the best of it is kept."""

LAST = Path("checkpoints", "last.ckpt")
"""Where in a run's folder the checkpoint lies that a training goes on from."""

PATIENCE = timedelta(days=7)
"""How long a process waits for the others, whose rows may take hours longer; Lightning gives up after half an hour."""


def filled_in(verb: str, trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are left to us, and those that a verb does not leave to the user."""
    if verb != "fit":
        return {"logger": trainer["logger"] or False, "enable_progress_bar": False, "enable_checkpointing": False}
    ours = {"logger": CSVLogger(trainer["default_root_dir"], name="logs"), "enable_progress_bar": has_bar()}
    found: dict[str, Any] = {name: value for name, value in ours.items() if trainer[name] is None}
    if trainer["plugins"] is None and isinstance(trainer["strategy"], str):
        found["plugins"] = WholeCheckpoints()
    return found


def check(verb: str, trainer: Mapping[str, Any]) -> None:
    """Refuses what the trainer takes and fails with later, leaves rows out by, or learns nothing with.

    Raises:
        UserError: A setting is none that the verb can have.
    """
    limit = trainer[CUTS[verb]]  # 1.0 is a share, that of all batches, and 1 a number of them
    cuts = {name: trainer[name] for name in ("overfit_batches", "fast_dev_run")}
    cuts[CUTS[verb]] = limit not in (None, 1.0) or type(limit) is int
    for name, cut in cuts.items():
        if cut:
            raise UserError(
                f"trainer.{name} would end {verb} in the midst of its rows; take fewer of them: data.limit."
            )
    if trainer["use_distributed_sampler"]:
        raise UserError("trainer.use_distributed_sampler: rows are shared out among the processes without it.")
    if verb == "fit":
        _check_training(trainer)


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
            action._typehint = reduce(or_, sorted(kinds, key=lambda kind: kind is not int))  # type: ignore[attr-defined]


def check_tasks() -> None:
    """Makes sure, before there is a trainer, that Lightning will understand the job.

    Raises:
        UserError: The job has several tasks, and this is none that srun has started, or not by their number on a node.
    """
    tasks = os.environ.get("SLURM_NTASKS", "1")
    if tasks == "1" or TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return
    if not {"SLURM_NTASKS_PER_NODE", "SLURM_PROCID"} <= os.environ.keys():
        raise UserError(
            f"this Slurm job has {tasks} tasks (SLURM_NTASKS), none of which this process is: start the verb with "
            "srun --ntasks-per-node=N, N being trainer.devices, or for a single process with srun --ntasks=1."
        )


def prepare(verb: str, trainer: Trainer, strategy: object) -> None:
    """Takes Lightning's checkpoints away, and compares the processes that it waits for with those of the job.

    Args:
        verb: Only those of fit finish their rows together.
        trainer: It, before it runs.
        strategy: What was asked for; one that is no name knows itself how long it waits.

    Raises:
        UserError: They are not as many.
    """
    if verb != "fit" and isinstance(strategy, str) and isinstance(trainer.strategy, DDPStrategy):
        trainer.strategy._timeout = PATIENCE
    environment = trainer._accelerator_connector.cluster_environment
    begin_from(trainer, None)
    if not isinstance(environment, SLURMEnvironment):
        return
    environment.auto_requeue = False
    tasks, devices, nodes = environment.world_size(), trainer.num_devices, trainer.num_nodes
    if tasks != devices * nodes:
        raise UserError(
            f"this Slurm job has {tasks} tasks (SLURM_NTASKS), and the trainer wants {devices * nodes} "
            f"(trainer.devices {devices}, trainer.num_nodes {nodes}): start the verb with srun "
            f"--ntasks-per-node={devices}, or set trainer.devices."
        )


def begin_from(trainer: Trainer, checkpoint: str | None) -> None:
    """Settles which checkpoint a verb begins from, so that Lightning looks for none.

    Its own setting, `trainer.ckpt_path`, takes None for "look for one".
    """
    connector = trainer._checkpoint_connector
    connector._ckpt_path, connector._user_managed = checkpoint, True


def wait_for_the_first(trainer: Trainer) -> None:
    """Under srun or torchrun all processes come here at once, while the first still looks at the run's folder."""
    strategy = trainer.strategy
    world = strategy.cluster_environment if isinstance(strategy, ParallelStrategy) else None
    if world and world.creates_processes_externally and not launched_by_the_first():
        strategy.setup_environment()
        strategy.barrier("settled")


def train(trainer: Trainer, run: Path, arguments: Mapping[str, Any]) -> None:
    """Trains from a checkpoint: the one that is named, or else the last one where there is one.

    Args:
        trainer: What trains.
        run: The run's folder.
        arguments: Those of `Trainer.fit`.
    """
    begun, last = arguments["ckpt_path"], run / LAST
    if begun in (None, "last"):
        begun = str(last) if last.exists() else None
    if begun:
        rank_zero_info(f"going on from {begun}")
    begin_from(trainer, begun)
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
            why, look = why_stopped(trainer) or "no validation has come to keep it", "trainer.val_check_interval"
            look = "model.learning_rate" if why_stopped(trainer) else look
            raise UserError(
                f"the training has ended, and there is no {best}: {why}. Look at {look}, and begin anew: --fresh."
            )
        manifest.finish(run, "fit")
    if best.is_dir():
        rank_zero_info(f"the best {output} is in {best}")


def has_ended(trainer: Trainer) -> bool:
    """Whether a training has come to its own end, rather than to that of its time."""
    early = any(callback.stopping_reason.value for callback in trainer.early_stopping_callbacks)
    epochs, steps = trainer.max_epochs, trainer.max_steps
    return (
        early
        or why_stopped(trainer) is not None
        or (epochs or -1) == trainer.current_epoch
        or steps == trainer.global_step
    )


def told_interrupt(run: Path) -> str:
    """What there is of a training that is interrupted."""
    last = run / LAST
    if last.exists():
        return f"the same command goes on from {last}"
    return "there is no checkpoint yet, so the same command begins anew"
