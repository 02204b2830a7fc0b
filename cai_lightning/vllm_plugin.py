"""What vLLM loads in every process that it starts: the promise to end with the process that started it.

vLLM's own processes outlive a killed parent: they would keep the GPU's memory, and the resumed run would find none.
"""

import multiprocessing
import os
from threading import Thread


def end_with_parent() -> None:
    """Ends this process once its parent is gone, however that ended; the parent itself has none and goes on."""
    if multiprocessing.parent_process() is not None:
        Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # nothing is left to tidy up for
