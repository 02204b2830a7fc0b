"""Rows of a file as records, their fields checked: files are edited, merged and cut short by hand.

responses = read_records(run / "responses.jsonl", Response)
scores = read_records(run / "scores.jsonl", Score, journal.by_metric)
"""

from collections.abc import Callable, Hashable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Conversation, Failure, Judgement, Response, Score

T = TypeVar("T", Response, Score, Judgement, Failure)

Check = tuple[Callable[[Any], bool], str]
"""Whether a value is of a kind, and what that kind is called."""

LARGEST = 3.4e38
"""What a number is at most, for evaluators give float32; sums of larger ones have no end."""

SPEAKERS = ("system", "user", "assistant")


def read_records(path: Path, kind: type[T], key: jsonl.Key = jsonl.by_id) -> dict[Hashable, T]:
    """Every record of a file and its rank files by its key, as `journal.read` finds them.

    Raises:
        UserError: A row lacks a field, has one that the record does not know, or one of another kind.
    """
    return {name: as_record(row, kind, path) for name, row in jsonl.read(path, key).items()}


def as_record(row: jsonl.Row, kind: type[T], path: Path) -> T:
    """A row as a record; the error names file, id and field."""
    try:
        record = kind(**row)
    except TypeError:
        raise UserError(f"{_place(row, path)}: {_why_unfit(row, kind)}") from None
    for name, (fits, wanted) in _CHECKS[kind].items():
        if not fits(value := getattr(record, name)):
            raise UserError(f"{_place(row, path)}: field {name!r} shall be {wanted}, found {str(value)[:60]!r}.")
    return record


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, small enough to be reckoned with."""
    return type(value) in (int, float) and abs(value) <= LARGEST


def _place(row: jsonl.Row, path: Path) -> str:
    names = [f"{name} {str(row[name])[:40]}" for name in ("metric", "id") if name in row]
    return ", ".join([str(path), *names])


def _why_unfit(row: jsonl.Row, kind: type[Any]) -> str:
    known = {field.name: field.default is field.default_factory is MISSING for field in fields(kind)}
    if unknown := sorted(row.keys() - known.keys()):
        return f"unknown field {unknown[0][:60]!r}; a row has {', '.join(known)}."
    missing = [name for name, required in known.items() if required and name not in row]
    return f"no field {missing[0]!r} in this row."


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_turn, value))


def _is_turn(turn: Any) -> bool:
    if not isinstance(turn, dict) or turn.keys() != {"role", "content"}:
        return False
    return turn["role"] in SPEAKERS and isinstance(turn["content"], str)


_KINDS: dict[Any, Check] = {
    str: (_is_text, "a text"),
    str | None: (lambda value: value is None or _is_text(value), "a text or null"),
    float | None: (lambda value: value is None or is_number(value), "a finite number or null"),
    int: (lambda value: type(value) is int, "a whole number"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    list[str]: (lambda value: isinstance(value, list) and all(map(_is_text, value)), "a list of texts"),
    dict[str, Any]: (lambda value: isinstance(value, dict), "an object"),
    dict[str, int] | None: (
        lambda value: (
            value is None or (isinstance(value, dict) and all(type(n) is int and n >= 0 for n in value.values()))
        ),
        "an object of whole numbers or null",
    ),
    Conversation | None: (
        lambda value: value is None or _is_conversation(value),
        f"turns with the role {', '.join(SPEAKERS)} and a text as content, or null",
    ),
}
"""By the type that a record's field is declared with."""


_CHECKS: dict[type[Any], dict[str, Check]] = {
    kind: {name: _KINDS[hint] for name, hint in get_type_hints(kind).items()}
    for kind in (Response, Score, Judgement, Failure)
}
"""By record and field."""
