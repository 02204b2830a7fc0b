"""The processes of one verb end together, those of Lightning and those of vLLM alike.

The processes of one verb end together: those that Lightning launches do not outlive the one that launched them.

Killed with SIGKILL, the first process cannot tell the others, and they would go on for minutes. So each of them asks
Linux to be killed when its parent dies. Where a rank dies, Lightning's observer ends the first process within seconds.
Under srun and torchrun the launcher does both, and nothing is asked here.

What vLLM loads in every process that it starts: those of our engine end with the process that asked for them.

By themselves they outlive a killed parent, and keep the GPU's memory, of which the resumed run would find none.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

LAUNCHER = "CAI_LAUNCHER"
"""Environment variable by which the first process tells those that it launches who it is."""

PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>: the signal that this process gets when its parent dies."""


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


def _end_with(parent: int) -> None:
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), signal.SIGKILL)


OURS = "CAI_LIGHTNING_VLLM"
"""Environment variable by which our engine marks its processes; vLLM is left alone where others use it."""


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
