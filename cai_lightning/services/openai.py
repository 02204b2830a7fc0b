"""A server that speaks OpenAI's protocols: a request is sent once, what goes wrong is told apart, and answers are read.

Reading what a chat server answers, whichever server it is: pure functions of the answer's body.

Reading what OpenAI's moderation API answers: pure functions of the answer's body.

An address that speaks OpenAI's protocols: a request is sent once, and what goes wrong is told apart.

completion = await Endpoint("http://127.0.0.1:8000/v1", key="", timeout=600).complete({"model": ..., "messages": ...})

A server that speaks OpenAI's chat protocol and answers by a JSON schema: OpenAI, vLLM, llama.cpp, OpenRouter.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.text import parse_json
from cai_lightning.run.thoughts import joined
from cai_lightning.services.answers import Answer, AnswerServer, Drawing, Question
from cai_lightning.services.http import TransientError, model_revision, retry_after

if TYPE_CHECKING:
    from openai import APIStatusError

THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Where servers put thoughts: DeepSeek's and vLLM's of old, OpenRouter's with vLLM's and Ollama's of today, Ollama's
own."""


@dataclass(frozen=True)
class Token:
    """One token of an answer, and those that the model might have written in its place.

    Args:
        text: The token.
        alternatives: The likeliest tokens at this place with their log-probabilities.
    """

    text: str
    alternatives: list[tuple[str, float]]


@dataclass(frozen=True)
class Completion:
    """What a chat server answered.

    Args:
        text: The words; null where the server sent none.
        finish_reason: Why they end.
        tokens: Tokens written; 0 where the server does not count.
        prompt_tokens: Tokens of the conversation before them; 0 where the server does not count.
        logprobs: The tokens with their alternatives; empty where the server does not tell them.
        refusal: What a server says that tells refusals apart from answers.
        thought: What the model thought, of a server that tells it apart from the words.
    """

    text: str | None
    finish_reason: str | None
    tokens: int
    prompt_tokens: int
    logprobs: list[Token]
    refusal: str | None = None
    thought: str | None = None


def read_completion(body: bytes) -> Completion:
    """The answer in the body of a response.

    Raises:
        ValueError: It is none: cut short, or the error of a server that had promised success before.
    """
    try:
        answer = parse_json(body)
        choice = answer["choices"][0]
        text, reason = choice["message"].get("content"), choice.get("finish_reason")
        refusal = choice["message"].get("refusal")
        thought = joined(said for field in THOUGHTS if isinstance(said := choice["message"].get(field), str))
        usage = answer.get("usage") or {}
        tokens, prompt_tokens = int(usage.get("completion_tokens") or 0), _prompt_tokens(usage)
        logprobs = _read_logprobs(choice)
        if not isinstance(text, str | None) or not isinstance(refusal, str | None) or reason == "error":
            raise ValueError(reason)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
        raise ValueError(f"no chat completion, but: {body.decode(errors='replace')}") from None
    return Completion(text, reason, tokens, prompt_tokens, logprobs, refusal, thought)


def read_models(body: bytes) -> list[str]:
    """The names in a server's list of models; none where the body is no such list."""
    try:
        return [str(model["id"]) for model in parse_json(body)["data"]]
    except (ValueError, LookupError, TypeError):
        return []


def _prompt_tokens(usage: dict[str, Any]) -> int:
    """The tokens of the conversation; some servers leave out those that they had read before, and tell them apart."""
    counted = int(usage.get("prompt_tokens") or 0)
    cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    return counted + cached if cached > counted > 0 else counted


def _read_logprobs(choice: dict[str, Any]) -> list[Token]:
    tokens = (choice.get("logprobs") or {}).get("content") or []
    return [Token(t["token"], [(a["token"], float(a["logprob"])) for a in t.get("top_logprobs") or ()]) for t in tokens]


@dataclass(frozen=True)
class Moderation:
    """What the API says about one text.

    Args:
        flagged: Whether it flags the text.
        scores: The score of each category, from 0 to 1; categories without a score are left out.
        categories: The categories that it flags.
    """

    flagged: bool
    scores: dict[str, float]
    categories: list[str]


@dataclass(frozen=True)
class Moderated:
    """What the API answers to a request.

    Args:
        model: The model behind the name that was asked for.
        results: One for each text, it is to be hoped; a text stands for a result that cannot be read, and says why.
        digest: Stands for the model's weights; OpenAI tells none, the sandbox's service does.
    """

    model: str
    results: list[Moderation | str]
    digest: str | None = None


def read_moderated(body: bytes) -> Moderated:
    """The answer in the body of a response.

    Raises:
        ValueError: It is none: cut short, or something else.
    """
    try:
        answer = parse_json(body)
        model, results, digest = answer["model"], answer["results"], answer.get("digest")
        if not isinstance(model, str) or not isinstance(results, list) or not isinstance(digest, str | None):
            raise ValueError
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"no moderation, but: {body.decode(errors='replace')}") from None
    return Moderated(model, [_result_or_why(result) for result in results], digest)


def _result_or_why(result: Any) -> Moderation | str:
    try:
        return _read_result(result)
    except ValueError as error:
        return f"invalid moderation: {error}"
    except (LookupError, TypeError, AttributeError):
        return f"invalid moderation: {str(result)[:200]}"


def _read_result(result: Any) -> Moderation:
    """One result. A category that does not apply has neither a score nor a flag, but null."""
    scores = {name: _read_score(name, score) for name, score in result["category_scores"].items() if score is not None}
    if not scores:
        raise ValueError("no category has a score")
    if not isinstance(result["flagged"], bool):
        raise ValueError(f"flagged: true or false expected, found {result['flagged']!r}")
    return Moderation(result["flagged"], scores, [name for name, flag in result["categories"].items() if flag is True])


def _read_score(name: str, score: Any) -> float:
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise ValueError(f"{name}: a score from 0 to 1 expected, found {score!r}")
    return float(score)


T = TypeVar("T")

TRANSIENT = frozenset({408, 409, 429})
"""Statuses that may pass, besides those from 500 on."""

REFUSING = frozenset({401, 402, 403, 404, 405})
"""Statuses that every request would meet: a wrong key, no credit, a wrong model or address."""

CONNECT_SECONDS = 10.0
CHECK_SECONDS = 60.0
EXCERPT = 300


class Endpoint:
    """Asks one server.

    Args:
        url: Its address, such as `http://127.0.0.1:8000/v1`.
        key: The key; empty where none is needed. No message shows it.
        timeout: Seconds within which a request has to be answered.
    """

    def __init__(self, url: str, key: str, timeout: float) -> None:
        from openai import AsyncOpenAI

        self.url = url
        self._key = key
        self._timeout = timeout
        self._client = AsyncOpenAI(**self._connection(timeout))

    def check(self) -> None:
        """Makes sure that a server is there, whatever it answers.

        Raises:
            TransientError: There is none.
        """
        self.models()

    def models(self) -> list[str]:
        """The names of the models that the server lists; none where it keeps no list.

        Raises:
            TransientError: There is no server.
        """
        from openai import APIConnectionError, APIStatusError, OpenAI

        try:
            with OpenAI(**self._connection(CHECK_SECONDS)) as client:
                return read_models(client.models.with_raw_response.list().http_response.content)
        except APIStatusError:
            return []
        except APIConnectionError as error:
            raise self._transient(_cause(error)) from None

    async def complete(self, request: dict[str, Any]) -> Completion:
        """What the server answers to a request for a chat completion.

        Raises:
            TransientError: It is worth another try.
            ReplyError: The server does not answer this request.
            UserError: The server would answer no request like this.
        """
        return await self._ask(self._client.chat.completions.with_raw_response.create, request, read_completion)

    async def moderate(self, request: dict[str, Any]) -> Moderated:
        """What the server answers to a request for moderation; raises as `complete` does."""
        return await self._ask(self._client.moderations.with_raw_response.create, request, read_moderated)

    async def _ask(
        self, create: Callable[..., Awaitable[Any]], request: dict[str, Any], read: Callable[[bytes], T]
    ) -> T:
        from openai import APIConnectionError, APIStatusError

        try:
            async with asyncio.timeout(self._timeout):
                raw = await create(**request)
        except UnicodeEncodeError:
            raise ReplyError("half of a surrogate pair stands in the conversation, which no request can hold") from None
        except TimeoutError:
            raise self._transient(f"no answer within {self._timeout:g} s") from None
        except APIConnectionError as error:
            raise self._transient(_cause(error)) from None
        except APIStatusError as error:
            raise self._failure(error, request["model"]) from None
        try:
            return read(raw.http_response.content)
        except ValueError as error:
            raise self._transient(str(error)) from None

    def _failure(self, error: "APIStatusError", model: str) -> Exception:
        """Whether a status may pass, tells of this request alone, or of all."""
        status, after = error.status_code, error.response.headers.get("Retry-After")
        said = f"status {status}{f', Retry-After {after}' if after else ''}: {error.response.text}"
        if error.code == "insufficient_quota" or (status in REFUSING and not _is_flagged(error)):
            return UserError(
                f"{self._excerpt(said)} (So it would answer every request: the key may be wrong, the credit spent, the "
                f"address another, or {model!r} no model of this server.)"
            )
        if _is_unknown_max_tokens(error):
            return UserError(
                f"{self._excerpt(said)} (So it would answer every request with max_tokens: set the engine's "
                "max_tokens_field to max_completion_tokens; a judge has to be another model.)"
            )
        if status in TRANSIENT or status >= 500:
            return self._transient(said, retry_after(after))
        return ReplyError(self._excerpt(said))

    def _transient(self, reason: str, wait: float = 0.0) -> TransientError:
        return TransientError(self._excerpt(reason), wait)

    def _excerpt(self, text: str) -> str:
        """What a server said, on one line, without the key."""
        clean = text.replace(self._key, "***") if self._key else text
        return f"{self.url}: {' '.join(clean.split())[:EXCERPT]}"

    def _connection(self, seconds: float) -> dict[str, Any]:
        """Settings of a client.

        Each request has a connection of its own: one that is kept open belongs to an event loop, and an engine is
        stopped outside of those. To open one takes little beside a reply.
        """
        from openai import Timeout

        return {
            "base_url": self.url,
            "api_key": self._key or "none",
            "max_retries": 0,
            "timeout": Timeout(seconds, connect=CONNECT_SECONDS),
            "default_headers": {"Connection": "close"},
        }


def _is_flagged(error: "APIStatusError") -> bool:
    """Whether OpenRouter's moderation has flagged this one prompt, which it says with the status of a wrong key."""
    metadata = error.body.get("metadata") if isinstance(error.body, dict) else None
    return isinstance(metadata, dict) and "flagged_input" in metadata


def _is_unknown_max_tokens(error: "APIStatusError") -> bool:
    """Whether a server refuses the field itself, as OpenAI's does for models that think, and not its value."""
    says = error.response.text
    refused = error.code == "unsupported_parameter" or re.search("unsupported|not supported", says, re.IGNORECASE)
    return error.status_code == 400 and bool(refused) and "max_tokens" in says and "max_completion_tokens" in says


def _cause(error: Exception) -> str:
    """What lies behind the client's "Connection error."."""
    cause = error.__cause__ or error
    return str(cause) or type(cause).__name__


class OpenAIServer(AnswerServer):
    """Asks a model of an OpenAI-compatible server.

    Args:
        model: Its name, as the server knows it.
        url: The server's address, such as `http://127.0.0.1:8000/v1`.
        key: The key; empty where none is needed.
        timeout: Seconds within which a question has to be answered.
    """

    def __init__(self, model: str, url: str, key: str, timeout: float) -> None:
        self.model = model
        self._endpoint = Endpoint(url, key, timeout)

    def check(self, context: int) -> None:
        self.revision()

    def revision(self) -> str:
        """The model's name and the address, for this protocol has no digests. A list of models shall hold this one."""
        try:
            models = self._endpoint.models()
        except TransientError as error:
            raise UserError(f"no server is there ({error}). Start it, or mend judge.base_url.") from None
        if models and self.model not in models:
            known = ", ".join(models[:8]) + (", ..." if len(models) > 8 else "")
            raise UserError(f"{self._endpoint.url}: no model {self.model!r} there, but {known}. Name one of these.")
        return model_revision(self.model, None, self._endpoint.url)

    async def answer(self, question: Question, drawing: Drawing) -> Answer:
        completion = await self._endpoint.complete(
            {
                "model": self.model,
                "messages": question.messages,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "verdict", "strict": True, "schema": question.schema},
                },
                "temperature": drawing.temperature,
                "seed": drawing.seed,
                "max_tokens": drawing.max_tokens,
            }
        )
        reason, refusal = completion.finish_reason, completion.refusal
        if reason not in ("stop", "length"):
            refusal = refusal or f"finish reason {reason}"
        return Answer(completion.text or "", reason != "length", completion.prompt_tokens or None, refusal)
