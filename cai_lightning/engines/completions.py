"""Reading what a chat server answers, whichever server it is: pure functions of the answer's body."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cai_lightning.engines.base import Reply
from cai_lightning.errors import ReplyError


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
    """

    text: str | None
    finish_reason: str | None
    tokens: int
    prompt_tokens: int
    logprobs: list[Token]


def read_completion(body: bytes) -> Completion:
    """The answer in the body of a response.

    Raises:
        ValueError: It is none: cut short, or the error of a server that had promised success before.
    """
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        text, reason = choice["message"].get("content"), choice.get("finish_reason")
        usage = answer.get("usage") or {}
        tokens, prompt_tokens = (int(usage.get(key) or 0) for key in ("completion_tokens", "prompt_tokens"))
        logprobs = _read_logprobs(choice)
        if not isinstance(text, str | None) or reason == "error":
            raise ValueError(reason)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"no chat completion, but: {body.decode(errors='replace')}") from None
    return Completion(text, reason, tokens, prompt_tokens, logprobs)


def as_reply(completion: Completion, stop: Sequence[str]) -> Reply:
    """The reply in a completion, cut at the first stop string, for some servers leave it in.

    Raises:
        ReplyError: There is no text, or it ends for another reason than its end or its length.
    """
    text, reason = completion.text, completion.finish_reason
    if text is None or reason not in ("stop", "length"):
        raise ReplyError(f"the server answers with {'no' if text is None else 'a'} text, finish reason {reason!r}")
    end = min((text.index(found) for found in stop if found in text), default=None)
    finish: Literal["stop", "length"] = "length" if end is None and reason == "length" else "stop"
    return Reply(text[:end].strip(), finish, completion.tokens, completion.prompt_tokens)


def option_shares(tokens: Sequence[Token], options: Sequence[str]) -> list[float]:
    """The probability of each option, where what the model says is no longer the beginning of all of them.

    Args:
        tokens: What the model says, token by token.
        options: Texts none of which begins another.

    Returns:
        The summed probabilities of the alternatives that fit one option alone, as shares of their sum.

    Raises:
        ReplyError: No alternative fits.
    """
    said = ""
    for token in tokens:
        if all(option.startswith((said + token.text).lstrip()) for option in options):
            said += token.text
            continue
        fitting = [(_fitting(said + text, options), math.exp(logprob)) for text, logprob in token.alternatives]
        shares = [sum(share for fits, share in fitting if fits == [option]) for option in options]
        if total := sum(shares):
            return [share / total for share in shares]
        break
    whole = "".join(token.text for token in tokens)
    raise ReplyError(f"the model says {whole!r}, which begins with none of {', '.join(options)}")


def _fitting(said: str, options: Sequence[str]) -> list[str]:
    said = said.lstrip()
    return [option for option in options if option.startswith(said) or said.startswith(option)]


def _read_logprobs(choice: dict[str, Any]) -> list[Token]:
    tokens = (choice.get("logprobs") or {}).get("content") or []
    return [Token(t["token"], [(a["token"], float(a["logprob"])) for a in t.get("top_logprobs") or ()]) for t in tokens]
