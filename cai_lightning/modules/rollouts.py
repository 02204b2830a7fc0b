"""What a policy in training answers, what its answers are worth, and the batches of tokens that it learns from.

with serving(base):
replies = draw(engine, samples, seed="42:7")
rewards = Rewards([WeightedReward(RewardModel("runs/x/adapter", layout="chat"))])
values, reasons = rewards.score(responses)
batches = in_parts(answers, parts=4, step_tokens=4096, make=pack)
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from cai_lightning.data.batches import IGNORED, Batch, Example, shared
from cai_lightning.engines import Engine, Reply
from cai_lightning.metrics import ResponseMetric
from cai_lightning.metrics.base import within_bounds
from cai_lightning.models.adapters import folded
from cai_lightning.models.attention import install_grouped
from cai_lightning.principles import wording
from cai_lightning.run.errors import ReplyError
from cai_lightning.run.records import Prompt, Response
from cai_lightning.services.concurrency import for_each

T = TypeVar("T")

SCORED_TOGETHER = 64
"""Answers that an evaluator is handed at once."""


@dataclass(frozen=True)
class WeightedReward:
    """A part of what an answer is rewarded with: its score by an evaluator, the sign turned where lower is better.

    Args:
        metric: The evaluator: a reward or preference model, a classifier, a judge, an `AIRating`, or any other.
        weight: What the score is multiplied by before the parts are added up.
        columns: Columns of it of which the first counts that an answer has a score in, as where one is for harmful
            prompts and one for benign ones. Null takes its first column.
    """

    metric: ResponseMetric
    weight: float = 1.0
    columns: list[str] | None = None

    def __post_init__(self) -> None:
        if self.metric.uses_references:
            raise ValueError(
                f"rewards.metric: {type(self.metric).__name__} scores by references, which nobody has here"
            )
        known = [column.name for column in self.metric.columns]
        for name in self.columns or []:
            if name not in known:
                raise ValueError(f"rewards.columns: {name!r} is none of the evaluator's: {', '.join(known)}")

    @property
    def name(self) -> str:
        """The column, or the first of them."""
        return self.columns[0] if self.columns else self.metric.columns[0].name


class Rewards:
    """Rewards answers: a weighted sum of what evaluators say, in which nothing that is missing becomes a number.

    Args:
        parts: What is added up.

    Raises:
        ValueError: There is none, or two have one name.
    """

    def __init__(self, parts: Sequence[WeightedReward]) -> None:
        self.parts = parts
        self.names = [part.name for part in parts]
        if not parts or len(set(self.names)) < len(parts):
            raise ValueError(f"model.rewards: at least one expected, each with a column of its own, found {self.names}")

    def load(self, device: torch.device) -> None:
        """Loads the evaluators, which stay beside the policy.

        Raises:
            UserError: One cannot run.
        """
        for part in self.parts:
            part.metric.to(device)
            part.metric.load(device)

    def free(self) -> None:
        """Frees them, all or some of them loaded."""
        for part in self.parts:
            part.metric.free()

    def revisions(self) -> dict[str, str]:
        """What stands behind the evaluators' settings, by the names of the parts."""
        return {f"reward {part.name}": str(part.metric.revision()) for part in self.parts}

    def total(self, values: Tensor) -> Tensor:
        """The weighted sums [N] of the parts [N, R]; NaN where one of them is."""
        return values @ values.new_tensor([part.weight for part in self.parts])

    def score(self, responses: Sequence[Response]) -> tuple[Tensor, list[str | None]]:
        """Scores N responses.

        Returns:
            The R parts of each [N, R] in float64, NaN where one is missing; and why one is, or None.
        """
        scored = [_scored(part, responses) for part in self.parts]
        values = torch.stack([values for values, _ in scored], dim=1)
        each = zip(*(reasons for _, reasons in scored), strict=True)
        whys: list[str | None] = ["; ".join(filter(None, reasons)) or None for reasons in each]
        return values, [why if bool(row.isnan().any()) else None for why, row in zip(whys, values, strict=True)]


def _scored(part: WeightedReward, responses: Sequence[Response]) -> tuple[Tensor, list[str | None]]:
    reasons = [part.metric.inapplicable(response) for response in responses]
    values = torch.full((len(responses),), torch.nan, dtype=torch.float64)
    rows = [row for row, reason in enumerate(reasons) if reason is None]
    for start in range(0, len(rows), SCORED_TOGETHER):
        some = rows[start : start + SCORED_TOGETHER]
        scores = within_bounds(part.metric.score([responses[row] for row in some]), part.metric.columns)
        for row, reason in zip(some, scores.reasons, strict=True):
            reasons[row] = reason
        values[some] = _coalesced(part, scores.values)
    return values, reasons


def _coalesced(part: WeightedReward, values: dict[str, Tensor]) -> Tensor:
    """The first of the columns that is a number, the higher the better."""
    signs = {column.name: 1 if column.direction == "higher" else -1 for column in part.metric.columns}
    first, *others = ((values[name] * signs[name]).double().cpu() for name in part.columns or [part.name])
    for other in others:
        first = torch.where(first.isnan(), other, first)
    return first


@contextmanager
def serving(base: PreTrainedModel) -> Iterator[None]:
    """Makes a model in training answer for a while: without dropout, by attention that knows caches, its adapter folded
    into its weights where that changes nothing."""
    training, before = base.training, base.config._attn_implementation
    base.eval()
    if base.is_backend_compatible() and before != "eager":
        base.set_attn_implementation("sdpa")
        install_grouped(base)
    try:
        with torch.no_grad(), folded(base):
            yield
    finally:
        if base.is_backend_compatible():
            base.set_attn_implementation(before)
        base.train(training)


def draw(engine: Engine, samples: Sequence[Prompt], seed: str) -> list[Reply]:
    """The engine's replies to some prompts, with log-probabilities; one that cannot be had has no tokens.

    Args:
        engine: It has started.
        samples: The prompts, each under an id of its own.
        seed: With these ids it names the draws.
    """

    async def reply(sample: Prompt) -> Reply:
        return await engine.reply(wording.opening(sample), f"{seed}:{sample.id}", logprobs=True)

    def set_aside(sample: Prompt, error: ReplyError) -> Reply:
        return Reply("", "unknown", 0, prompt_ids=[], token_ids=[], logprobs=[])

    return asyncio.run(for_each(reply, samples, max(1, len(samples)), set_aside))


def gathered(mine: list[T]) -> list[list[T]]:
    """What each process has, in their order."""
    if not torch.distributed.is_initialized():
        return [mine]
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, mine)
    return found


def interleaved(shares: Sequence[Sequence[T]]) -> list[T]:
    """What was shared out to each as every n-th, in its first order.

    >>> interleaved([["a", "c"], ["b"]])
    ['a', 'b', 'c']
    """
    return [share[place] for place in range(max(map(len, shares))) for share in shares if place < len(share)]


class RolloutBatch(Batch):
    """A batch of answers. Of its N supervised tokens, in their order: `drawn` [N], how likely they were when they were
    drawn, and `advantages` [N]; `figures` are numbers of its A answers [A] to be told of them."""

    drawn: Tensor
    advantages: Tensor
    figures: dict[str, Tensor]


@dataclass(frozen=True)
class Answer:
    """An answer to learn from.

    Args:
        reply: Its tokens and their log-probabilities.
        advantage: How much better it is than the others.
        figures: Numbers to be told of it.
    """

    reply: Reply
    advantage: float
    figures: dict[str, float]


Make = Callable[[list[Example], int], Batch]
"""Makes a batch of examples, and of the number of tokens that the whole step learns from."""


def in_parts(answers: Sequence[Answer], parts: int, step_tokens: int, make: Make) -> list[RolloutBatch]:
    """Batches of about as many tokens, in the order of the answers; one may have nothing to learn from.

    Args:
        answers: Those to one prompt in a row; in a batch they share it.
        parts: How many batches there shall be.
        step_tokens: Tokens that the whole step learns from, over all processes.
        make: Makes a batch.
    """
    known = [answer for answer in answers if answer.reply.token_ids]
    numbers = places([len(_tokens(answer)) for answer in known], parts)
    shared_out = [[a for a, n in zip(known, numbers, strict=True) if n == number] for number in range(parts)]
    names = answers[0].figures.keys() if answers else ()
    return [_batch(part, names, step_tokens, make) for part in shared_out]


def places(lengths: Sequence[int], parts: int) -> list[int]:
    """To which of some parts each of a row of things belongs, so that the parts are about as long.

    >>> places([4, 1, 1, 2, 4], parts=3)
    [0, 1, 1, 1, 2]
    """
    ends = [sum(lengths[: place + 1]) for place in range(len(lengths))]
    return [int((2 * end - length) * parts / (2 * ends[-1])) for end, length in zip(ends, lengths, strict=True)]


def _batch(answers: Sequence[Answer], names: Iterable[str], step_tokens: int, make: Make) -> RolloutBatch:
    examples: list[Example] = []
    for prompt, some in groupby(answers, key=lambda answer: answer.reply.prompt_ids or []):
        examples += shared([_example(answer) for answer in some], len(prompt))
    batch = make(examples or [Example("idle", [0, 0], [IGNORED, IGNORED], truncated=False)], step_tokens)
    logprobs = [logprob for answer in answers for logprob in answer.reply.logprobs or []]
    advantages = [answer.advantage for answer in answers for _ in answer.reply.token_ids or []]
    figures = {name: torch.tensor([answer.figures[name] for answer in answers]) for name in names}
    return RolloutBatch(**batch, drawn=torch.tensor(logprobs), advantages=torch.tensor(advantages), figures=figures)


def _example(answer: Answer) -> Example:
    ids = answer.reply.prompt_ids or []
    written = answer.reply.token_ids or []
    return Example("answer", ids + written, [IGNORED] * len(ids) + written, truncated=False)


def _tokens(answer: Answer) -> list[int]:
    return [*(answer.reply.prompt_ids or []), *(answer.reply.token_ids or [])]
