"""One writer a file: a lock that stands beside it, names its process, and goes with that, however it ends.

with locked(run / "fit.json"):
    ...
holder(run / "fit.json")  # "4711", seen by another process meanwhile
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cai_lightning.errors import UserError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps every other process from writing to a file.

    Raises:
        UserError: Another process does.
    """
    descriptor = take(path)
    try:
        yield
    finally:
        os.close(descriptor)


def holder(path: Path) -> str | None:
    """The number of the process that keeps others from writing to a file; None where none does."""
    lock = _lock_file(path)
    if not lock.exists():
        return None
    descriptor = os.open(lock, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _named_in(descriptor)
    finally:
        os.close(descriptor)
    return None


def take(path: Path) -> int:
    """Takes the lock that stands beside a file and returns its descriptor; it goes with the process.

    Raises:
        UserError: Another process has it.
    """
    descriptor = os.open(_lock_file(path), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = _named_in(descriptor)
        os.close(descriptor)
        raise UserError(
            f"{path}: process {other} is writing to this file; wait for it, or choose another --run."
        ) from None
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except OSError:  # the disk is full
        os.close(descriptor)
        raise
    return descriptor


def _lock_file(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _named_in(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode() or "unknown"
