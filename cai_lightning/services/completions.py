"""Reading what a chat server answers, whichever server it is: pure functions of the answer's body."""

import json
from dataclasses import dataclass
from typing import Any

from cai_lightning.thoughts import joined

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
        answer = json.loads(body)
        choice = answer["choices"][0]
        text, reason = choice["message"].get("content"), choice.get("finish_reason")
        refusal = choice["message"].get("refusal")
        thought = joined(said for field in THOUGHTS if isinstance(said := choice["message"].get(field), str))
        usage = answer.get("usage") or {}
        tokens, prompt_tokens = int(usage.get("completion_tokens") or 0), _prompt_tokens(usage)
        logprobs = _read_logprobs(choice)
        if not isinstance(text, str | None) or not isinstance(refusal, str | None) or reason == "error":
            raise ValueError(reason)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        raise ValueError(f"no chat completion, but: {body.decode(errors='replace')}") from None
    return Completion(text, reason, tokens, prompt_tokens, logprobs, refusal, thought)


def read_models(body: bytes) -> list[str]:
    """The names in a server's list of models; none where the body is no such list."""
    try:
        return [str(model["id"]) for model in json.loads(body)["data"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []


def _prompt_tokens(usage: dict[str, Any]) -> int:
    """The tokens of the conversation; some servers leave out those that they had read before, and tell them apart."""
    counted = int(usage.get("prompt_tokens") or 0)
    cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    return counted + cached if cached > counted > 0 else counted


def _read_logprobs(choice: dict[str, Any]) -> list[Token]:
    tokens = (choice.get("logprobs") or {}).get("content") or []
    return [Token(t["token"], [(a["token"], float(a["logprob"])) for a in t.get("top_logprobs") or ()]) for t in tokens]
