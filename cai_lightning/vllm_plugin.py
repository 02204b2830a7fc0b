"""What vLLM loads in every process that it starts: those of our engine end with the process that asked for them.

By themselves they outlive a killed parent, and keep the GPU's memory, of which the resumed run would find none.
"""

import multiprocessing
import os
import signal
from threading import Thread

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
