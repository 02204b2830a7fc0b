"""The contract of an engine: it serves a model, and it alone decides how requests are batched.

Beside it stands what the engines share: how a reply is drawn from logits, every row of a batch by random numbers of its
own, and how options are weighed.
"""

import logging
import math
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from cai_lightning.models.hub import load_config
from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.records import Conversation
from cai_lightning.run.text import why_silent

log = logging.getLogger(__name__)

NEUTRAL: Mapping[str, float] = MappingProxyType(
    {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
)
"""The settings of sampling with which a model's own distribution is drawn from, as it is."""

IGNORED = ("presence_penalty", "frequency_penalty", "no_repeat_ngram_size", "typical_p", "epsilon_cutoff", "eta_cutoff")
"""What a model may say of sampling besides, which engines here do not do."""


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn. What is null is neutral, or what `preset` says.

    Args:
        temperature: 0 takes the likeliest token; 1, the neutral one (and the paper's), samples from the model's own
            distribution.
        top_p: Keeps the likeliest tokens whose probabilities add up to this share, in (0, 1]; 1 keeps all.
        max_new_tokens: A reply is cut after this many tokens; its finish reason is then `length`.
        stop: Texts that end a reply; they are not part of it.
        top_k: Keeps so many of the likeliest tokens; 0 keeps all.
        min_p: Keeps the tokens that are at least this share as likely as the likeliest, in [0, 1]; 0 keeps all.
        repetition_penalty: Makes tokens that stand in the conversation or the reply less likely, from 1 on: their
            logits are divided by it where they are positive, and multiplied by it where they are negative. 1 has no
            effect; 1.05 to 1.2 is usual.
        preset: Where what is null comes from: `none` is neutral; `model` takes what the model's own
            `generation_config.json` says. A server is sent what is set here alone, and temperature and top_p with
            `none`; the rest is its own business.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int = 512
    stop: list[str] = field(default_factory=list)
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    preset: Literal["none", "model"] = "none"

    def __post_init__(self) -> None:
        possible = (
            self.temperature is None or 0 <= self.temperature < math.inf,
            self.top_p is None or 0 < self.top_p <= 1,
            self.max_new_tokens >= 1,
            self.top_k is None or self.top_k >= 0,
            self.min_p is None or 0 <= self.min_p <= 1,
            self.repetition_penalty is None or 0 < self.repetition_penalty < math.inf,
        )
        if not all(possible):
            raise ValueError(
                "Sampling: temperature >= 0, 0 < top_p <= 1, max_new_tokens >= 1, top_k >= 0, 0 <= min_p <= 1, "
                f"repetition_penalty > 0 expected, found {self}"
            )

    def filled(self, values: Mapping[str, float]) -> "Sampling":
        """The same with these values where it is null."""
        unset = {name: value for name, value in values.items() if getattr(self, name) is None}
        return replace(self, **unset) if unset else self  # type: ignore[arg-type]


def complete_sampling(sampling: Sampling, name: str) -> Sampling:
    """How a model in this process draws: all that is null becomes neutral, or the model's own where that is asked for.

    Args:
        sampling: What the settings say.
        name: Name of the model on the Hugging Face Hub, or a folder.

    Raises:
        UserError: The model is not to be had, or its own settings are not possible.
    """
    own = _own_sampling(name) if sampling.preset == "model" else {}
    try:
        return sampling.filled({**NEUTRAL, **own})
    except ValueError as error:
        raise UserError(f"{name}: its generation_config.json cannot be drawn by ({error}).") from None


def _own_sampling(name: str) -> dict[str, float]:
    """What a model's generation_config.json says about sampling; a model without that file says nothing."""
    load_config(name)  # tells a model that is not to be had from one that says nothing
    try:
        said = GenerationConfig.from_pretrained(name)
    except OSError:
        return {}
    if ignored := {key: value for key in IGNORED if (value := getattr(said, key, None))}:
        log.warning("%s: its generation_config.json says %s, too, which is not heeded here", name, ignored)
    own = {key: value for key in NEUTRAL if (value := getattr(said, key, None)) is not None}
    return own | {"temperature": 0.0} if said.do_sample is False else own


def draw(
    logits: Tensor, sampling: Sampling, randoms: Sequence[random.Random], seen: Sequence[Sequence[int]]
) -> list[int]:
    """The next token of every row: the likeliest at temperature 0, or else one drawn by the row's next random number.

    It inverts the cumulative distribution, so two models that agree on a distribution draw the same token from the same
    seed, which pairs the runs of a comparison.

    Args:
        logits: The model's [rows, vocabulary].
        sampling: How tokens are drawn; what is null is neutral.
        randoms: Each row's source of random numbers.
        seen: The tokens of each row's conversation and reply so far; read where there is a penalty for repetition.
    """
    scores = processed(logits, sampling, seen)
    if sampling.temperature == 0:
        return scores.argmax(dim=-1).tolist()
    cumulative = scores.softmax(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    places = torch.tensor([row.random() for row in randoms], dtype=torch.float64, device=scores.device)
    tokens = torch.searchsorted(cumulative, (places * cumulative[:, -1])[:, None], right=True)
    return tokens[:, 0].clamp_(max=scores.shape[-1] - 1).tolist()


def processed(logits: Tensor, sampling: Sampling, seen: Sequence[Sequence[int]]) -> Tensor:
    """The logits as transformers' `generate` changes them before it draws: the same steps in the same order.

    Args:
        logits: As in `draw`.
        sampling: As in `draw`; at temperature 0 only the penalty changes what is likeliest.
        seen: As in `draw`.
    """
    scores = logits.float()  # bfloat16 takes six times as long on a CPU
    penalty = sampling.repetition_penalty
    if penalty is not None and penalty != 1:
        ids = _rectangle(seen).to(scores.device)
        scores = RepetitionPenaltyLogitsProcessor(float(penalty))(ids, scores)
    return scores if sampling.temperature == 0 else _warpers(sampling)(None, scores)


def token_logprobs(logits: Tensor, tokens: Sequence[Sequence[int]]) -> list[list[float]]:
    """How likely some tokens of each row are as the next one, in the model's own distribution.

    Args:
        logits: As in `draw`.
        tokens: Of each row at least one.

    Returns:
        The log-probabilities, row by row.
    """
    scores = logits.float()
    asked = scores.gather(1, _rectangle(tokens).to(scores.device))
    told = (asked - scores.logsumexp(dim=-1, keepdim=True)).tolist()
    return [row[: len(some)] for row, some in zip(told, tokens, strict=True)]


def _warpers(sampling: Sampling) -> LogitsProcessorList:
    warpers = LogitsProcessorList()
    if sampling.temperature is not None:
        warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p is not None and sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(float(sampling.top_p)))
    if sampling.min_p:
        warpers.append(MinPLogitsWarper(sampling.min_p))
    return warpers


def _rectangle(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of tokens in one tensor; each is filled up with its own first one, for a token counts once."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[row[0]] * (longest - len(row))] for row in rows])


@dataclass(frozen=True)
class Reply:
    """What the model said, and what it took.

    Args:
        text: The words, without thoughts, the end of turn or the stop text; blank where none came.
        finish_reason: `length` where the reply was cut at its maximum of tokens, `unknown` where nobody noted it.
        tokens: Tokens written.
        prompt_tokens: Tokens of the conversation before them.
        thought: What the model thought before it spoke; null where it did not.
        prompt_ids: The tokens that the reply continues; null where the engine does not see tokens.
        token_ids: The tokens written, the one that ended the reply included; null likewise.
        logprobs: The log-probability of each of these in the model's own distribution: at temperature 1, before
            anything is kept, cut off or penalized. Null where nobody asked for them, or the engine cannot tell.
    """

    text: str
    finish_reason: Literal["stop", "length", "unknown"]
    tokens: int
    prompt_tokens: int = 0
    thought: str | None = None
    prompt_ids: list[int] | None = None
    token_ids: list[int] | None = None
    logprobs: list[float] | None = field(default=None, compare=False)

    @property
    def why_silent(self) -> str | None:
        """Why this is no reply: it is empty, or nothing but an unfinished thought; None where it has words."""
        return why_silent(self.text, self.thought)


@dataclass(frozen=True)
class Choice:
    """How likely the model is to answer with each of several options.

    Args:
        shares: The options' probabilities as shares of their sum, in their order.
        mass: Their sum, in [0, 1]: little of it says that the model would answer something else.
        prompt_tokens: Tokens of the conversation before them.
    """

    shares: list[float]
    mass: float
    prompt_tokens: int = field(default=0, compare=False)


def check_options(options: Sequence[Sequence[object]]) -> None:
    """Makes sure that a choice has an answer.

    Args:
        options: Their texts, or their tokens.

    Raises:
        ValueError: There is none, one is empty, or one begins another.
    """
    begun = any(a[: len(b)] == b for a, b in permutations(options, 2))
    if not options or not all(options) or begun:
        raise ValueError(f"options: texts expected none of which begins another, found {list(options)}")


async def weigh(
    options: Sequence[list[int]], ask: Callable[[tuple[int, ...], list[int]], Awaitable[list[float]]]
) -> Choice:
    """The choice between whole answers, read as a tree of tokens: what several of them begin with is read once.

    Args:
        options: The tokens of each answer.
        ask: Tells, of a beginning and some tokens, how likely each of these is behind it. Beginnings come depth first,
            so that caches serve.

    Raises:
        ValueError: One is empty, or the beginning of another.
    """
    check_options(options)
    logprobs: dict[tuple[int, ...], float] = {}
    for beginning in sorted({tuple(option[:place]) for option in options for place in range(len(option))}):
        place = len(beginning)
        tokens = sorted({option[place] for option in options if tuple(option[:place]) == beginning})
        found = await ask(beginning, tokens)
        logprobs |= {(*beginning, token): logprob for token, logprob in zip(tokens, found, strict=True)}
    sums = [sum(logprobs[tuple(option[: place + 1])] for place in range(len(option))) for option in options]
    totals = torch.tensor(sums, dtype=torch.float64)
    return Choice(totals.softmax(dim=0).tolist(), min(1.0, float(totals.logsumexp(dim=0).exp())))


class Engine(ABC):
    """Serves one model. Many replies are awaited at once; the engine batches them as it likes.

    Attributes:
        model: Name or folder of the model, as it is written into the records.
        sampling: How replies are drawn.
    """

    NOT_FINGERPRINTED: frozenset[str] = frozenset()
    """Settings that cannot change a reply but by rounding, such as a batch size; a run may be resumed with others."""

    tells_probabilities: bool | None = None
    """Whether `choose` can be asked; null where only asking tells."""

    model: str
    sampling: Sampling

    @property
    @abstractmethod
    def concurrency(self) -> int:
        """How many replies are worth awaiting at once."""

    @abstractmethod
    def start(self, device: torch.device, adapter: Path | None = None) -> None:
        """Loads the model, with a PEFT adapter where one is named."""

    @abstractmethod
    async def reply(self, conversation: Conversation, seed: str, logprobs: bool = False) -> Reply:
        """The assistant's next turn; it is for the caller to see whether there are words in it.

        Args:
            conversation: Ends in a user turn.
            seed: Names this draw; the same seed and conversation give the same reply, whatever else is in the batch,
                but for rounding: exactly so in float32 alone.
            logprobs: Tells the log-probabilities of the reply's tokens, where this engine can.

        Raises:
            ReplyError: This reply cannot be had, though others may be.
        """

    @abstractmethod
    async def choose(self, conversation: Conversation, options: Sequence[str]) -> Choice:
        """How likely the model is to answer with each of several options: the paper's AI feedback (section 4.1).

        Many choices are awaited at once, like replies.

        Args:
            conversation: Ends in a user turn.
            options: Texts none of which begins another, such as `(A)` and `(B)`.

        Returns:
            What the model's own log-probabilities make of them (temperature 1).

        Raises:
            UserError: This engine, or its server, does not tell probabilities.
            ReplyError: The model does not answer with one of the options.
        """

    @abstractmethod
    def stop(self) -> None:
        """Frees what `start` has loaded."""


async def reply_in_words(
    engine: Engine,
    conversation: Conversation,
    seed: str,
    silent: Counter[str],
    stage: str,
    tries: int,
    hear: Callable[[Reply], None],
) -> Reply:
    """Draws a reply until there are words in it; behind silent draws their number stands in the seed.

    Args:
        engine: Who replies.
        conversation: As in `Engine.reply`.
        seed: As there.
        silent: How many draws of this row came to no words, by stage; counted on here.
        stage: The stage of this reply.
        tries: Draws until it is given up. At temperature 0 there is one, for all would be the same.
        hear: Hears of every reply, also of those without words.

    Raises:
        ReplyError: The reply cannot be had, or has no words in any draw; the error names the stage.
    """
    tries = 1 if engine.sampling.temperature == 0 else tries
    try:
        for _ in range(tries):
            reply = await engine.reply(conversation, f"{seed}:{silent[stage]}" if silent[stage] else seed)
            hear(reply)
            if reply.why_silent is None:
                return reply
            silent[stage] += 1
        often = f" in each of {tries} draws" if tries > 1 else ", drawn once"
        raise ReplyError(f"{reply.why_silent}{often}")
    except ReplyError as error:
        error.stage = stage
        raise
