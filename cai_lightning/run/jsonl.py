"""Append-only JSON Lines files that survive being killed: one writer a file, whole lines only.

One writer a file: a lock that stands beside it, names its process, and goes with that, however it ends.

with locked(run / "fit.json"):
    ...
holder(run / "fit.json")  # "4711", seen by another process meanwhile

    with JournalWriter(run / "revisions.jsonl", rank=0) as journal:
        journal.append(record)
    merge(run / "revisions.jsonl", order=ids)

While a verb runs, rank N appends to `revisions.rankN.jsonl`; at its end `merge` makes one file of them. A line counts
once it ends in a newline, so a line torn by a kill is cut off when its file is opened again.
"""

import fcntl
import gzip
import json
import logging
import os
import time
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from cai_lightning.run.errors import UserError, WriteError
from cai_lightning.run.records import Record, to_json
from cai_lightning.run.text import excerpt, whole_json

log = logging.getLogger(__name__)

T = TypeVar("T")


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


Row = dict[str, Any]
Key = Callable[[Row], Hashable]

SECONDS_BETWEEN_SYNCS = 1.0


def by_id(row: Row) -> Hashable:
    """The key of a record that stands once for each prompt."""
    return str(row["id"])


def by_metric(row: Row) -> Hashable:
    """The key of a score."""
    return str(row["id"]), str(row["metric"])


class JournalWriter:
    """The one writer of a rank's file.

    When `append` returns, the system has the line: however the process ends, it is kept. A power cut keeps what the
    system has written out; a line makes it do so, unless it did within the last second, for the rest of the process
    waits meanwhile (4 ms on a local disk, more on a network's).

    Args:
        path: The final file, such as `runs/x/revisions.jsonl`.
        rank: This process's rank, from 0.

    Raises:
        UserError: Another process writes to the same file.
        WriteError: It cannot be written: the disk is full.
    """

    def __init__(self, path: Path, rank: int = 0) -> None:
        self.path = rank_file(path, rank)
        with _writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = take(self.path)
            _cut_torn_line(self.path)
            self._file = self.path.open("a", encoding="utf-8", errors="surrogatepass")
        self._synced = time.monotonic()

    def append(self, record: Record) -> None:
        with _writing(self.path):
            self._file.write(to_json(record) + "\n")
            self._file.flush()
            if time.monotonic() - self._synced >= SECONDS_BETWEEN_SYNCS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()

    def close(self) -> None:
        """Lets go of the file; what a full disk did not take is tried once more."""
        try:
            with _writing(self.path):
                self._file.close()
        finally:
            os.close(self._lock)

    def __enter__(self) -> "JournalWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def rank_file(path: Path, rank: int) -> Path:
    """`revisions.jsonl` → `revisions.rank0.jsonl`."""
    return path.with_name(f"{path.stem}.rank{rank}{path.suffix}")


def rank_files(path: Path) -> list[Path]:
    """The rank files that lie beside a final file."""
    return sorted(path.parent.glob(f"{path.stem}.rank*{path.suffix}"))


def read(path: Path, key: Key = by_id) -> dict[Hashable, Row]:
    """Every record of a file and its rank files by its key; of several with one key the last counts.

    Raises:
        UserError: A line is no JSON object, or has no key; the message names file, line and what stands there.
    """
    return {_key(key, row, where): row for where, row in read_parts(path, parse_row)}


def read_parts(path: Path, parse: Callable[[bytes, str], T]) -> list[tuple[str, T]]:
    """Every row of a file and its rank files, as `parse` makes it of a line and its place, with that place."""
    parts = [part for part in (path, *rank_files(path)) if part.exists()]
    try:
        return [(where, parse(line, where)) for part in parts for where, line in lines(part)]
    except UserError:
        if all(part.exists() for part in parts):
            raise
        return read_parts(path, parse)  # merged in between


def read_lines(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of one file, see `lines`."""
    return ((where, parse_row(line, where)) for where, line in lines(path))


def lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """The lines of one JSON Lines file, plain or `.gz`, each with its place (`file, line N`) for messages.

    In a rank file a last line without newline is torn and does not count; any other file is read to its end. Half
    characters (lone surrogates), which no tokenizer reads, become U+FFFD, and a warning counts the rows.

    Raises:
        UserError: The file cannot be read.
    """
    mended = 0
    try:
        for number, read in enumerate(_raw_lines(path), 1):
            line = read.removeprefix(BOM_UTF8) if number == 1 else read
            torn = not line.endswith(b"\n") and ".rank" in path.name
            if line.strip() and not torn:
                whole = whole_json(line)
                mended += whole is not line
                yield f"{path}, line {number}", whole
    finally:
        if mended:
            log.warning("%s: %d rows hold half a character (a lone surrogate), read as U+FFFD", path, mended)


def parse_row(line: bytes, where: str) -> Row:
    """The JSON object in a line.

    Raises:
        UserError: There is none.
    """
    try:
        row = json.loads(line)  # in whole characters already, see `lines`
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error}): {excerpt(line)}") from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected a JSON object, found {excerpt(line)}")
    return row


def merge(path: Path, order: Sequence[str] = (), key: Key = by_id, without: Container[Hashable] = ()) -> int:
    """Makes one file of a file and its rank files, or none of no records, and returns the number of its records.

    Args:
        path: The final file.
        order: Ids in the order the file shall have; others follow as they were written.
        key: What makes two records the same.
        without: Ids whose records are left out.

    Raises:
        UserError: Another process is writing to a rank file, whose rows would be lost with it.
    """
    place = {id: n for n, id in enumerate(order)}
    parts = rank_files(path)
    with ExitStack() as held:
        for part in parts:
            held.enter_context(locked(part))
        kept = [row for row in read(path, key).values() if by_id(row) not in without]
        rows = sorted(kept, key=lambda row: place.get(str(row["id"]), len(place)))
        if rows:
            write(path, rows)
        else:
            path.unlink(missing_ok=True)
        for part in parts:
            part.unlink()
    return len(rows)


def write(path: Path, rows: Iterable[Row]) -> None:
    """Replaces a JSON Lines file in one step: a reader sees the old file or the new one, never half of it."""
    replace_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def replace_text(path: Path, text: str) -> None:
    """Replaces a file's text in one step, synced to disk before the old text goes.

    Raises:
        WriteError: It cannot be written: the disk is full. The old file stays as it is.
    """
    fresh = path.with_name(f".{path.name}.new")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with fresh.open("w", encoding="utf-8", errors="surrogatepass") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turns what a full disk, or a folder that may not be written to, raises into one error that names the file."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{path}: cannot be written ({error.strerror or error}); what stands there is kept. Make room on the disk, "
            "or make the folder writable, and start the same command again."
        ) from error


def _raw_lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from error


def _key(key: Key, row: Row, where: str) -> Hashable:
    try:
        return key(row)
    except KeyError as error:
        raise UserError(f"{where}: no {error} in this row, which has {', '.join(row)}.") from None


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end and not _newline_at(file.fileno(), end - 1):
            end -= 1
        file.truncate(end)


def _newline_at(descriptor: int, place: int) -> bool:
    return os.pread(descriptor, 1, place) == b"\n"
