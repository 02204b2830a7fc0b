"""A conversation as tokens, and which of them are learned: the response and its end of turn."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from cai_lightning.errors import UserError
from cai_lightning.records import Conversation, assistant

IGNORED = -100
"""The label of a token that is not learned."""


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


def _template(tokenizer: PreTrainedTokenizerBase, turns: Conversation, add_generation_prompt: bool) -> list[int]:
    encoded = tokenizer.apply_chat_template(turns, add_generation_prompt=add_generation_prompt, return_dict=True)
    return list(encoded["input_ids"])


def _end_of_turn(ids: list[int], start: int, eos: int) -> int:
    """The place behind the last end-of-turn token; what a template puts behind it is not learned."""
    places = [place for place in range(start, len(ids)) if ids[place] == eos]
    return places[-1] + 1 if places else len(ids)
