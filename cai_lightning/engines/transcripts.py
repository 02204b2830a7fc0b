"""Conversations as tokens, in which what the model has written stays the tokens it wrote, so that a cache of them fits.

transcripts = Transcripts(tokenizer)
ids = transcripts.encode(conversation)
text, thought = transcripts.decode(conversation, ids, written, stop=[])  # the next turn's tokens begin with these
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from cai_lightning.engines.base import check_options
from cai_lightning.models.hub import load_tokenizer
from cai_lightning.models.template import control_tokens, render, tokens
from cai_lightning.principles import wording
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Conversation
from cai_lightning.run.text import CLOSE, OPEN, Said, split_thoughts

log = logging.getLogger(__name__)

Template = Literal["chat", "plain"]

LAST = 16
"""Tokens at the end of a prompt that surely hold a `<think>`, or a cue of ours, which stands there."""

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
        unsaid = [token for token in self._control if token not in (OPEN, CLOSE)]
        self._unsaid = set(tokenizer.convert_tokens_to_ids(unsaid))
        self._known: dict[str, _Answered] = {}

    def encode(self, conversation: Conversation) -> list[int]:
        """The tokens of a conversation, up to where the assistant's next turn begins.

        They are the template's, but inside what the model has written. Where a template words earlier turns
        differently once another follows, the conversation is encoded anew.
        """
        if self.template == "plain":
            return list(self.tokenizer(wording.plain(conversation))["input_ids"])
        answered, text = str(conversation[:-1]), render(self.tokenizer, conversation, prompt=True)
        if known := self._known.pop(answered, None):
            self._known[answered] = known  # the last to be forgotten, for it is asked about
            rest = _behind(known, text)
            if rest.startswith(self._control):
                return [*known.ids, *tokens(self.tokenizer, rest)]
        return tokens(self.tokenizer, text)

    def options(self, ids: list[int], options: Sequence[str]) -> list[list[int]]:
        """The tokens of answers to choose from.

        Args:
            ids: The tokens that they answer.
            options: Their texts.

        Raises:
            ValueError: There is none, one is empty, or one begins another.
            UserError: A template has begun a thought, whose first words they would be weighed as.
        """
        check_options(options)
        if self._begins_thought(ids):
            raise UserError(
                "the chat template begins a thought, behind which no options can be weighed; where it can leave it out,"
                " set the engine's chat_template_kwargs to {enable_thinking: false}."
            )
        if self.template == "plain" and self._tail(ids).endswith(wording.CUES):
            return [self._behind_colon(option) for option in options]
        return [self._pure(option) for option in options]

    def _pure(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _behind_colon(self, option: str) -> list[int]:
        """The tokens of a blank and an option, as they stand behind a cue in the same line."""
        colon, both = self._pure(":"), self._pure(f": {option}")
        return both[len(colon) :] if both[: len(colon)] == colon else self._pure(f" {option}")

    def decode(self, conversation: Conversation, ids: list[int], written: list[int], stop: Collection[str]) -> Said:
        """The words and the thought of a reply, up to the first of the stop strings; remembered for the next turn.

        Args:
            conversation: What was answered.
            ids: Its tokens; a template may have begun a thought in them.
            written: The tokens written, without the end of turn.
            stop: Texts that end a reply and are no part of it.
        """
        text = str(self.tokenizer.decode([id for id in written if id not in self._unsaid]))
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
        asked = render(self.tokenizer, conversation, prompt=True)
        self._known[str(wording.answered(conversation, reply))] = _Answered(asked, reply, [*ids, *written])

    def _begins_thought(self, ids: list[int]) -> bool:
        return self._tail(ids).rstrip().endswith(OPEN)

    def _tail(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids[-LAST:]))


def open_transcripts(
    model: str, template: Template, chat_template_kwargs: Mapping[str, Any] | None, adapter: Path | None
) -> Transcripts:
    """Transcripts with a model's tokenizer; warns where fit worded its conversations otherwise.

    Args:
        model: Name on the Hugging Face Hub, a folder, or a `.gguf` file.
        template: See `Transcripts`.
        chat_template_kwargs: Arguments of the chat template.
        adapter: The folder of what was trained, an adapter or a whole model.
    """
    tokenizer = load_tokenizer(model, chat_template_kwargs)
    kept = adapter / "chat_template.jinja" if adapter and template == "chat" else None
    if kept and kept.is_file() and kept.read_text(encoding="utf-8") != tokenizer.chat_template:
        log.warning(
            "%s was trained with another chat template, or other chat_template_kwargs, than it is asked with; give the "
            "engine those of fit.",
            adapter,
        )
    return Transcripts(tokenizer, template)


def _behind(known: _Answered, text: str) -> str:
    """What a template puts behind a reply, if it leaves alone what came before.

    White space around a reply is the model's: Mistral's template puts a blank in front of it, which the model has
    written in its first token.
    """
    said = text.removeprefix(known.asked).lstrip() if text.startswith(known.asked) else ""
    return said.removeprefix(known.reply).lstrip() if said.startswith(known.reply) else ""
