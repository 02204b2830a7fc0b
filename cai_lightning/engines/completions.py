"""What an engine makes of a chat server's answer: a reply, or the shares of options. Pure functions."""

import math
from collections.abc import Sequence
from typing import Literal

from cai_lightning.engines.base import Reply
from cai_lightning.errors import ReplyError
from cai_lightning.services.completions import Completion, Token
from cai_lightning.thoughts import joined, split_thoughts


def as_reply(completion: Completion, stop: Sequence[str]) -> Reply:
    """The reply in a completion, cut at the first stop string, for some servers leave it in.

    Thoughts are told apart, whether the server does so or leaves them in the text. One that a chat template has begun
    and that is cut before its end looks like words, unless the server's parser knows better.

    Raises:
        ReplyError: It ends for another reason than its end or its length, or the server refuses it.
    """
    reason, is_silent = completion.finish_reason, completion.text is None
    if reason not in ("stop", "length") or (is_silent and completion.refusal):
        refusal = f": {completion.refusal}" if completion.refusal else ""
        text = "no text" if is_silent else "a text"
        raise ReplyError(f"the server answers with {text}, finish reason {reason!r}{refusal}")
    text, thought = split_thoughts(completion.text or "")
    end = min((text.index(found) for found in stop if found in text), default=None)
    finish: Literal["stop", "length"] = "length" if end is None and reason == "length" else "stop"
    return Reply(
        text[:end].strip(), finish, completion.tokens, completion.prompt_tokens, joined([completion.thought, thought])
    )


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
