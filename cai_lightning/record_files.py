"""Rows of a file as records, their fields checked: files are edited, merged and cut short by hand.

responses = read_records(run / "responses.jsonl", Response)
"""

from collections.abc import Hashable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TypeVar, get_type_hints

from cai_lightning import journal
from cai_lightning.errors import UserError
from cai_lightning.records import Judgement, Response

T = TypeVar("T", Response, Judgement)


def read_records(path: Path, kind: type[T], key: journal.Key = journal.by_id) -> dict[Hashable, T]:
    """Every record of a file and its rank files by its key, as `journal.read` finds them.

    Raises:
        UserError: A row lacks a field, has one that the record does not know, or no text where there should be one.
    """
    return {name: as_record(row, kind, path) for name, row in journal.read(path, key).items()}


def as_record(row: journal.Row, kind: type[T], path: Path) -> T:
    """A row as a record; the error names file, id and field."""
    where = f"{path}, id {str(row.get('id'))[:40]}"
    known = {field.name: field for field in fields(kind)}
    if unknown := sorted(row.keys() - known.keys()):
        raise UserError(f"{where}: unknown field {unknown[0]!r}; a row has {', '.join(known)}.")
    required = [name for name, field in known.items() if field.default is field.default_factory is MISSING]
    if missing := [name for name in required if name not in row]:
        raise UserError(f"{where}: no field {missing[0]!r} in this row.")
    for name, hint in get_type_hints(kind).items():
        is_text = isinstance(row.get(name), str) or (hint == str | None and row.get(name) is None)
        if hint in (str, str | None) and name in row and not is_text:
            raise UserError(f"{where}: field {name!r} shall be a text, found {str(row[name])[:60]!r}.")
    return kind(**row)
