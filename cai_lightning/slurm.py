"""Slurm as Lightning meets it: no checkpoints of its own, and a job of the wrong size is told in one line.

Told by SIGUSR1 that a job's time is over, Lightning writes `hpc_ckpt_N.ckpt` into the run's folder at whatever place of
a step it is, and goes on from there in whatever verb comes next, before any other checkpoint. Such a training misses
the end of its epoch. Here SIGUSR1 ends a verb at once, as SIGTERM does, and each goes on from what it keeps itself.
"""

import os
from pathlib import Path

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Trainer

from cai_lightning.errors import UserError


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


def prepare(trainer: Trainer) -> None:
    """Takes Lightning's checkpoints away, and compares the processes that it waits for with those of the job.

    Raises:
        UserError: They are not as many.
    """
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


def left_over(run: Path) -> list[Path]:
    """The checkpoints that Lightning has left in a run."""
    return sorted(run.glob("hpc_ckpt_*.ckpt"))
