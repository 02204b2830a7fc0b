"""Helpfulness: what a reward model gives a response, once it has passed its test.

A model that was loaded wrongly gives numbers like any other, so plainly good answers have to outscore plainly bad ones
first. Half of the good answers of the default pairs are shorter than the bad ones, so that mere length does not pass.
"""

import gc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from cai_lightning.metrics.base import Column, ResponseMetric, Scores
from cai_lightning.metrics.rewards import Reward, open_sequence, open_starling, score_all
from cai_lightning.models.adapters import is_scorer
from cai_lightning.models.hub import DType, revision
from cai_lightning.principles import wording
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import read_json
from cai_lightning.run.records import WRITTEN, Response, assistant, user

DEFAULT = Path(__file__).with_name("self_test.json")

MISTAKES = 1 / 10
"""The share of pairs that a sound model may get wrong; of twelve a model of random weights gets 11 right by a chance of
one in three hundred."""


@dataclass(eq=False, repr=False)
class RewardModel(ResponseMetric):
    """The reward of a response, a number without bounds; higher is better.

    Rewards of one model compare with each other, not with those of another. The default one, Starling-RM-7B-alpha, was
    trained on GPT-4's preferences for helpful and harmless answers, and leans towards long and well-formatted ones. An
    empty response is unscored. A text beyond `max_length` loses its beginning, and the row's detail says so.

    Args:
        model: Folder or Hugging Face name of the reward model; with layout `chat` also the adapter of a preference
            model that was trained here, such as `runs/X/adapter`.
        layout: `starling` is a checkpoint of Starling-RM-7B-alpha's own form; `chat` a sequence classifier with one
            label that reads its tokenizer's chat template; `pair` one that reads prompt and response as two texts.
        base: Folder or Hugging Face name that gives a `starling` its backbone's configuration and tokenizer. The
            default one is gated: accept its licence and log in, or name a folder that holds them.
        model_dtype: Number format of the weights; `auto` is bfloat16 on CUDA and float32 elsewhere. In bfloat16 a score
            shifts with its batch by a few thousandths of the spread; in float32 by nothing to speak of.
        max_length: Tokens of prompt and response together.
        self_test: Pairs of answers that the model must tell apart before it scores: `default` (ours), `none`, or a
            JSON file with a list of {prompt, good, bad}.
        batch_tokens: Tokens scored at once, padding included.
    """

    NOT_FINGERPRINTED = frozenset({"self_test", "batch_tokens"})

    model: str = "berkeley-nest/Starling-RM-7B-alpha"
    layout: Literal["starling", "chat", "pair"] = "starling"
    base: str = "meta-llama/Llama-2-7b-chat-hf"
    model_dtype: DType = "auto"
    max_length: int = 2048
    self_test: str = "default"
    batch_tokens: int = 16_384

    def __post_init__(self) -> None:
        super().__init__([Column("helpfulness", "higher", -math.inf, math.inf)])
        self._reward: Reward | None = None

    def revision(self) -> str | None:
        """The weights, those of the base, and the number format, which `auto` chooses by the device."""
        parts = [self.model, self.base] if self.layout == "starling" else [self.model]
        known = [revision(part) for part in parts]
        if not any(known):
            return None
        number_format = str(_number_format(self.model_dtype, self.device)).removeprefix("torch.")
        return f"{'+'.join(part or 'unknown' for part in known)}, {number_format}"

    def load(self, device: torch.device) -> None:
        if why := manifest.unfinished(Path(self.model)):
            raise UserError(f"{why}; finish it, or name another reward model.")
        if self.layout == "starling" and is_scorer(Path(self.model)):
            raise UserError(f"reward model {self.model!r}: this is a preference model; set layout: chat.")
        dtype = _number_format(self.model_dtype, device)
        if self.layout == "starling":
            reward: Reward = open_starling(self.model, self.base, dtype, self.max_length, device)
        else:
            reward = open_sequence(self.model, self.layout, dtype, self.max_length, device)
        if self.self_test != "none":
            path = DEFAULT if self.self_test == "default" else Path(self.self_test)
            check_sense(reward, read_pairs(path), self.model, self.batch_tokens)
        self._reward = reward

    def score(self, responses: Sequence[Response]) -> Scores:
        assert self._reward is not None, "load() comes before score()"
        talks = [wording.answered(one.turns or [user(one.prompt)], one.response) for one in responses]
        encoded = [self._reward.encode(talk) for talk in talks]
        values = score_all(self._reward, encoded, self.batch_tokens)
        reasons = [None if math.isfinite(value) else f"the reward is {value}" for value in values.tolist()]
        details = [{"tokens": len(one.ids), "truncated": one.truncated} for one in encoded]
        return Scores({"helpfulness": values.where(values.isfinite(), torch.nan)}, reasons, details)

    def free(self) -> None:
        self._reward = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _number_format(dtype: DType, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    number_format: torch.dtype = getattr(torch, dtype)
    return number_format


@dataclass(frozen=True)
class Pair:
    """A prompt with a plainly good and a plainly bad answer."""

    __pydantic_config__ = WRITTEN

    prompt: str
    good: str
    bad: str


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file: a list of objects with `prompt`, `good` and `bad`.

    Raises:
        UserError: The file is not of that form, or holds no pair.
    """
    pairs = read_json(path, list[Pair], "self-test")
    if not pairs:
        raise UserError(f"{path}: a self-test needs at least one pair.")
    return pairs


def check_sense(reward: Reward, pairs: list[Pair], name: str, budget: int) -> None:
    """Refuses a reward model that prefers too many of the bad answers.

    Args:
        reward: The reward model.
        pairs: What it is asked.
        name: Of the model, for messages.
        budget: Tokens of a batch.

    Raises:
        UserError: It fails; the message says how often, and names the worst pair.
    """
    answers = [(pair.prompt, answer) for pair in pairs for answer in (pair.good, pair.bad)]
    encoded = [reward.encode([user(prompt), assistant(answer)]) for prompt, answer in answers]
    scores = score_all(reward, encoded, budget)
    leads = (scores[::2] - scores[1::2]).nan_to_num(nan=float("-inf"))
    wrong = int((leads <= 0).sum())
    if wrong > MISTAKES * len(pairs):
        worst = int(leads.argmin())
        good, bad = (f"{score:.3g}" for score in scores[2 * worst : 2 * worst + 2].tolist())
        raise UserError(
            f"reward model {name!r} fails its self-test: it prefers the bad answer in {wrong} of {len(pairs)} pairs,"
            f" such as to {pairs[worst].prompt!r} ({bad}, and {good} for the good one)."
            " Its scores would mean nothing; check model, base and layout."
        )
