"""How a process of ours behaves: it ends together with the others of its verb, and is quiet about what is deliberate.

Killed with SIGKILL, the first process of a verb cannot tell those that Lightning has launched for it, and they would go
on for minutes. So each of them asks Linux to be killed when its parent dies. Where a rank dies, Lightning's observer
ends the first process within seconds. Under srun and torchrun the launcher does both, and nothing is asked here.

The processes of vLLM outlive a killed parent as well, and keep the GPU's memory, of which the resumed run would find
none. `end_with_parent` is the plugin that vLLM loads in every process that it starts.
"""

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

LAUNCHER = "CAI_LAUNCHER"
"""Environment variable by which the first process tells those that it launches who it is."""

OURS = "CAI_LIGHTNING_VLLM"
"""Environment variable by which our engine marks its processes; vLLM is left alone where others use it."""

PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>: the signal that this process gets when its parent dies."""

DELIBERATE = (
    ".*does not have many workers.*",
    ".*predict returned None.*",
    ".*log_every_n_steps.*",
    ".*Checkpoint directory.*exists.*",
    ".*you defined a `validation_step` but.*",
    ".*LeafSpec.*",
    ".*your dataloader is not resumable.*",
    ".*sync_dist=True.*",
    ".*gradient_checkpointing.* is deprecated.*",
)
"""What libraries warn of, and what is so by choice here."""

TIPS = ("Tip:", "has Tensor Cores")
"""Parts of what Lightning says: of its makers' products, and of a GPU that would be faster if float32 were less."""


@contextmanager
def ending_together() -> Iterator[None]:
    """Surrounds a verb, its slow imports included."""
    if LAUNCHER in os.environ and os.environ.get("LOCAL_RANK", "0") != "0":
        _end_with(int(os.environ[LAUNCHER]))
        yield
        return
    os.environ[LAUNCHER] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[LAUNCHER]


def launched_by_the_first() -> bool:
    """Whether this is one of the processes that the first has launched, so that it comes after it everywhere."""
    return os.environ.get(LAUNCHER) != str(os.getpid())


def is_first() -> bool:
    """Whether this is the first process of a verb, by what Lightning, torchrun and srun tell those that they launch."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def _end_with(parent: int) -> None:
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), signal.SIGKILL)


def end_with_parent() -> None:
    """Leaves Ctrl-C to the parent process, and ends this one once the parent is gone, however that ended."""
    if OURS in os.environ and multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # nothing is left to tidy up for


def quiet() -> None:
    """Silences, for the rest of the process, what is by choice here, so that what is said is worth reading."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("lightning.pytorch").setLevel(logging.INFO)
    for name in ("lightning.pytorch", "lightning.fabric"):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(lambda record: not any(tip in record.getMessage() for tip in TIPS))
    for text in DELIBERATE:
        warnings.filterwarnings("ignore", text)
