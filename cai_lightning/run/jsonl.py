"""Append-only JSON Lines files that survive being killed, and JSON read as dataclasses, every field checked.

    with JournalWriter(run / "responses.jsonl", rank=0) as journal:
        journal.append(response)
    merge(run / "responses.jsonl", order=ids)
    responses = read_records(run / "responses.jsonl", Response)
    pairs = read_json(Path("self_test.json"), list[Pair], "self-test")

While a verb runs, rank N appends to `responses.rankN.jsonl`; at its end `merge` makes one file of them. A line counts
once it ends in a newline, so a line torn by a kill is cut off when its file is opened again.

Files are edited, merged and cut short by hand, so pydantic checks what is read: `"1.5"` and `true` are no numbers, and
neither are NaN and infinity. By its `__pydantic_config__` a dataclass says what else is expected: `records.STRICT` of
our own files, `records.FOREIGN` of those of others, `records.WRITTEN` of those that a person writes.
"""

import gzip
import json
import logging
import os
import time
import zlib
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cai_lightning.run.errors import UserError
from cai_lightning.run.files import locked, replace_text, writing
from cai_lightning.run.processes import is_first
from cai_lightning.run.records import LARGEST, Record, to_json
from cai_lightning.run.text import excerpt, parse_json, whole_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

log = logging.getLogger(__name__)

T = TypeVar("T")
Row = dict[str, Any]

SECONDS_BETWEEN_SYNCS = 1.0


class JournalWriter(AbstractContextManager["JournalWriter"]):
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
        self._held = ExitStack()
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(locked(self.path))
            _cut_torn_line(self.path)
            file = self.path.open("a", encoding="utf-8", errors="surrogatepass")
            self._file = self._held.enter_context(file)
        self._synced = time.monotonic()

    def append(self, record: Record) -> None:
        with writing(self.path):
            self._file.write(to_json(record) + "\n")
            self._file.flush()
            if time.monotonic() - self._synced >= SECONDS_BETWEEN_SYNCS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()

    def close(self) -> None:
        """Lets go of the file; what a full disk did not take is tried once more."""
        with writing(self.path):
            self._held.close()

    def __exit__(self, *error: object) -> None:
        self.close()


def rank_file(path: Path, rank: int) -> Path:
    """`revisions.jsonl` → `revisions.rank0.jsonl`."""
    return path.with_name(f"{path.stem}.rank{rank}{path.suffix}")


def rank_files(path: Path) -> list[Path]:
    """The rank files that lie beside a final file."""
    return sorted(path.parent.glob(f"{path.stem}.rank*{path.suffix}"))


def merge(path: Path, order: Sequence[str] = (), without: Container[Hashable] = ()) -> int:
    """Makes one file of a file and its rank files, or none of no records, and returns the number of its records.

    Args:
        path: The final file.
        order: Ids in the order the file shall have; others follow as they were written.
        without: Ids whose records are left out.

    Raises:
        UserError: Another process is writing to a rank file, whose rows would be lost with it.
    """
    place = {id: n for n, id in enumerate(order)}
    parts = rank_files(path)
    with ExitStack() as held:
        for part in parts:
            held.enter_context(locked(part))
        kept = [row for row in read(path).values() if row["id"] not in without]
        rows = sorted(kept, key=lambda row: place.get(row["id"], len(place)))
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


def read(path: Path) -> dict[Hashable, Row]:
    """Every record of a file and its rank files by its key (see `key_of`), of which the last counts.

    Raises:
        UserError: A line is no JSON object, or has no id; the message names file, line and what stands there.
    """
    rows = dict[Hashable, Row]()
    for where, row in read_parts(path, _parse_row):
        if not isinstance(row.get("id"), str):
            raise UserError(f"{where}: no 'id' in this row, which has {', '.join(row)}, or none that is a text.")
        rows[key_of(row)] = row
    return rows


def read_records(path: Path, kind: type[T]) -> dict[Hashable, T]:
    """Likewise, each as a dataclass.

    Raises:
        UserError: A row lacks a field, has one that the record does not know, or one of another kind.
    """
    found = read_parts(path, lambda line, where: parse(kind, line, where))
    return {key_of(vars(record)): record for _, record in found}


def key_of(row: Mapping[str, Any]) -> Hashable:
    """By what a record takes the place of an earlier one: its id, and the metric of a score."""
    return (row["id"], row["metric"]) if "metric" in row else row["id"]


def read_parts(path: Path, make: Callable[[bytes, str], T]) -> list[tuple[str, T]]:
    """Every row of a file and its rank files with its place, as it is made of a line and that place."""
    parts = [part for part in (path, *rank_files(path)) if part.exists()]
    try:
        return [(where, make(line, where)) for part in parts for where, line in lines(part)]
    except UserError:
        if all(part.exists() for part in parts):
            raise
        return read_parts(path, make)  # merged in between


def read_lines(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of one file, see `lines`."""
    return ((where, _parse_row(line, where)) for where, line in lines(path))


def lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """The lines of one JSON Lines file, plain or `.gz`, each with its place (`file, line N`) for messages.

    In a rank file a last line without newline is torn and does not count; any other file is read to its end. Half
    characters (lone surrogates), which no tokenizer reads, become U+FFFD, and the first process warns once of how
    many rows held one.

    Raises:
        UserError: The file cannot be read.
    """
    mended = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                torn = not line.endswith(b"\n") and ".rank" in path.name
                text = line.removeprefix(BOM_UTF8)
                if text.strip() and not torn:
                    whole = whole_json(text)
                    mended += whole is not text
                    yield f"{path}, line {number}", whole
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from error
    finally:
        if mended and is_first():
            _tell_mended(path, mended)


@cache
def _tell_mended(path: Path, rows: int) -> None:
    """Told once of a file, however often it is read."""
    log.warning("%s: %d rows hold half a character (a lone surrogate), read as U+FFFD", path, rows)


def _parse_row(line: bytes, where: str) -> Row:
    return parse(Row, line, where)


def parse(kind: type[T], text: str | bytes, where: str, field: str = "") -> T:
    """A JSON text as a dataclass.

    Args:
        kind: The dataclass.
        text: The text.
        where: Its place, for messages.
        field: The field of a row that holds it, likewise.

    Raises:
        UserError: The first thing that is wrong with it: a field is missing, unknown, or of another kind.
    """
    from pydantic import ValidationError

    try:
        record: T = _adapter(kind).validate_json(text)  # type: ignore[arg-type]
        return record
    except ValidationError as error:
        raise UserError(f"{where}: {_what_is_wrong(error, kind, field)}.") from None


def check(kind: type[T], value: Any, where: str, field: str = "") -> T:
    """What was read otherwise, such as a row of a table, as a dataclass; see `parse`."""
    text = json.dumps(value, default=lambda other: [repr(other)])  # what JSON cannot say passes for no text
    return parse(kind, text, where, field)


def read_json(path: Path, kind: type[T], what: str) -> T:
    """A JSON file that a person or a library wrote, as a dataclass.

    Args:
        path: The file.
        kind: The dataclass, or another type such as `dict[str, str]`.
        what: What the file is, for messages, such as `constitution`.

    Raises:
        UserError: The file cannot be read, is no JSON, or something in it is missing or of another kind.
    """
    return check(kind, load_json(path, what), str(path))


def load_json(path: Path, what: str) -> Any:
    """What such a file says; a key that stands twice in one object is an error.

    Raises:
        UserError: The file cannot be read, is no JSON, or holds half a character.
    """
    try:
        text = path.read_bytes()
        content = parse_json(text, _without_repeats)
    except OSError as error:
        raise UserError(f"{path}: the {what} cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise UserError(f"{path}: not a JSON {what} ({error}).") from None
    if whole_json(text) is not text:
        raise UserError(f"{path}: the {what} holds half a character (a lone surrogate), which no tokenizer reads.")
    return content


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, small enough to be reckoned with."""
    return type(value) in (int, float) and abs(value) <= LARGEST


@cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    """Built on first use: pydantic takes longer to import than small files to read."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind, config=None if is_dataclass(kind) else {"strict": True, "allow_inf_nan": False})


def _what_is_wrong(error: "ValidationError", kind: type[Any], field: str) -> str:
    faults = error.errors(include_url=False)
    first, found = faults[0], excerpt(faults[0]["input"])
    place = _name(field, first["loc"])
    if first["type"] == "json_invalid":
        return f"not JSON ({first['msg'].removeprefix('Invalid JSON: ')}): {found}"
    if not place:
        return f"expected a JSON object, found {found}"
    if first["type"] == "missing":
        lacking = [_name(field, fault["loc"]) for fault in faults if fault["type"] == "missing"]
        return f"no {', '.join(map(repr, lacking))} in this row, which has {', '.join(first['input']) or 'none'}"
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown field {place!r}; a row has {', '.join(known.name for known in fields(kind))}"
    return f"field {place!r} should{first['msg'].partition('should')[2]}, found {found}"


def _name(field: str, place: tuple[int | str, ...]) -> str:
    """`("turns", 0, "role")` → `turns[0].role`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return "".join((field, *parts)).removeprefix(".")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"the key {repeated[0]!r} stands more than once in one object")
    return dict(pairs)


def _cut_torn_line(path: Path) -> None:
    content = path.read_bytes() if path.exists() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
