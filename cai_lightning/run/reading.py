"""JSON as dataclasses, every field checked by pydantic: files are edited, merged and cut short by hand.

    responses = read_records(run / "responses.jsonl", Response)
    scores = read_records(run / "scores.jsonl", Score, jsonl.by_metric)
    pairs = read_json(Path("self_test.json"), list[Pair], "self-test")

Nothing is taken for what it is not: `"1.5"` and `true` are no numbers, and neither are NaN and infinity. By its
`__pydantic_config__` a dataclass says what else is expected: `records.STRICT` of our own files, `records.FOREIGN` of
those of others, `records.WRITTEN` of those that a person writes.
"""

import json
from collections import Counter
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import LARGEST
from cai_lightning.run.text import excerpt, parse_json, whole_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


def read_records(path: Path, kind: type[T], key: jsonl.Key = jsonl.by_id) -> dict[Hashable, T]:
    """Every record of a file and its rank files by its key; of several with one key the last counts.

    Raises:
        UserError: A row lacks a field, has one that the record does not know, or one of another kind.
    """
    found = jsonl.read_parts(path, lambda line, where: parse(kind, line, where))
    return {key(vars(record)): record for _, record in found}


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
    return parse(kind, json.dumps(value, default=_not_json), where, field)


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


def _not_json(value: Any) -> list[str]:
    """Stands for a value that JSON cannot say, so that it passes for no text."""
    return [repr(value)]


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"the key {repeated[0]!r} stands more than once in one object")
    return dict(pairs)
