"""The engine of any server that speaks OpenAI's chat protocol: OpenRouter, vLLM, `transformers serve`, Ollama.

What it makes of a server's answer, a reply or the shares of options, is said by pure functions.

engine = OpenAIEngine("qwen2.5:3b", ["http://127.0.0.1:11434/v1"], Sampling(max_new_tokens=256), concurrency=4)
"""

import asyncio
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from cai_lightning.engines.base import NEUTRAL, Choice, Engine, Reply, Sampling, check_options
from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.records import Conversation
from cai_lightning.run.text import join_thoughts, split_thoughts
from cai_lightning.services.concurrency import TokenBudget
from cai_lightning.services.http import REACHING, Servers, Sleep, check_settings
from cai_lightning.services.ollama import why_unread
from cai_lightning.services.openai import Completion, Token, list_models, read_completion


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
    thoughts = join_thoughts([completion.thought, thought])
    return Reply(text[:end].strip(), finish, completion.tokens, completion.prompt_tokens or 0, thoughts)


def as_choice(tokens: Sequence[Token], options: Sequence[str]) -> Choice:
    """How likely each option is, where what the model says is no longer the beginning of all of them.

    Args:
        tokens: What the model says, token by token.
        options: Texts none of which begins another.

    Returns:
        The summed probabilities of the alternatives that fit one option alone; the mass is theirs and that of what the
        model says before, where that is among its alternatives, as the likeliest token is.

    Raises:
        ReplyError: No alternative fits.
    """
    said, logprob = "", 0.0
    for token in tokens:
        if all(option.startswith((said + token.text).lstrip()) for option in options):
            said += token.text
            logprob += dict(token.alternatives).get(token.text, 0.0)
            continue
        fitting = [(_fitting(said + text, options), math.exp(likely)) for text, likely in token.alternatives]
        shares = [sum(share for fits, share in fitting if fits == [option]) for option in options]
        if total := sum(shares):
            return Choice([share / total for share in shares], min(1.0, total * math.exp(logprob)))
        break
    whole = "".join(token.text for token in tokens)
    raise ReplyError(f"the model says {whole!r}, which begins with none of {', '.join(options)}")


def _fitting(said: str, options: Sequence[str]) -> list[str]:
    said = said.lstrip()
    return [option for option in options if option.startswith(said) or said.startswith(option)]


SENT: Mapping[str, float] = {"temperature": 1.0, "top_p": 1.0}
"""What every request says of sampling, unless it is left to the server; all servers know it. The rest is sent only
where it is set, for OpenAI's own protocol does not know it."""

SET = frozenset({"model", "messages", "max_tokens", "max_completion_tokens", "stop", "seed", *NEUTRAL})
"""Fields of a request that have settings of their own."""

CHARACTERS_PER_TOKEN = 4
"""What a request will take is estimated from its text, and corrected by what the server counts."""


@dataclass(eq=False, repr=False)
class OpenAIEngine(Engine):
    """Asks servers that speak OpenAI's chat protocol.

    The key is read from the environment and written nowhere. A draw's seed is passed on; whether it is obeyed is the
    server's business.

    Args:
        model: Name of the model, as the servers know it.
        base_urls: Addresses such as `http://127.0.0.1:8000/v1`; where one keeps failing, the next one is asked.
        sampling: How replies are drawn. Servers are sent `top_k`, `min_p` and `repetition_penalty` only where they are
            set; whether they obey them is their business.
        api_key_variable: The environment variable that holds the key, which a server on this machine can do without;
            null where no server needs one.
        adapter_model: Name under which the servers serve the adapter that `validate` evaluates.
        extra_body: Further fields of every request, such as OpenRouter's `provider`.
        chat_template_kwargs: Arguments of the servers' chat template, such as `{enable_thinking: false}`, sent as a
            field of that name, which vLLM and SGLang know.
        max_tokens_field: What requests call the most tokens of a reply: all servers know `max_tokens` but OpenAI's,
            whose reasoning models want `max_completion_tokens`, thoughts included.
        concurrency: Requests in flight.
        max_retries: Tries after the first at each address, after waits that double from a second on.
        max_wait: The longest of these waits, in seconds; a server that asks for a longer one is given up.
        timeout: Seconds after which an unanswered request is tried again.
        tokens_per_minute: Budget of each process, prompts and replies together; null sets none.
    """

    NOT_FINGERPRINTED = REACHING | {"tokens_per_minute"}

    model: str
    base_urls: list[str]
    sampling: Sampling = Sampling()
    api_key_variable: str | None = "OPENAI_API_KEY"
    adapter_model: str | None = None
    extra_body: dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    concurrency: int = 16
    max_retries: int = 8
    max_wait: float = 120.0
    timeout: float = 600.0
    tokens_per_minute: int | None = None

    def __post_init__(self) -> None:
        if doubled := SET & set(self.extra_body or ()):
            raise ValueError(f"OpenAIEngine: extra_body: {min(doubled)!r} has a setting of its own, take that")
        if not self.base_urls:
            raise ValueError("OpenAIEngine: base_urls: at least one address expected, such as http://127.0.0.1:8000/v1")
        check_settings(self, self.base_urls, {"tokens_per_minute": 1})
        self.sampling = self.sampling.filled(SENT if self.sampling.preset == "none" else {})
        self._sleep: Sleep = asyncio.sleep
        self._servers: Servers | None = None

    def start(self, device: torch.device, adapter: Path | None = None) -> None:
        """Makes sure that there are a key and a server; the device is the servers' business.

        Raises:
            UserError: There is no key, no server, or no name for the adapter.
        """
        if adapter is not None and self.adapter_model is None:
            raise UserError(
                f"{adapter}: no adapter can be sent to a server, which serves it under a model name of its own. Serve "
                f"it (vLLM: --lora-modules NAME={adapter}) and set the engine's adapter_model to NAME, or set "
                "model.adapter to null to evaluate the model without it."
            )
        self._served = self.model if adapter is None else self.adapter_model
        self._servers = Servers(self, self.base_urls, "the engine's base_urls", self._sleep)
        self._budget = TokenBudget(self.tokens_per_minute, sleep=self._sleep)
        list_models(self._servers)

    def stop(self) -> None:
        self._servers = None

    async def reply(self, conversation: Conversation, seed: str, logprobs: bool = False) -> Reply:
        sampling = self.sampling
        drawn = {name: value for name in NEUTRAL if (value := getattr(sampling, name)) is not None}
        stop = {"stop": sampling.stop} if sampling.stop else {}
        settings = {**drawn, **stop, "seed": integer_seed(seed)}
        return as_reply(await self._ask(conversation, sampling.max_new_tokens, settings), sampling.stop)

    async def choose(self, conversation: Conversation, options: Sequence[str]) -> Choice:
        check_options(options)
        enough = max(map(len, options)) + 2
        completion = await self._ask(conversation, enough, {"temperature": 0.0, "logprobs": True, "top_logprobs": 20})
        if not any(token.alternatives for token in completion.logprobs):
            raise UserError(
                f"{self._asked.url}: this server does not tell probabilities (it ignores `logprobs`), "
                "so it cannot choose between options. vLLM's server tells them, and so does the transformers engine."
            )
        return replace(as_choice(completion.logprobs, options), prompt_tokens=completion.prompt_tokens or 0)

    async def _ask(self, conversation: Conversation, max_tokens: int, settings: dict[str, Any]) -> Completion:
        """Sends a request when the budget allows it, and corrects the budget by what the request has taken."""
        request = {"model": self._served, "messages": conversation, self.max_tokens_field: max_tokens, **settings}
        request |= self.extra_body or {}
        if self.chat_template_kwargs is not None:
            request["chat_template_kwargs"] = self.chat_template_kwargs
        estimate = sum(len(turn["content"]) for turn in conversation) / CHARACTERS_PER_TOKEN + max_tokens
        spend = partial(self._budget.spend, estimate)
        completion = await self._asked.ask("/chat/completions", request, read_completion, spend)
        if used := (completion.prompt_tokens or 0) + completion.tokens:
            self._budget.correct(estimate, used)
        if why := why_unread(conversation, completion.prompt_tokens):
            raise ReplyError(f"{self._asked.url}: {why}")
        return completion

    @property
    def _asked(self) -> Servers:
        assert self._servers is not None, "start() comes before reply()"
        return self._servers


def integer_seed(seed: str) -> int:
    """A seed as servers take it: 31 bits, which all of their integers hold."""
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4]) >> 1
