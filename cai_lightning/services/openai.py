"""OpenAI's protocols of chat and moderation, whichever server speaks them: answers read, and a judge asked.

completion = await servers.ask("/chat/completions", {"model": ..., "messages": ...}, read_completion)
moderated = await servers.ask("/moderations", {"model": ..., "input": [...]}, read_moderated)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Interval

from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import check
from cai_lightning.run.records import FOREIGN, Conversation
from cai_lightning.run.text import join_thoughts, parse_json
from cai_lightning.services.http import NOT_READ, Servers

OPENAI = "https://api.openai.com/v1"

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
        prompt_tokens: Tokens of the conversation before them that the server has read; null where it does not count.
        tokens: Tokens written; 0 where the server does not count.
        logprobs: The tokens with their alternatives; empty where the server does not tell them.
        refusal: What a server says that tells refusals apart from answers.
        thought: What the model thought, of a server that tells it apart from the words.
    """

    text: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    tokens: int = 0
    logprobs: Sequence[Token] = ()
    refusal: str | None = None
    thought: str | None = None


def read_completion(answer: Any) -> Completion:
    """A chat server's answer, or one of `NOT_READ`, as for the error of a server that had promised success before."""
    choice, usage = answer["choices"][0], answer.get("usage") or {}
    message, reason = choice["message"], choice.get("finish_reason")
    text, refusal = message.get("content"), message.get("refusal")
    if not isinstance(text, str | None) or not isinstance(refusal, str | None) or reason == "error":
        raise ValueError(reason)
    thought = join_thoughts(said for field in THOUGHTS if isinstance(said := message.get(field), str))
    tokens = int(usage.get("completion_tokens") or 0)
    return Completion(text, reason, _prompt_tokens(usage), tokens, _read_logprobs(choice), refusal, thought)


def _prompt_tokens(usage: dict[str, Any]) -> int | None:
    """The tokens of the conversation; some servers leave out those that they had read before, and tell them apart."""
    counted = int(usage.get("prompt_tokens") or 0)
    cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    return (counted + cached if cached > counted > 0 else counted) or None


def _read_logprobs(choice: dict[str, Any]) -> list[Token]:
    tokens = (choice.get("logprobs") or {}).get("content") or []
    return [Token(t["token"], [(a["token"], float(a["logprob"])) for a in t.get("top_logprobs") or ()]) for t in tokens]


@dataclass(frozen=True)
class Moderation:
    """What the API says about one text.

    Args:
        flagged: Whether it flags the text.
        categories: Whether each category applies; of one that does not look at texts, null.
        category_scores: The score of each category, from 0 to 1; likewise.
    """

    __pydantic_config__ = FOREIGN

    flagged: bool
    categories: dict[str, bool | None]
    category_scores: dict[str, Annotated[float, Interval(ge=0, le=1)] | None]


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


def read_moderated(answer: Any) -> Moderated:
    """A moderation server's answer, or one of `NOT_READ`."""
    model, results, digest = answer["model"], answer["results"], answer.get("digest")
    if not isinstance(model, str) or not isinstance(results, list) or not isinstance(digest, str | None):
        raise TypeError
    return Moderated(model, [_result_or_why(result) for result in results], digest)


def _result_or_why(result: Any) -> Moderation | str:
    try:
        found = check(Moderation, result, "invalid moderation")
    except UserError as error:
        return str(error)
    has_score = any(score is not None for score in found.category_scores.values())
    return found if has_score else "invalid moderation: no category has a score"


def list_models(servers: Servers) -> list[str]:
    """The names of the models that a server lists; none where it keeps no list; raises as `Servers.look` does."""
    response = servers.look("GET", "/models")
    try:
        return [str(model["id"]) for model in parse_json(response.content)["data"]]
    except NOT_READ:
        return []


def model_revision(model: str, digest: str | None, url: str) -> str:
    """What stands behind the name of a server's model: its digest or, where the server tells none, the address.

    Two servers may know different models by one name. OpenAI's own names need no address.

    Args:
        model: The name.
        digest: What the server tells of the weights.
        url: The server's address, as `check_address` lets it pass: without credentials and query.
    """
    if digest:
        return f"{model}@{digest}"
    address = url.rstrip("/")
    return model if address == OPENAI else f"{model} at {address}"


@dataclass(frozen=True)
class OpenAIServer:
    """Asks a judge's model of an OpenAI-compatible server.

    Args:
        servers: The server.
        model: Its name, as the server knows it.
        max_tokens: An answer is cut after so many tokens.
    """

    servers: Servers
    model: str
    max_tokens: int

    def revision(self) -> str:
        """The model's name and the address, for this protocol has no digests.

        Raises:
            UserError: There is no server, or it does not have the model.
        """
        models = list_models(self.servers)
        if models and self.model not in models:
            known = ", ".join(models[:8]) + (", ..." if len(models) > 8 else "")
            raise UserError(f"{self.servers.url}: no model {self.model!r} there, but {known}. Name one of these.")
        return model_revision(self.model, None, self.servers.url)

    async def answer(self, messages: Conversation, schema: dict[str, Any], temperature: float, seed: int) -> Completion:
        """An answer that shall keep to a JSON schema; raises as `Servers.ask` does."""
        form = {"name": "verdict", "strict": True, "schema": schema}
        asked = {
            "model": self.model,
            "messages": messages,
            "response_format": {"type": "json_schema", "json_schema": form},
            "temperature": temperature,
            "seed": seed,
            "max_tokens": self.max_tokens,
        }
        return await self.servers.ask("/chat/completions", asked, read_completion)
