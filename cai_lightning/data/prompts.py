"""Reads the prompts of an experiment from wherever they are kept.

prompts = read_prompts("prompts.jsonl")
prompts = read_prompts("anthropic")
prompts = read_prompts("hf:Anthropic/hh-rlhf", column="chosen", split="test")
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cai_lightning.data.anthropic import EVALUATION_FILES, evaluation_files
from cai_lightning.data.sources import Opening, from_evaluations, from_row, from_transcript, read_rows, shown
from cai_lightning.errors import UserError
from cai_lightning.records import Prompt, number_ids, prompt_id, transcript_text

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
            raise UserError(f"{where}: expected a row with columns, found {shown(row)}")
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
    return (_opening(row, where, path.name, column) for where, row in read_rows(path))


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
