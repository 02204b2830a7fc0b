"""The formats in which prompts come: rows with a prompt, transcripts, the paper's evaluation files.

Each reader turns one row into an `Opening`; what is wrong with a row is said with its file, its line and its value.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai_lightning import journal
from cai_lightning.data.anthropic import EVALUATION_FILES
from cai_lightning.errors import UserError
from cai_lightning.json_file import has_half_character
from cai_lightning.records import Conversation, Turn

Row = dict[str, Any]

_SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True)
class Opening:
    """What a human said before the model is to answer: a single prompt, or a transcript that ends in a human turn."""

    prompt: str
    source: str
    category: str | None = None
    turns: Conversation | None = None


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a JSON Lines file, plain or gzip, each with its place (`file, line N`) for messages."""
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            yield f"{path}, line {number}", _object(line, f"{path}, line {number}")


def from_row(row: Row, where: str, source: str, column: str = "prompt") -> Opening:
    """The opening in a row that holds a prompt under `column`, or a transcript under `chosen` or `transcript`."""
    if column in row:
        return Opening(
            prompt=text_of(row, column, where),
            source=_optional_text(row, "source", where) or source,
            category=_optional_text(row, "category", where),
        )
    for field in ("chosen", "transcript"):
        if field in row:
            return from_transcript(text_of(row, field, where), where, source)
    raise UserError(f"{where}: no {column!r}, 'chosen' or 'transcript' in this row: {shown(row)}")


def from_transcript(text: str, where: str, source: str) -> Opening:
    """A transcript up to its last human turn; one that has a single human turn is an ordinary prompt."""
    turns = turns_of(text, where)
    while turns and turns[-1]["role"] != "user":
        turns.pop()
    if not turns or not turns[-1]["content"].strip():
        raise UserError(f"{where}: the transcript does not end in a human turn that says something: {shown(text)}")
    return Opening(prompt=turns[-1]["content"], source=source, turns=turns if len(turns) > 1 else None)


def from_evaluations(folder: Path) -> Iterator[Opening]:
    """The first human turn of every row of the paper's three evaluation files, in the order of the original."""
    for name in EVALUATION_FILES:
        path = folder / name
        if not path.is_file():
            raise UserError(f"{folder}: not found here: {name}. The folder must hold {', '.join(EVALUATION_FILES)}.")
        for where, row in read_rows(path):
            yield _evaluation(row, where, path.stem)


def turns_of(text: str, where: str) -> Conversation:
    """The turns of a transcript; what one speaker says twice running is one turn, as chat templates demand."""
    before, *parts = _SPEAKER.split(text)
    if before.strip() or not parts or parts[0] != "Human":
        raise UserError(f"{where}: a transcript begins with 'Human:', this one with {shown(text)}")
    turns: list[Turn] = []
    for speaker, content in zip(parts[::2], parts[1::2], strict=True):
        said = content.removeprefix(" ")
        if turns and turns[-1]["role"] == _ROLES[speaker]:
            turns[-1]["content"] += f"\n\n{said}"
        else:
            turns.append({"role": _ROLES[speaker], "content": said})
    return turns


def text_of(row: Row, field: str, where: str) -> str:
    """The text in a field of a row; one that is absent, empty or no text is an error that names its place."""
    value = row.get(field)
    if field not in row:
        raise UserError(f"{where}: no {field!r} in this row: {shown(row)}")
    if not isinstance(value, str):
        raise UserError(f"{where}: {field!r} must be a text, not {shown(value)}")
    if not value.strip():
        raise UserError(f"{where}: {field!r} is empty: {shown(value)}")
    if has_half_character(value):
        raise UserError(f"{where}: {field!r} holds half a character (a lone surrogate): {shown(value)}")
    return value


def only_text(value: Any) -> str:
    """The text in a list of one; empty where that is something else."""
    return value[0].strip() if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str) else ""


def shown(value: object) -> str:
    """A value as messages show it: on one line, cut after 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _evaluation(row: Row, where: str, source: str) -> Opening:
    dialogue = text_of(row, "text_correct" if source == "438HHHEvaluations" else "prompt", where)
    opening = dialogue.partition("\n\nHuman:")[2].partition("\n\nAssistant:")[0].removeprefix(" ")
    if not opening.strip():
        raise UserError(f"{where}: no human turn in {shown(dialogue)}")
    return Opening(prompt=opening, source=source, category=_kind_of_harm(row, dialogue, where))


def _kind_of_harm(row: Row, dialogue: str, where: str) -> str | None:
    """The option that HarmfulnessClassification holds to be right; the other files offer no kinds of harm."""
    if "best characterizes the way in which it was harmful" not in dialogue:
        return None
    options: dict[str, str] = dict(re.findall(r"^ (\([A-Z]\)) (.+)$", dialogue, flags=re.MULTILINE))
    kind = options.get(only_text(row.get("corrects")))
    if kind is None:
        raise UserError(f"{where}: 'corrects' must name one of the options {', '.join(options)}: {shown(row)}")
    return kind


def _lines(path: Path) -> Iterator[bytes]:
    try:
        yield from journal.raw_lines(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: cannot be read ({error}).") from error


def _object(line: bytes, where: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error}): {shown(line.decode('utf-8', 'replace'))}") from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected a JSON object, found {shown(row)}")
    return row


def _optional_text(row: Row, field: str, where: str) -> str | None:
    value = row.get(field)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{where}: {field!r} must be a text or null, not {shown(value)}")
    return value
