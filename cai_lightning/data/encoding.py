"""A conversation as tokens, and which of them are learned: the response and its end of turn."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from cai_lightning.data.frame import Frame, frame
from cai_lightning.errors import UserError
from cai_lightning.records import Conversation
from cai_lightning.template import render, tokens

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
    tokenizer: PreTrainedTokenizerBase,
    id: str,
    opening: Conversation,
    response: str,
    max_length: int,
    finished: bool = True,
) -> Example:
    """Words a conversation with the chat template; its response and end of turn are what is learned.

    The tokens before the response are those that an engine asks the model with. White space around it is not learned.
    Where both do not fit, the beginning of the prompt is cut, down to half of `max_length`; a response that does not
    fit behind it loses its end, and the model is not taught to end its turn there.

    Args:
        tokenizer: Its chat template words the turns.
        id: The record's id, for messages.
        opening: The turns before the response.
        response: What the assistant shall say.
        max_length: Tokens kept.
        finished: Whether the response has come to its end; the words of one that was cut are learned, and no end of
            turn stands behind them.

    Raises:
        UserError: Nothing of the response is left to learn, or the chat template is not fit for training.
    """
    around = frame(tokenizer)
    if around.length >= max_length:
        raise UserError(
            f"row {id}: none of its response is left to learn: the chat template alone takes {around.length} of "
            f"{max_length} tokens. Raise data.max_length."
        )
    asked = render(tokenizer, opening, prompt=True)
    start = tokens(tokenizer, asked)
    end = around.end if finished else ""
    reply = _reply(tokenizer, around, asked, start, response.strip(), end)
    prompt = _cut(start, max(max_length - len(reply), max_length // 2), tokenizer.bos_token_id)
    kept = reply[: max_length - len(prompt)]
    return Example(id, prompt + kept, [IGNORED] * len(prompt) + kept, truncated=len(start) + len(reply) > max_length)


def _reply(
    tokenizer: PreTrainedTokenizerBase, around: Frame, asked: str, start: list[int], response: str, end: str
) -> list[int]:
    """The tokens of a response and what ends its turn, as they follow those of the prompt."""
    if any(token in response for token in around.control):
        spelt = tokenizer(response, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [*tokens(tokenizer, around.before), *spelt, *tokens(tokenizer, end)]
    text = around.before + response + end
    whole = tokens(tokenizer, asked + text)
    if whole[: len(start)] == start:
        return whole[len(start) :]
    # The prompt's last token melts into the response's first, which it cannot where a model is asked.
    return tokens(tokenizer, around.end_of_turn + text)[1:]


def _cut(start: list[int], room: int, bos: int | None) -> list[int]:
    """The last tokens of a prompt, behind its beginning-of-text token where it has one."""
    if len(start) <= room:
        return start
    first = start[:1] if start[0] == bos and room else []
    return first + start[len(start) - room + len(first) :]
