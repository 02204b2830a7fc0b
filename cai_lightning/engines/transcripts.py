"""Conversations as tokens in which what the model has written stays the tokens it wrote, so that a cache of them fits.

transcripts = Transcripts(tokenizer)
ids = transcripts.encode(conversation)
transcripts.remember(conversation, ids, reply, written)  # the next turn's tokens begin with these
"""

from transformers import PreTrainedTokenizerBase

from cai_lightning import chat
from cai_lightning.engines.encoding import Template, encode
from cai_lightning.records import Conversation
from cai_lightning.template import render

REMEMBERED = 4096
"""Conversations whose tokens are kept; the oldest are forgotten first."""


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
        self._known: dict[str, tuple[str, list[int]]] = {}

    def encode(self, conversation: Conversation) -> list[int]:
        """The tokens of a conversation, up to where the assistant's next turn begins."""
        text, ids = self._known.pop(str(conversation[:-1]), ("", []))
        rest = self._worded(conversation).removeprefix(text) if text else ""
        if not rest.startswith(tuple(self.tokenizer.all_special_tokens)):
            return encode(self.tokenizer, conversation, self.template)
        return [*ids, *self.tokenizer(rest, add_special_tokens=False)["input_ids"]]

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
        known = (self._worded(conversation) + reply, [*ids, *written])
        self._known[str(chat.answered(conversation, reply))] = known

    def _worded(self, conversation: Conversation) -> str:
        return render(self.tokenizer, conversation, prompt=True)
