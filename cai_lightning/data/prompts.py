"""Prompts and conversations, read from wherever they are kept, and the part of every experiment that each belongs to.

    prompts = read_prompts("prompts.jsonl")
    prompts = read_prompts("anthropic")
    prompts = read_prompts("hf:Anthropic/hh-rlhf", column="chosen", split="test")
    chats = read_chats("hf:HuggingFaceH4/no_robots", split="train")
    part("How do I pick a lock?")  # "train"

What is wrong with a row is said with its file, its line and its value.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Literal

from cai_lightning.principles.constitution import EVALUATION_FILES, find_file
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import Row, check
from cai_lightning.run.records import (
    AboutPrompt,
    Conversation,
    Prompt,
    Role,
    assistant,
    number_ids,
    prompt_id,
    transcript_text,
    user,
)
from cai_lightning.run.text import excerpt

Part = Literal["train", "validation", "test"]

_TRANSCRIPTS = ("chosen", "rejected", "transcript")
"""Fields that hold a transcript."""

_PAIRS = (("prompt", "response"), ("prompt", "completion"), ("instruction", "output"))
_SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_OPTION = re.compile(r"^ ?(\([A-Z]\)) (.+)$", re.MULTILINE)
_ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True)
class Shares:
    """How much of the prompts is set aside.

    Args:
        test: Share seen by validate alone, from 0 to 1.
        validation: Share for fit's loss and early stopping, from 0 to 1; what is left of the two trains.
    """

    test: float = 0.15
    validation: float = 0.05

    def __post_init__(self) -> None:
        if not (self.test >= 0 and self.validation >= 0 and self.test + self.validation <= 1):
            raise ValueError(f"shares: test {self.test} and validation {self.validation} must be ≥ 0, together ≤ 1.")


def part(text: str, shares: Shares = Shares()) -> Part:
    """The part to which a text belongs: it is tested on, validates fine-tuning, or trains.

    It follows from the text alone, so it is the same in every experiment, nothing moves when rows are added, and
    duplicates stay together.

    Args:
        text: A prompt, or `transcript_text` of a transcript.
        shares: How much is set aside.
    """
    place = share(text)
    if place < shares.test:
        return "test"
    return "validation" if place < shares.test + shares.validation else "train"


def share(text: str) -> float:
    """The place of a text between 0 and 1: the first 8 bytes of the SHA-256 of its normalised form, over 2^64."""
    digest = hashlib.sha256(normalised(text).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def prompt_text(prompt: AboutPrompt) -> str:
    """The text that stands for a prompt in its id and its part; of a transcript all its turns."""
    return transcript_text(prompt.turns) if prompt.turns else prompt.prompt


def opening_text(opening: Conversation) -> str:
    """The text that stands for an opening, as `prompt_text` does for a prompt."""
    return opening[0]["content"] if len(opening) == 1 else transcript_text(opening)


def normalised(text: str) -> str:
    """What two prompts have in common that are one: NFC, a blank for any white space, no difference of case."""
    return " ".join(unicodedata.normalize("NFC", text).split()).casefold()


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
    prompts = list(_without_ids(source, column, split))
    if not prompts:
        raise UserError(f"{source}: there is no prompt in it.")
    texts = [prompt_text(prompt) for prompt in prompts]
    ids = number_ids(texts)
    return [replace(p, id=id, prompt_id=prompt_id(text)) for p, id, text in zip(prompts, ids, texts, strict=True)]


def _without_ids(source: str, column: str, split: str) -> Iterator[Prompt]:
    path = Path(source).expanduser()
    if source == "anthropic" or path.is_dir():
        return _evaluations(source)
    origin = source if source.startswith("hf:") else path.name
    return (_prompt(row, where, origin, column) for where, row in read_rows(source, split))


def read_rows(source: str, split: str) -> Iterator[tuple[str, Row]]:
    """The rows of a file, or of a Hugging Face dataset (`hf:NAME`, or `hf:NAME:FOLDER` for one of its folders), with
    their places."""
    if source.startswith("hf:"):
        return _read_dataset(source.removeprefix("hf:"), split)
    path = Path(source).expanduser()
    if not path.exists():
        raise UserError(
            f"{source}: no such file or folder. Rows come from a JSON Lines file or `hf:NAME`, prompts also from a "
            "folder with Anthropic's evaluation files, or `anthropic`."
        )
    return jsonl.read_lines(path)


def _read_dataset(name: str, split: str) -> Iterator[tuple[str, Row]]:
    import datasets

    try:
        name, _, folder = name.partition(":")
        rows = datasets.load_dataset(name, data_dir=folder or None, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"hf:{name}: split {split!r} of this dataset cannot be loaded ({error}).") from error
    for number, row in enumerate(rows, 1):
        yield f"hf:{name}, split {split!r}, row {number}", row


def _prompt(row: Row, where: str, origin: str, column: str) -> Prompt:
    """The prompt in a row, under `column`, or else the transcript under `chosen` or `transcript`."""
    field = next((field for field in (column, "chosen", "transcript") if field in row), None)
    if field is None:
        raise UserError(f"{where}: no {column!r}, 'chosen' or 'transcript' in this row: {excerpt(row)}")
    text = text_of(row, field, where)
    if field in _TRANSCRIPTS:
        return last_asked(text, where, origin)
    source, category = (optional_text_of(row, field, where) for field in ("source", "category"))
    return Prompt("", text, source or origin, category)


def last_asked(transcript: str, where: str, origin: str) -> Prompt:
    """A transcript up to its last human turn; one that has a single human turn is an ordinary prompt."""
    turns = turns_of(transcript, where)
    if turns[-1]["role"] != "user":
        turns.pop()
    if not turns[-1]["content"].strip():
        raise UserError(f"{where}: the transcript must end in a human turn that says something: {excerpt(transcript)}")
    return Prompt("", turns[-1]["content"], origin, turns=turns if len(turns) > 1 else None)


def _evaluations(source: str) -> Iterator[Prompt]:
    """The first human turn of every row of the paper's three evaluation files, in the order of the original."""
    for name in EVALUATION_FILES:
        path = find_file(source, f"evals/{name}")
        if not path.is_file():
            raise UserError(f"{source}: not found here: {name}. The folder must hold {', '.join(EVALUATION_FILES)}.")
        for where, row in jsonl.read_lines(path):
            yield _evaluation(row, where, path.stem)


def _evaluation(row: Row, where: str, source: str) -> Prompt:
    dialogue = text_of(row, "text_correct" if source == "438HHHEvaluations" else "prompt", where)
    opening = dialogue.partition("\n\nHuman:")[2].partition("\n\nAssistant:")[0].removeprefix(" ")
    if not opening.strip():
        raise UserError(f"{where}: no human turn in {excerpt(dialogue)}")
    asks_for_the_harm = "best characterizes the way in which it was harmful" in dialogue
    return Prompt("", opening, source, right_option(row, dialogue, where) if asks_for_the_harm else None)


def right_option(row: Row, question: str, where: str) -> str:
    """The option of a question that `corrects`, a list of one, names by its letter."""
    options: dict[str, str] = dict(_OPTION.findall(question))
    named = row.get("corrects")
    if isinstance(named, list) and len(named) == 1 and isinstance(named[0], str) and named[0].strip() in options:
        return options[named[0].strip()]
    raise UserError(f"{where}: 'corrects' must name one of the options {', '.join(options)}: {excerpt(row)}")


@dataclass(frozen=True)
class Sample:
    """A conversation to learn from: its opening and the response, whose end is learned where it is finished."""

    id: str
    opening: Conversation
    response: str
    finished: bool = True


def read_chats(source: str, split: str = "train") -> list[Sample]:
    """All conversations of a source.

    Args:
        source: A JSON Lines file (plain or .gz) or `hf:NAME`, a Hugging Face dataset. A row holds `messages` (roles and
            contents), or `prompt` and `response`, or an hh-rlhf transcript under `chosen`.
        split: Split of a Hugging Face dataset.

    Raises:
        UserError: The source is missing or empty, or a row is malformed; the message names file, line and value.
    """
    chats = [_chat(row, where) for where, row in read_rows(source, split)]
    if not chats:
        raise UserError(f"{source}: there is no conversation in it.")
    return chats


def _chat(row: Row, where: str) -> Sample:
    turns = _turns(row, where)
    if len(turns) < 2 or turns[-1]["role"] != "assistant" or not turns[-1]["content"].strip():
        raise UserError(f"{where}: a conversation must end in an assistant turn that says something: {excerpt(row)}")
    return Sample(prompt_id(opening_text(turns[:-1])), turns[:-1], turns[-1]["content"])


def _turns(row: Row, where: str) -> Conversation:
    if "messages" in row:
        return check(Conversation, row["messages"], where, "messages")
    for prompt, response in _PAIRS:
        if prompt in row and response in row:
            return [user(text_of(row, prompt, where)), assistant(text_of(row, response, where))]
    if "chosen" in row:
        return turns_of(text_of(row, "chosen", where), where)
    raise UserError(f"{where}: no 'messages', 'prompt' and 'response', or 'chosen' in this row: {excerpt(row)}")


def turns_of(transcript: str, where: str) -> Conversation:
    """The turns of a transcript, user and assistant in turn: what one says twice running is one turn."""
    before, *parts = _SPEAKER.split(transcript)
    if before.strip() or not parts or parts[0] != "Human":
        raise UserError(f"{where}: a transcript begins with 'Human:', this one with {excerpt(transcript)}")
    turns: Conversation = []
    for speaker, run in groupby(zip(parts[::2], parts[1::2], strict=True), key=itemgetter(0)):
        said = "\n\n".join(content.removeprefix(" ") for _, content in run)
        turns.append({"role": _ROLES[speaker], "content": said})
    return turns


def text_of(row: Row, field: str, where: str) -> str:
    """The text in a field of a row; one that is absent, empty or no text is an error that names its place."""
    if field not in row:
        raise UserError(f"{where}: no {field!r} in this row: {excerpt(row)}")
    value = row[field]
    if not isinstance(value, str):
        raise UserError(f"{where}: {field!r} must be a text, not {excerpt(value)}")
    if not value.strip():
        raise UserError(f"{where}: {field!r} is empty: {excerpt(value)}")
    return value


def optional_text_of(row: Row, field: str, where: str) -> str | None:
    """Likewise where the field may be absent, null or blank."""
    is_blank = row.get(field) is None or not str(row[field]).strip()
    return None if is_blank else text_of(row, field, where)
