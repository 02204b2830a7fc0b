"""Conversations as token ids, and token ids as the text of a reply."""

from collections.abc import Collection, Sequence
from typing import Literal

from transformers import PreTrainedTokenizerBase

from cai_lightning import chat
from cai_lightning.records import Conversation
from cai_lightning.template import render, tokens

Template = Literal["chat", "plain"]


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


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], stop: Collection[str]) -> str:
    """The words of a reply, up to the first of the stop strings.

    Args:
        tokenizer: The model's.
        ids: The tokens written, without the end of turn.
        stop: Texts that end a reply and are no part of it.
    """
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    end = min((text.index(found) for found in stop if found in text), default=None)
    return text[:end].strip()
