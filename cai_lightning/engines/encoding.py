"""Conversations as token ids, and token ids as the text of a reply."""

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Literal

from transformers import PreTrainedTokenizerBase

from cai_lightning import chat
from cai_lightning.records import Conversation
from cai_lightning.template import render, tokens
from cai_lightning.thoughts import CLOSE, OPEN, Said, split_thoughts

Template = Literal["chat", "plain"]

LAST = 16
"""Tokens at the end of a prompt that surely hold a `<think>` which stands there."""


def encode(tokenizer: PreTrainedTokenizerBase, conversation: Conversation, template: Template) -> list[int]:
    """The tokens that a reply continues.

    Args:
        tokenizer: The model's.
        conversation: Ends in a user turn.
        template: `chat` words it with the tokenizer's chat template; `plain` joins the turns by blank lines.
    """
    if template == "plain":
        return list(tokenizer(chat.plain(conversation))["input_ids"])
    return tokens(tokenizer, render(tokenizer, conversation, prompt=True))


def decode(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], ids: Sequence[int], stop: Collection[str]
) -> Said:
    """The words and the thought of a reply, up to the first of the stop strings.

    Args:
        tokenizer: The model's.
        prompt: The tokens that the reply continues; a template may have begun a thought in them.
        ids: The tokens written, without the end of turn.
        stop: Texts that end a reply and are no part of it.
    """
    text = "".join(_pieces(tokenizer, ids))
    end = min((text.index(found) for found in stop if found in text), default=None)
    opened = str(tokenizer.decode(prompt[-LAST:])).rstrip().endswith(OPEN)
    return split_thoughts(text[:end].strip(), opened)


def _pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> Iterator[str]:
    """The text without special tokens, but for those that enclose thoughts in some tokenizers."""
    tags, start = _special_tags(tokenizer), 0
    for place, id in enumerate(ids):
        if id in tags:
            yield from (str(tokenizer.decode(ids[start:place], skip_special_tokens=True)), tags[id])
            start = place + 1
    yield str(tokenizer.decode(ids[start:], skip_special_tokens=True))


@lru_cache(maxsize=8)
def _special_tags(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    added = tokenizer.added_tokens_decoder.items()
    return {id: token.content for id, token in added if token.special and token.content in (OPEN, CLOSE)}
