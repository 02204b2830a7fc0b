"""Conversations of others to learn from beside the revisions, such as helpfulness data (Bai et al. 2022, section 3.3).

read_chats("hf:HuggingFaceH4/no_robots", split="train")
read_chats("harmless-base/train.jsonl.gz")
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cai_lightning.data.prompts import Row, conversation_of, read_dataset, text_of, turns_of
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Conversation, assistant, user
from cai_lightning.run.text import excerpt

_PAIRS = (("prompt", "response"), ("prompt", "completion"), ("instruction", "output"))


@dataclass(frozen=True)
class Mixture:
    """A source of conversations that are learned from beside the revisions.

    Args:
        source: A JSON Lines file (plain or .gz) or `hf:NAME`, a Hugging Face dataset. A row holds `messages` (roles and
            contents), or `prompt` and `response`, or an hh-rlhf transcript under `chosen`.
        weight: Conversations for each training revision; 1 takes as many as there are revisions.
        split: Split of a Hugging Face dataset.
    """

    source: str
    weight: float = 1.0
    split: str = "train"

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ValueError(f"mixture.weight: a number above 0 expected, found {self.weight}")


@dataclass(frozen=True)
class Chat:
    """A conversation and the assistant's turn at its end, which is learned."""

    opening: Conversation
    response: str


def read_chats(source: str, split: str = "train") -> list[Chat]:
    """All conversations of a source.

    Args:
        source: See `Mixture`.
        split: Split of a Hugging Face dataset.

    Raises:
        UserError: The source is missing or empty, or a row is malformed; the message names file, line and value.
    """
    chats = [_chat(row, where) for where, row in _rows(source, split)]
    if not chats:
        raise UserError(f"{source}: there is no conversation in it.")
    return chats


def _rows(source: str, split: str) -> Iterator[tuple[str, Row]]:
    if source.startswith("hf:"):
        return read_dataset(source.removeprefix("hf:"), split)
    path = Path(source).expanduser()
    if not path.is_file():
        raise UserError(f"{source}: no such file. A mixture names a JSON Lines file or `hf:NAME`.")
    return jsonl.read_lines(path)


def _chat(row: Row, where: str) -> Chat:
    turns = _turns(row, where)
    if not turns or turns[-1]["role"] != "assistant" or not turns[-1]["content"].strip() or len(turns) < 2:
        raise UserError(f"{where}: a conversation must end in an assistant turn that says something: {excerpt(row)}")
    return Chat(turns[:-1], turns[-1]["content"])


def _turns(row: Row, where: str) -> Conversation:
    if "messages" in row:
        return conversation_of(row, "messages", where)
    for prompt, response in _PAIRS:
        if prompt in row and response in row:
            return [user(text_of(row, prompt, where)), assistant(text_of(row, response, where))]
    if "chosen" in row:
        return turns_of(text_of(row, "chosen", where), where)
    raise UserError(f"{where}: no 'messages', 'prompt' and 'response', or 'chosen' in this row: {excerpt(row)}")
