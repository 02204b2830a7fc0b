"""The contract of a server that answers a question by a JSON schema, whichever protocol it speaks."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from cai_lightning.records import Conversation


@dataclass(frozen=True)
class Question:
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
class Drawing:
    """How an answer is drawn.

    Args:
        temperature: 0 takes the likeliest token, and the seed then changes nothing.
        seed: Seed of the drawing.
        max_tokens: The answer is cut after so many tokens.
        context: Tokens of question and answer together that the server shall have room for.
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
        prompt_tokens: Tokens of the question that the server has read; None where it does not say.
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
    async def answer(self, question: Question, drawing: Drawing) -> Answer:
        """The server's answer to a question that is sent once.

        Raises:
            TransientError: It is worth another try.
            ReplyError: The server does not answer this question.
            UserError: The server would answer no question.
        """
