"""OpenAI's protocols of chat and moderation, whichever server speaks them: answers read, and a judge asked.

completion = await servers.ask("/chat/completions", {"model": ..., "messages": ...}, read_completion)
moderated = await servers.ask("/moderations", {"model": ..., "input": [...]}, read_moderated)
"""

from dataclasses import dataclass
from typing import Any

from cai_lightning.run.errors import UserError
from cai_lightning.run.text import join_thoughts, parse_json
from cai_lightning.services.addresses import model_revision
from cai_lightning.services.answers import Answer, AnswerServer, JudgeRequest, JudgeSampling
from cai_lightning.services.http import Servers

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
        thought = join_thoughts(said for field in THOUGHTS if isinstance(said := choice["message"].get(field), str))
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


def list_models(servers: Servers) -> list[str]:
    """The names of the models that a server lists; none where it keeps no list; raises as `Servers.look` does."""
    response = servers.look("GET", "/models")
    return read_models(response.content) if response.is_success else []


class OpenAIServer(AnswerServer):
    """Asks a judge's model of an OpenAI-compatible server.

    Args:
        model: Its name, as the server knows it.
        servers: The server.
    """

    def __init__(self, model: str, servers: Servers) -> None:
        self.model = model
        self._servers = servers

    def check(self, context: int) -> None:
        self.revision()

    def revision(self) -> str:
        """The model's name and the address, for this protocol has no digests. A list of models shall hold this one."""
        models = list_models(self._servers)
        if models and self.model not in models:
            known = ", ".join(models[:8]) + (", ..." if len(models) > 8 else "")
            raise UserError(f"{self._servers.url}: no model {self.model!r} there, but {known}. Name one of these.")
        return model_revision(self.model, None, self._servers.url)

    async def answer(self, request: JudgeRequest, sampling: JudgeSampling) -> Answer:
        schema = {"name": "verdict", "strict": True, "schema": request.schema}
        asked = {
            "model": self.model,
            "messages": request.messages,
            "response_format": {"type": "json_schema", "json_schema": schema},
            "temperature": sampling.temperature,
            "seed": sampling.seed,
            "max_tokens": sampling.max_tokens,
        }
        completion = await self._servers.ask("/chat/completions", asked, read_completion)
        reason, refusal = completion.finish_reason, completion.refusal
        if reason not in ("stop", "length"):
            refusal = refusal or f"finish reason {reason}"
        return Answer(completion.text or "", reason != "length", completion.prompt_tokens or None, refusal)
