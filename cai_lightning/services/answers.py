"""A judge's server: what it is asked by a JSON schema, what it answers, and whether it has read the whole of it.

Some servers cut a conversation that is too long, and say nothing. Ollama does. It then keeps half of the context and
counts what it has kept, so that its count alone looks well (ollama/ollama issues 17427 and 3427). A count that is below
the number of words is a certain sign. Where the context is known there are others; no single one of these is certain.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from cai_lightning.run.records import Conversation
from cai_lightning.run.text import split_thoughts


@dataclass(frozen=True)
class JudgeRequest:
    """What is asked.

    Args:
        messages: The conversation, which ends in a user turn.
        schema: The JSON schema of the answer; a server may not keep to it.
    """

    messages: Conversation
    schema: dict[str, Any]

    @property
    def size(self) -> int:
        """Bytes of the messages; no token stands for less than one."""
        return sum(len(turn["content"].encode()) for turn in self.messages)


@dataclass(frozen=True)
class JudgeSampling:
    """How an answer is drawn.

    Args:
        temperature: 0 takes the likeliest token, and the seed then changes nothing.
        seed: Seed of the draw.
        max_tokens: The answer is cut after so many tokens.
        context: Tokens of request and answer together that the server shall have room for.
    """

    temperature: float
    seed: int
    max_tokens: int
    context: int


@dataclass(frozen=True)
class Answer:
    """What a server answers.

    Args:
        text: The words; it is to be seen whether they keep to the schema.
        ended: Whether they came to their own end, rather than to that of the room for them.
        prompt_tokens: Tokens of the request that the server has read; None where it does not say.
        refusal: What a server says that tells refusals apart.
    """

    text: str
    ended: bool
    prompt_tokens: int | None
    refusal: str | None = None


class AnswerServer(ABC):
    """Asks one model of one server."""

    @abstractmethod
    def check(self, context: int) -> None:
        """Makes sure that the server is there, has the model, and that the model has the context.

        Raises:
            UserError: It has not; the message says what to do.
        """

    @abstractmethod
    def revision(self) -> str:
        """What stands behind the model's name.

        Raises:
            UserError: There is no server, or it does not have the model.
        """

    @abstractmethod
    async def answer(self, request: JudgeRequest, sampling: JudgeSampling) -> Answer:
        """The server's answer to a request that is sent once.

        Raises:
            TransientError: It is worth another try.
            ReplyError: The server does not answer this request.
            UserError: The server would answer no request.
        """


MOST_BYTES_PER_TOKEN = 8
"""English has 4 to 5 bytes a token, other languages fewer; a text of more than 8 has been cut, or cannot fit."""

TEMPLATE_TOKENS = 256
"""What a chat template puts around the messages, at most."""

HALF = 8
"""How far from half of the context a count may be that still looks like it."""


SMALLEST_CONTEXT = 256
"""No server has room for so few tokens; what does not need as many was not cut."""


def fewest_tokens(conversation: Conversation) -> int:
    """Fewer tokens than this no tokenizer makes of a conversation, whatever its language: one for each of its words.

    No token holds letters or digits on both sides of a blank. Rules and blanks, of which a token may hold a hundred,
    are no words, nor are thoughts, which chat templates leave out. English has 1.3 tokens a word, so that it is seen
    where more than a quarter was not read. Of scripts without blanks nothing can be said for sure.
    """
    words = (word for turn in conversation for word in split_thoughts(turn["content"]).words.split())
    return sum(any(map(str.isalnum, word)) for word in words)


def why_unread(conversation: Conversation, read: int) -> str | None:
    """Why a server of unknown context has not read a whole conversation; None where it has, or nothing is known.

    Args:
        conversation: What it was sent.
        read: Tokens of it that the server says it has read; 0 where it does not say.
    """
    fewest = fewest_tokens(conversation) if read else 0
    if fewest <= max(read, SMALLEST_CONTEXT):
        return None
    return (
        f"the server has read {read} tokens of a conversation of at least {fewest}: it was cut. Give the model a "
        "larger context (Ollama: OLLAMA_CONTEXT_LENGTH, or num_ctx in its Modelfile; its version 0.30.0 counts too few)"
    )


def why_too_long(size: int, max_tokens: int, context: int) -> str | None:
    """Why a request clearly cannot fit; None where it may.

    Args:
        size: Bytes of the messages.
        max_tokens: Tokens that the answer needs.
        context: Tokens of request and answer together.
    """
    if size / MOST_BYTES_PER_TOKEN + max_tokens <= context:
        return None
    return f"{size} bytes of request and {max_tokens} tokens of answer do not fit into {context} tokens; raise num_ctx"


def why_cut(size: int, fewest: int, read: int | None, max_tokens: int, context: int) -> str | None:
    """Why a server has not read the whole request, or may not have; None where it has.

    Args:
        size: Bytes of the messages.
        fewest: The fewest tokens that these are, see `fewest_tokens`.
        read: Tokens of the question that the server says it has read; None where it does not say.
        max_tokens: Tokens that the answer may have.
        context: Tokens of request and answer together.
    """
    if size + TEMPLATE_TOKENS + max_tokens <= context:
        return None
    if read is None:
        return "the server does not say how much of this long request it has read"
    is_short = read < fewest or size > MOST_BYTES_PER_TOKEN * read
    if read >= context or abs(read - context // 2) <= HALF or is_short:
        return f"the server has read {read} tokens of a request of {size} bytes: it was cut; raise num_ctx"
    return None
