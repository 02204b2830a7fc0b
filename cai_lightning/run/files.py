"""Files and folders that are written whole or not at all, by one process at a time.

    with locked(run / "fit.json"):  # a second process is told which one is at work
        replace_text(run / "fit.json", text)
        with replacing(run / "adapter") as fresh:
            model.save_pretrained(fresh)

A lock stands beside its file, names its process, and goes with that, however it ends.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from safetensors import SafetensorError

from cai_lightning.run.errors import UserError, WriteError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps every other process from writing to a file.

    Raises:
        UserError: Another process does.
    """
    with _lock_file(path).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{path}: process {_named_in(lock)} is writing to this file; wait for it, or choose another --run."
            ) from None
        lock.truncate(0)
        os.pwrite(lock.fileno(), str(os.getpid()).encode(), 0)
        yield


def holder(path: Path) -> str | None:
    """The number of the process that keeps others from writing to a file; None where none does."""
    if not _lock_file(path).exists():
        return None
    with _lock_file(path).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _named_in(lock)
    return None


def replace_text(path: Path, text: str) -> None:
    """Replaces a file's text, see `replace_file`."""
    replace_file(path, lambda file: file.write(text.encode("utf-8", "surrogatepass")))


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replaces a file in one step, synced to disk before the old one goes.

    Args:
        path: The file.
        write: Writes what it shall hold.

    Raises:
        WriteError: It cannot be written: the disk is full. The old file stays as it is.
    """
    fresh = path.with_name(f".{path.name}.new")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with fresh.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A fresh folder beside this one, which takes its place once all is written; after an error nothing has changed.

    Raises:
        WriteError: It cannot be written: the disk is full.
    """
    fresh, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    try:
        with writing(folder):
            shutil.rmtree(fresh, ignore_errors=True)
            if old.exists() and not folder.exists():  # killed between the two renames
                old.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
            fresh.mkdir(parents=True)
            yield fresh
            for path in fresh.iterdir():  # safetensors writes for its owner alone, and a server may be another user
                path.chmod(fresh.stat().st_mode & 0o666)
            if folder.exists():
                folder.rename(old)
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what a full disk, or a folder that may not be written to, raises into one error that names the file."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise WriteError(
            f"{path}: cannot be written ({getattr(error, 'strerror', None) or error}); what stood there is kept. Make "
            "room on the disk, or make the folder writable, and start the same command again."
        ) from error


def _lock_file(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _named_in(lock: TextIO) -> str:
    return os.pread(lock.fileno(), 32, 0).decode() or "unknown"
