"""Conversations as tokens, in which what the model has written stays the tokens it wrote, so that a cache of them fits.

transcripts = Transcripts(tokenizer)
ids = transcripts.encode(conversation)
text, thought = transcripts.decode(conversation, ids, written, stop=[])  # the next turn's tokens begin with these
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from transformers import PreTrainedTokenizerBase

from cai_lightning.models.template import control_tokens, render, tokens
from cai_lightning.principles import wording
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Conversation
from cai_lightning.run.thoughts import CLOSE, OPEN, Said, split_thoughts

Template = Literal["chat", "plain"]

LAST = 16
"""Tokens at the end of a prompt that surely hold a `<think>` which stands there."""

REMEMBERED = 4096
"""Conversations whose tokens are kept; the oldest are forgotten first."""


@dataclass(frozen=True)
class _Answered:
    """A conversation that was answered: its words before the reply, the reply, and the tokens of both."""

    asked: str
    reply: str
    ids: list[int]


class Transcripts:
    """Turns conversations into tokens.

    A text has more than one way to be tokens, and a model that samples does not always take the tokenizer's.

    Args:
        tokenizer: The model's.
        template: `chat` words conversations with the tokenizer's chat template; `plain` joins turns by blank lines,
            which melt into the words around them, so that nothing can be remembered.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: Template = "chat") -> None:
        self.tokenizer = tokenizer
        self.template: Template = template
        self._control = control_tokens(tokenizer)
        self._known: dict[str, _Answered] = {}

    def encode(self, conversation: Conversation) -> list[int]:
        """The tokens of a conversation, up to where the assistant's next turn begins.

        They are the template's, but inside what the model has written. Where a template words earlier turns
        differently once another follows, the conversation is encoded anew.
        """
        answered = str(conversation[:-1])
        if answered not in self._known:
            return encode(self.tokenizer, conversation, self.template)
        known = self._known[answered] = self._known.pop(answered)  # the last to be forgotten, for it is asked about
        text = self._worded(conversation)
        rest = _behind(known, text)
        if not rest.startswith(self._control):
            return tokens(self.tokenizer, text)
        return [*known.ids, *tokens(self.tokenizer, rest)]

    def options(self, ids: list[int], options: Sequence[str]) -> list[list[int]]:
        """The tokens of answers to choose from.

        Args:
            ids: The tokens that they answer.
            options: Their texts.

        Raises:
            UserError: A template has begun a thought, whose first words they would be weighed as.
        """
        if self._begins_thought(ids):
            raise UserError(
                "the chat template begins a thought, behind which no options can be weighed; where it can leave it out,"
                " set the engine's chat_template_kwargs to {enable_thinking: false}."
            )
        return [list(self.tokenizer(option, add_special_tokens=False)["input_ids"]) for option in options]

    def decode(self, conversation: Conversation, ids: list[int], written: list[int], stop: Collection[str]) -> Said:
        """The words and the thought of a reply, up to the first of the stop strings; remembered for the next turn.

        Args:
            conversation: What was answered.
            ids: Its tokens; a template may have begun a thought in them.
            written: The tokens written, without the end of turn.
            stop: Texts that end a reply and are no part of it.
        """
        text = "".join(_pieces(self.tokenizer, written))
        end = min((text.index(found) for found in stop if found in text), default=None)
        said = split_thoughts(text[:end].strip(), self._begins_thought(ids))
        self.remember(conversation, ids, said.words, written)
        return said

    def remember(self, conversation: Conversation, ids: list[int], reply: str, written: list[int]) -> None:
        """Keeps the tokens of an answered conversation for its next turn.

        Args:
            conversation: What was answered.
            ids: Its tokens.
            reply: The answer.
            written: The answer's tokens without the one that ended it; where they say more than the answer, such as a
                stop string, nothing is kept. White space around it may be more.
        """
        if self.template == "plain" or self.tokenizer.decode(written).strip() != reply:
            return
        if len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        answered = _Answered(self._worded(conversation), reply, [*ids, *written])
        self._known[str(wording.answered(conversation, reply))] = answered

    def _begins_thought(self, ids: list[int]) -> bool:
        return str(self.tokenizer.decode(ids[-LAST:])).rstrip().endswith(OPEN)

    def _worded(self, conversation: Conversation) -> str:
        return render(self.tokenizer, conversation, prompt=True)


def encode(tokenizer: PreTrainedTokenizerBase, conversation: Conversation, template: Template) -> list[int]:
    """The tokens that a reply continues.

    Args:
        tokenizer: The model's.
        conversation: Ends in a user turn.
        template: `chat` words it with the tokenizer's chat template; `plain` joins the turns by blank lines.
    """
    if template == "plain":
        return list(tokenizer(wording.plain(conversation))["input_ids"])
    return tokens(tokenizer, render(tokenizer, conversation, prompt=True))


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


def _behind(known: _Answered, text: str) -> str:
    """What a template puts behind a reply, if it leaves alone what came before.

    White space around a reply is the model's: Mistral's template puts a blank in front of it, which the model has
    written in its first token.
    """
    said = text.removeprefix(known.asked).lstrip() if text.startswith(known.asked) else ""
    return said.removeprefix(known.reply).lstrip() if said.startswith(known.reply) else ""
