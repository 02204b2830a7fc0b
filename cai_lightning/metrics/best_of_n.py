"""Best of n: an engine that lets another one answer n times, and says what an evaluator ranks best.

    validate:
      model:
        init_args:
          engine:
            class_path: cai_lightning.metrics.BestOfN
            init_args: {n: 16, engine: {class_path: ...}, reward: {class_path: cai_lightning.metrics.RewardModel, ...}}

It is the baseline that a policy trained against the same reward has to beat: nothing is trained, and its distance from
the engine's own model is known, KL ≤ log n - (n-1)/n (Beirami et al. 2024, arXiv 2401.01879), 1.84 nats for 16.
"""

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cai_lightning.engines import Choice, Engine, Reply
from cai_lightning.metrics.base import Column, ResponseMetric, within_bounds
from cai_lightning.run import manifest
from cai_lightning.run.errors import ReplyError
from cai_lightning.run.records import Conversation, Response

log = logging.getLogger(__name__)


def kl_bound(n: int) -> float:
    """What the best of n replies may be away from the model that wrote them, in nats; reached where no two tie."""
    return math.log(n) - (n - 1) / n


@dataclass(frozen=True)
class _Drawn:
    """The replies to a conversation, with what says how good each is."""

    responses: list[Response]
    values: "asyncio.Future[list[float]]"


@dataclass(eq=False, repr=False)
class BestOfN(Engine):
    """Draws n replies and returns the one with the best score. One without a score loses; of equal ones the first wins.

    Args:
        engine: What draws them, the first by the very random numbers that it takes when it is asked alone.
        reward: The evaluator, whose score must not depend on a reference. Its model is held beside the engine's.
        n: Replies to each conversation.
        column: Which of the evaluator's columns counts; null takes its first.
        score_batch_size: Replies scored at once, those to many prompts together.
    """

    NOT_FINGERPRINTED = frozenset({"score_batch_size"})

    engine: Engine
    reward: ResponseMetric
    n: int = 16
    column: str | None = None
    score_batch_size: int = 64

    def __post_init__(self) -> None:
        for name in ("n", "score_batch_size"):
            if (number := getattr(self, name)) < 1:
                raise ValueError(f"engine.{name}: must be ≥ 1, not {number}")
        if self.reward.uses_references:
            raise ValueError(f"engine.reward: {type(self.reward).__name__} scores by references, which nobody has here")
        self._column = _column(self.reward, self.column)
        self.sampling = self.engine.sampling
        told = f"best of {self.n} by {self._column.name}, at most {kl_bound(self.n):.2f} nats away"
        self.model = f"{self.engine.model} ({told})"

    @property
    def concurrency(self) -> int:
        """As many conversations as the engine has places for replies, so that many are scored together."""
        return self.engine.concurrency

    def inputs(self, run: Path) -> dict[str, str]:
        """What the engine reads, and what stands behind the reward."""
        known = self.engine.inputs(run) if isinstance(self.engine, manifest.HasInputs) else {}
        return known | {"revision of the reward": str(self.reward.revision())}

    def start(self, device: torch.device, adapter: Path | None = None) -> None:
        self.engine.start(device, adapter)
        self.reward.load(device)
        self._places = asyncio.Semaphore(self.engine.concurrency)
        self._drawing, self._failed, self._unscored, self._seen = 0, 0, 0, 0
        self._waiting: list[_Drawn] = []
        self._scoring: asyncio.Task[None] | None = None

    def stop(self) -> None:
        if self._failed or self._unscored:
            log.warning("best of %d: of %d replies %d failed and %d have no score; the others were ranked without them",
                        self.n, self._seen, self._failed, self._unscored)  # fmt: skip
        self.reward.free()
        self.engine.stop()

    async def reply(self, conversation: Conversation, seed: str, logprobs: bool = False) -> Reply:
        self._drawing += 1
        try:
            replies = await self._draw(conversation, seed, logprobs)
            drawn = _Drawn(_responses(conversation, replies, self.model), asyncio.get_running_loop().create_future())
            self._waiting.append(drawn)
        finally:
            self._drawing -= 1
            self._score_if_due()
        values = await drawn.values
        return replies[max(range(len(replies)), key=lambda place: values[place])]

    async def choose(self, conversation: Conversation, options: Sequence[str]) -> Choice:
        """The engine's own choice."""
        return await self.engine.choose(conversation, options)

    async def _draw(self, conversation: Conversation, seed: str, logprobs: bool) -> list[Reply]:
        """The replies that could be had.

        Raises:
            ReplyError: None could.
        """
        seeds = [seed, *(f"{seed}:{place}" for place in range(1, self.n))]
        drawn = await asyncio.gather(*(self._one(conversation, each, logprobs) for each in seeds))
        replies = [reply for reply in drawn if isinstance(reply, Reply)]
        self._seen, self._failed = self._seen + self.n, self._failed + self.n - len(replies)
        if not replies:
            raise next(error for error in drawn if isinstance(error, ReplyError))
        return replies

    async def _one(self, conversation: Conversation, seed: str, logprobs: bool) -> Reply | ReplyError:
        async with self._places:
            try:
                return await self.engine.reply(conversation, seed, logprobs)
            except ReplyError as error:
                return error

    def _score_if_due(self) -> None:
        """Scores what is drawn once it fills a batch, or nobody draws any more."""
        count = sum(len(drawn.responses) for drawn in self._waiting)
        if self._scoring is None and count and (count >= self.score_batch_size or not self._drawing):
            self._scoring = asyncio.get_running_loop().create_task(self._score())

    async def _score(self) -> None:
        batch, self._waiting = self._waiting, []
        try:
            # In a thread, for evaluators that ask servers run a loop of their own; replies are drawn meanwhile.
            values = await asyncio.to_thread(self._values, [one for drawn in batch for one in drawn.responses])
            for drawn in batch:
                told, values = values[: len(drawn.responses)], values[len(drawn.responses) :]
                if not drawn.values.done():
                    drawn.values.set_result(told)
        except Exception as error:  # not swallowed: those who wait for it raise it
            for drawn in batch:
                if not drawn.values.done():
                    drawn.values.set_exception(error)
        finally:
            self._scoring = None
            self._score_if_due()

    def _values(self, responses: Sequence[Response]) -> list[float]:
        """How good each is, the higher the better; what has no score is worst."""
        values = [-math.inf] * len(responses)
        told = [n for n, one in enumerate(responses) if not (one.why_silent or self.reward.inapplicable(one))]
        for start in range(0, len(told), self.score_batch_size):
            rows = told[start : start + self.score_batch_size]
            scores = within_bounds(self.reward.score([responses[row] for row in rows]), self.reward.columns)
            sign = 1 if self._column.direction == "higher" else -1
            for row, value in zip(rows, scores.values[self._column.name].tolist(), strict=True):
                values[row] = -math.inf if math.isnan(value) else sign * value
        self._unscored += values.count(-math.inf)
        return values


def _column(reward: ResponseMetric, name: str | None) -> Column:
    names = [column.name for column in reward.columns]
    if name is not None and name not in names:
        raise ValueError(f"engine.column: {name!r} is none of {', '.join(names)}")
    return reward.columns[names.index(name) if name else 0]


def _responses(conversation: Conversation, replies: Sequence[Reply], model: str) -> list[Response]:
    """The replies as an evaluator reads them."""
    asked, turns = conversation[-1]["content"], conversation if len(conversation) > 1 else None
    return [
        Response(str(n), asked, reply.text, None, reply.finish_reason, model, None, thought=reply.thought, turns=turns)
        for n, reply in enumerate(replies)
    ]
