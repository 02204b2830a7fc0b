"""Asking a language model for verdicts until one is valid.

client = JudgeClient(JudgeModel("llama3.1"))
verdict = await client.verdict(rubric.score_request(conversation, response), rubric.read_ratings)
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Generic, Literal, TypeVar

from cai_lightning.run.errors import ReplyError
from cai_lightning.run.text import split_thoughts
from cai_lightning.services import rubric
from cai_lightning.services.addresses import check_settings, read_key
from cai_lightning.services.answers import (
    Answer,
    AnswerServer,
    JudgeRequest,
    JudgeSampling,
    fewest_tokens,
    why_cut,
    why_too_long,
)
from cai_lightning.services.http import NoAnswerError, Servers, Sleep
from cai_lightning.services.ollama import OllamaServer
from cai_lightning.services.openai import OpenAIServer

T = TypeVar("T")


@dataclass(frozen=True)
class JudgeModel:
    """The model that judges, and how it is asked.

    Args:
        model: Its name, as the server knows it.
        base_url: The server's address; with `protocol: openai` it ends in /v1, and verdicts of another address are
            asked for again, since that protocol tells no digest of a model.
        protocol: `ollama` speaks Ollama's own, `openai` that of any OpenAI-compatible server.
        api_key_variable: With `protocol: openai` the environment variable that holds the key, which a server on this
            machine can do without; null where no server needs one.
        num_ctx: Tokens of request and verdict together. Ollama is told to make room for them; of another server it is
            what it has. What does not fit is unscored.
        num_predict: Tokens that a verdict may take.
        seed: Seed of the first verdict.
        tries: Verdicts asked for until one is valid, each with the next seed.
        retry_temperature: Temperature of all but the first, which has 0: there a seed would change nothing.
        concurrency: Requests in flight.
        max_retries: Tries of a request after the first while the server fails, after waits that double from a second
            on.
        max_wait: The longest of these waits, in seconds; a server that asks for a longer one is given up.
        timeout: Seconds after which an unanswered request is sent again.
    """

    NOT_FINGERPRINTED: ClassVar[frozenset[str]] = frozenset(
        {"base_url", "api_key_variable", "concurrency", "max_retries", "max_wait", "timeout"}
    )

    model: str = "llama3.1"
    base_url: str = "http://127.0.0.1:11434"
    protocol: Literal["ollama", "openai"] = "ollama"
    api_key_variable: str | None = "OPENAI_API_KEY"
    num_ctx: int = 8192
    num_predict: int = 512
    seed: int = 42
    tries: int = 3
    retry_temperature: float = 0.7
    concurrency: int = 4
    max_retries: int = 5
    max_wait: float = 120.0
    timeout: float = 600.0

    def __post_init__(self) -> None:
        least = {"num_predict": 1, "tries": 1, "seed": 0, "num_ctx": self.num_predict + 1, "retry_temperature": 0}
        check_settings(self, [self.base_url], least, "judge.")


@dataclass(frozen=True)
class Verdict(Generic[T]):
    """What a judge says to a request.

    Args:
        value: The first valid verdict; None where there is none.
        reason: Why there is none.
        tries: Verdicts that were asked for.
    """

    value: T | None
    reason: str | None
    tries: int


class JudgeClient:
    """Asks a judge. Its key is read, and its server reached for, only when they are needed.

    Args:
        judge: The model that judges.
        sleep: Waits so many seconds.
    """

    def __init__(self, judge: JudgeModel, sleep: Sleep = asyncio.sleep) -> None:
        self.judge = judge
        self._sleep = sleep

    @cached_property
    def _server(self) -> AnswerServer:
        """Ollama's own protocol has no keys."""
        judge = self.judge
        key = read_key(judge.api_key_variable, [judge.base_url]) if judge.protocol == "openai" else ""
        patience = judge.timeout, judge.max_retries, judge.max_wait
        servers = Servers([judge.base_url], "judge.base_url", key, *patience, self._sleep)
        return (OllamaServer if judge.protocol == "ollama" else OpenAIServer)(judge.model, servers)

    def check(self) -> None:
        """Makes sure that the server is there and has the model.

        Raises:
            UserError: It has not.
        """
        self._server.check(self.judge.num_ctx)

    def revision(self) -> str:
        """What stands behind the model's name, and the rubric's digest, for verdicts by another are other verdicts;
        raises as `check` does."""
        return f"{self._server.revision()}, rubric {rubric.digest()}"

    async def verdict(self, request: JudgeRequest, read: Callable[[str], T]) -> Verdict[T]:
        """The first valid verdict.

        Args:
            request: What is asked.
            read: Reads a verdict in the words of the judge, or raises a ValueError that says why it is none.

        Raises:
            NoAnswerError: The server does not answer; that it refuses this request is a verdict.
            UserError: It would answer no request.
        """
        judge, reason = self.judge, ""
        if why := why_too_long(request.size, judge.num_predict, judge.num_ctx):
            return Verdict(None, why, 0)
        for number in range(judge.tries):
            try:
                answer = await self._ask(request, number)
            except NoAnswerError:
                raise
            except ReplyError as error:
                return Verdict(None, str(error), number + 1)
            fewest = fewest_tokens(request.messages)
            if why := why_cut(request.size, fewest, answer.prompt_tokens, judge.num_predict, judge.num_ctx):
                return Verdict(None, why, number + 1)
            try:
                return Verdict(_read_whole(answer, read), None, number + 1)
            except ValueError as error:
                reason = str(error)
        return Verdict(None, f"no valid verdict in {judge.tries} tries; the last: {reason}", judge.tries)

    async def _ask(self, request: JudgeRequest, number: int) -> Answer:
        judge = self.judge
        temperature = judge.retry_temperature if number else 0.0
        sampling = JudgeSampling(temperature, judge.seed + number, judge.num_predict, judge.num_ctx)
        return await self._server.answer(request, sampling)


def _read_whole(answer: Answer, read: Callable[[str], T]) -> T:
    if answer.refusal:
        raise ValueError(f"the judge refuses: {answer.refusal[:120]!r}")
    if not answer.ended:
        raise ValueError(f"the verdict was cut at num_predict: {answer.text[:120]!r}")
    return read(_words(answer.text))


def _words(text: str) -> str:
    """What a judge says, without what it thought before; in a verdict alone, tags are words."""
    return text if text.lstrip().startswith("{") else split_thoughts(text).words
