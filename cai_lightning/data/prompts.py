"""Reads the prompts of an experiment from wherever they are kept: rows, transcripts, the paper's evaluation files.

The formats in which prompts come: rows with a prompt, transcripts, the paper's evaluation files.

Each reader turns one row into an `Opening`; what is wrong with a row is said with its file, its line and its value.

Reads the prompts of an experiment from wherever they are kept.

prompts = read_prompts("prompts.jsonl")
prompts = read_prompts("anthropic")
prompts = read_prompts("hf:Anthropic/hh-rlhf", column="chosen", split="test")
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai_lightning.principles.anthropic import EVALUATION_FILES, evaluation_files
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import Row as Row
from cai_lightning.run.jsonl import check
from cai_lightning.run.records import Conversation, Prompt, Role, Turn, number_ids, prompt_id, transcript_text
from cai_lightning.run.text import excerpt

_SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True)
class Opening:
    """What a human said before the model is to answer: a single prompt, or a transcript that ends in a human turn."""

    prompt: str
    source: str
    category: str | None = None
    turns: Conversation | None = None


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
    raise UserError(f"{where}: no {column!r}, 'chosen' or 'transcript' in this row: {excerpt(row)}")


def from_transcript(text: str, where: str, source: str) -> Opening:
    """A transcript up to its last human turn; one that has a single human turn is an ordinary prompt."""
    turns = turns_of(text, where)
    while turns and turns[-1]["role"] != "user":
        turns.pop()
    if not turns or not turns[-1]["content"].strip():
        raise UserError(f"{where}: the transcript does not end in a human turn that says something: {excerpt(text)}")
    return Opening(prompt=turns[-1]["content"], source=source, turns=turns if len(turns) > 1 else None)


def from_evaluations(folder: Path) -> Iterator[Opening]:
    """The first human turn of every row of the paper's three evaluation files, in the order of the original."""
    for name in EVALUATION_FILES:
        path = folder / name
        if not path.is_file():
            raise UserError(f"{folder}: not found here: {name}. The folder must hold {', '.join(EVALUATION_FILES)}.")
        for where, row in jsonl.read_lines(path):
            yield _evaluation(row, where, path.stem)


def turns_of(text: str, where: str) -> Conversation:
    """The turns of a transcript; what one speaker says twice running is one turn, as chat templates demand."""
    before, *parts = _SPEAKER.split(text)
    if before.strip() or not parts or parts[0] != "Human":
        raise UserError(f"{where}: a transcript begins with 'Human:', this one with {excerpt(text)}")
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
        raise UserError(f"{where}: no {field!r} in this row: {excerpt(row)}")
    if not isinstance(value, str):
        raise UserError(f"{where}: {field!r} must be a text, not {excerpt(value)}")
    if not value.strip():
        raise UserError(f"{where}: {field!r} is empty: {excerpt(value)}")
    return value


def conversation_of(row: Row, field: str, where: str) -> Conversation:
    """The turns in a field of a row, roles and contents; whatever else a turn holds is left out."""
    return check(Conversation, row[field], where, field)


def only_text(value: Any) -> str:
    """The text in a list of one; empty where that is something else."""
    return value[0].strip() if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str) else ""


def _evaluation(row: Row, where: str, source: str) -> Opening:
    dialogue = text_of(row, "text_correct" if source == "438HHHEvaluations" else "prompt", where)
    opening = dialogue.partition("\n\nHuman:")[2].partition("\n\nAssistant:")[0].removeprefix(" ")
    if not opening.strip():
        raise UserError(f"{where}: no human turn in {excerpt(dialogue)}")
    return Opening(prompt=opening, source=source, category=_kind_of_harm(row, dialogue, where))


def _kind_of_harm(row: Row, dialogue: str, where: str) -> str | None:
    """The option that HarmfulnessClassification holds to be right; the other files offer no kinds of harm."""
    if "best characterizes the way in which it was harmful" not in dialogue:
        return None
    options: dict[str, str] = dict(re.findall(r"^ (\([A-Z]\)) (.+)$", dialogue, flags=re.MULTILINE))
    kind = options.get(only_text(row.get("corrects")))
    if kind is None:
        raise UserError(f"{where}: 'corrects' must name one of the options {', '.join(options)}: {excerpt(row)}")
    return kind


def _optional_text(row: Row, field: str, where: str) -> str | None:
    value = row.get(field)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{where}: {field!r} must be a text or null, not {excerpt(value)}")
    return value


_TRANSCRIPT_COLUMNS = ("chosen", "rejected", "transcript")


def read_prompts(source: str, column: str = "prompt", split: str = "train") -> list[Prompt]:
    """All prompts of a source, in its order, with their ids.

    Args:
        source: A JSON Lines file (plain or .gz) whose rows hold a prompt or an hh-rlhf transcript; a folder with
            Anthropic's three evaluation files; `anthropic`, the same files fetched from their public repository;
            or `hf:NAME`, a Hugging Face dataset.
        column: Field that holds the prompt; `chosen`, `rejected` and `transcript` hold transcripts.
        split: Split of a Hugging Face dataset.

    Raises:
        UserError: The source is missing or empty, or a row is malformed; the message names file, line and value.
    """
    openings = list(_openings(source, column, split))
    if not openings:
        raise UserError(f"{source}: there is no prompt in it.")
    return _numbered(openings)


def read_dataset(name: str, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a Hugging Face dataset, each with its place for messages.

    Raises:
        UserError: The dataset cannot be loaded, or holds no rows with columns.
    """
    for number, row in enumerate(_dataset(name, split), 1):
        where = f"hf:{name}, split {split!r}, row {number}"
        if not isinstance(row, dict):
            raise UserError(f"{where}: expected a row with columns, found {excerpt(row)}")
        yield where, row


def _openings(source: str, column: str, split: str) -> Iterator[Opening]:
    if source == "anthropic":
        return from_evaluations(evaluation_files())
    if source.startswith("hf:"):
        return _from_hub(source.removeprefix("hf:"), column, split)
    path = Path(source).expanduser()
    if path.is_dir():
        return from_evaluations(_evaluation_folder(path))
    if not path.exists():
        raise UserError(
            f"{source}: no such file or folder. Prompts come from a JSON Lines file, a folder with "
            "Anthropic's evaluation files, `anthropic`, or `hf:NAME`."
        )
    return (_opening(row, where, path.name, column) for where, row in jsonl.read_lines(path))


def _opening(row: dict[str, Any], where: str, source: str, column: str) -> Opening:
    if column in _TRANSCRIPT_COLUMNS and isinstance(row.get(column), str):
        return from_transcript(row[column], where, source)
    return from_row(row, where, source, column)


def _evaluation_folder(path: Path) -> Path:
    inner = path / "evals"
    return inner if inner.is_dir() and not (path / EVALUATION_FILES[0]).exists() else path


def _from_hub(name: str, column: str, split: str) -> Iterator[Opening]:
    return (_opening(row, where, f"hf:{name}", column) for where, row in read_dataset(name, split))


def _dataset(name: str, split: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(name, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"hf:{name}: split {split!r} of this dataset cannot be loaded ({error}).") from error


def _numbered(openings: list[Opening]) -> list[Prompt]:
    texts = [transcript_text(opening.turns) if opening.turns else opening.prompt for opening in openings]
    return [
        Prompt(id, o.prompt, o.source, o.category, o.turns, prompt_id(text))
        for id, o, text in zip(number_ids(texts), openings, texts, strict=True)
    ]
