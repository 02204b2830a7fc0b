"""From conversations to batches: tokens, and labels where the response stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cai_lightning.errors import UserError
from cai_lightning.records import Conversation, assistant

IGNORED = -100
"""The label of a token that is not learned."""


class Batch(TypedDict):
    """B conversations of up to L tokens, padded on the right; the first three are [B, L].

    `expected_tokens` is how many supervised tokens a batch has on average. Batches are made by length, and short
    replies are often of one kind, such as refusals: a mean over each batch's own tokens would learn them many times.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    expected_tokens: Tensor


@dataclass(frozen=True)
class Example:
    """One conversation as tokens; `labels` are the tokens of the response and its end of turn, elsewhere `IGNORED`."""

    id: str
    input_ids: list[int]
    labels: list[int]
    truncated: bool

    @property
    def supervised(self) -> int:
        """How many tokens are learned."""
        return sum(label != IGNORED for label in self.labels)


def encode(
    tokenizer: PreTrainedTokenizerBase, id: str, opening: Conversation, response: str, max_length: int
) -> Example:
    """Words a conversation with the chat template; its response and end of turn are what is learned.

    Args:
        tokenizer: Its chat template words the turns.
        id: The record's id, for messages.
        opening: The turns before the response.
        response: What the assistant shall say.
        max_length: Tokens kept; what is beyond is cut at the end.

    Raises:
        UserError: No token of the response is left to learn.
    """
    start = _template(tokenizer, opening, add_generation_prompt=True)
    whole = _template(tokenizer, [*opening, assistant(response)], add_generation_prompt=False)
    if whole[: len(start)] != start:
        raise UserError(f"row {id}: the chat template words the prompt differently once the response follows.")
    whole = whole[: _end_of_turn(whole, len(start), tokenizer.eos_token_id)]
    ids = whole[:max_length]
    labels = [IGNORED] * min(len(start), len(ids)) + ids[len(start) :]
    example = Example(id, ids, labels, truncated=len(whole) > max_length)
    if not example.supervised:
        raise UserError(
            f"row {id}: none of its response is left to learn: the prompt takes {len(start)} of {max_length} tokens. "
            "Raise data.max_length."
        )
    return example


def collate(examples: Sequence[Example], pad: int, expected_tokens: float) -> Batch:
    """Pads examples to the longest of them."""
    width = max(len(example.input_ids) for example in examples)
    return Batch(
        input_ids=_padded([example.input_ids for example in examples], width, pad),
        attention_mask=_padded([[1] * len(example.input_ids) for example in examples], width, 0),
        labels=_padded([example.labels for example in examples], width, IGNORED),
        expected_tokens=torch.tensor(expected_tokens),
    )


def _template(tokenizer: PreTrainedTokenizerBase, turns: Conversation, add_generation_prompt: bool) -> list[int]:
    encoded = tokenizer.apply_chat_template(turns, add_generation_prompt=add_generation_prompt, return_dict=True)
    return list(encoded["input_ids"])


def _end_of_turn(ids: list[int], start: int, eos: int) -> int:
    """The place behind the last end-of-turn token; what a template puts behind it is not learned."""
    places = [place for place in range(start, len(ids)) if ids[place] == eos]
    return places[-1] + 1 if places else len(ids)


def _padded(rows: list[list[int]], width: int, fill: int) -> Tensor:
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])
