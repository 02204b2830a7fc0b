"""The processes of one verb end together: those that Lightning launches do not outlive the one that launched them.

Killed with SIGKILL, the first process cannot tell the others, and they would go on for minutes. So each of them asks
Linux to be killed when its parent dies. Where a rank dies, Lightning's observer ends the first process within seconds.
Under srun and torchrun the launcher does both, and nothing is asked here.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
