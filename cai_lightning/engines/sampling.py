"""From logits to tokens: how the next one is drawn, and how likely tokens and whole options are. Pure functions.

Every row of a batch has random numbers of its own, so that a reply does not depend on its batch.
"""

import logging
import random
from collections.abc import Awaitable, Callable, Sequence

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

from cai_lightning.engines.base import NEUTRAL, Choice, Sampling
from cai_lightning.models.hub import load_config
from cai_lightning.run.errors import UserError

log = logging.getLogger(__name__)

UNHEEDED = (
    "presence_penalty",
    "frequency_penalty",
    "no_repeat_ngram_size",
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
)
"""What a model may say of sampling besides, which engines here do not do."""


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


class OptionTree:
    """Whole answers as a tree of tokens: what several of them begin with is read once.

    Args:
        options: The tokens of each answer, at least one.

    Attributes:
        beginnings: What has to be read to know how likely all options are, depth first, so that caches serve.

    Raises:
        ValueError: One is empty, or the beginning of another.
    """

    def __init__(self, options: Sequence[Sequence[int]]) -> None:
        self._options = [tuple(option) for option in options]
        self.beginnings = sorted({option[:place] for option in self._options for place in range(len(option))})
        if set(self._options) & set(self.beginnings) or len(set(self._options)) < len(options) or () in self._options:
            raise ValueError(f"options: texts expected none of which begins another, found the tokens {options}")

    def following(self, beginning: tuple[int, ...]) -> list[int]:
        """The tokens with which options go on from a beginning."""
        place = len(beginning)
        return sorted({option[place] for option in self._options if option[:place] == beginning})

    async def choice(self, ask: Callable[[Sequence[int], list[int]], Awaitable[list[float]]]) -> Choice:
        """The choice between the options, by log-probabilities that are asked for along the tree.

        Args:
            ask: Tells, of a beginning and some tokens, how likely each of these is behind it.
        """
        logprobs: dict[tuple[int, ...], float] = {}
        for beginning in self.beginnings:
            tokens = self.following(beginning)
            found = await ask(beginning, tokens)
            logprobs |= {(*beginning, token): logprob for token, logprob in zip(tokens, found, strict=True)}
        parts = [[option[: place + 1] for place in range(len(option))] for option in self._options]
        return Choice.of([sum(logprobs[part] for part in each) for each in parts])


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


def _own_sampling(name: str) -> dict[str, float]:
    """What a model's generation_config.json says about sampling; a model without that file says nothing."""
    load_config(name)  # tells a model that is not to be had from one that says nothing
    try:
        said = GenerationConfig.from_pretrained(name)
    except OSError:
        return {}
    if unheeded := {key: value for key in UNHEEDED if (value := getattr(said, key, None))}:
        log.warning("%s: its generation_config.json says %s, too, which is not heeded here", name, unheeded)
    own = {key: value for key in NEUTRAL if (value := getattr(said, key, None)) is not None}
    return own | {"temperature": 0.0} if said.do_sample is False else own
