"""Continuous batching: a conversation joins the batch when a slot is free, and what its slot holds is not read again.

batch = ContinuousBatch(policy, slots=64, sampling=Sampling(), ends={2})
written = await batch.write(ids, seed="42", most=256)
choice = await batch.choose(ids, options=[[7, 8], [7, 9]])
"""

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from cai_lightning.data.batches import in_batches
from cai_lightning.engines.base import Choice, Sampling, draw, token_logprobs, weigh
from cai_lightning.engines.slots import Slots, TooManySlotsError
from cai_lightning.run.errors import ReplyError, is_out_of_memory

log = logging.getLogger(__name__)

PREFILL_TOKENS = 2048
"""Conversations are read together up to so many tokens, padding included; more would gain nothing and pad more."""

GATHERING = 8
"""New conversations wait until they are an eighth of the batch, or so many steps: a few at a time read slowly."""

CROWDED = 0.75
"""Idle slots among the active ones are computed along while the active ones' share is at least this."""

SHARED = 32
"""Where conversations begin with so many tokens alike, the first of them is read before the others, which copy it."""


class Written(NamedTuple):
    """A reply in tokens.

    Args:
        tokens: The one that ended it included.
        logprobs: How likely each was in the model's own distribution, where that was asked for.
    """

    tokens: list[int]
    logprobs: list[float] | None


@dataclass(eq=False)
class _Request:
    """A conversation that waits for a reply, or where tokens are `weighed`, for how likely they are to come next."""

    ids: list[int]
    seed: str = ""
    most: int = 0
    tells: bool = True
    weighed: list[int] = field(default_factory=list)
    answer: "asyncio.Future[Written]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    written: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    slot: int = -1
    numbers: random.Random = field(default_factory=random.Random)

    def begin(self, slot: int) -> None:
        """Takes a slot; what was unfinished in another one begins anew."""
        self.slot, self.numbers = slot, random.Random(self.seed)
        self.written, self.logprobs = [], []


@dataclass(eq=False)
class ContinuousBatch:
    """Writes replies to many conversations at once; each draws from random numbers of its own.

    Args:
        policy: The model.
        slots: Conversations in the batch; on a GPU as many as fit as they grow longer. Halved when memory runs out;
            one that does not fit alone fails, and the others have all slots again.
        sampling: How tokens are drawn.
        ends: Tokens that end a reply.
        stopped: Whether the tokens of a reply end in a stop string.
    """

    policy: PreTrainedModel
    slots: int
    sampling: Sampling
    ends: set[int]
    stopped: Callable[[list[int]], bool] = lambda written: False

    def __post_init__(self) -> None:
        self._waiting: list[_Request] = []
        self._task: asyncio.Task[None] | None = None
        self._open(self.slots)

    async def write(self, ids: list[int], seed: str, most: int, logprobs: bool = False) -> Written:
        """Continues a conversation.

        Args:
            ids: Its tokens.
            seed: Seed of the reply's random numbers.
            most: Tokens after which the reply is cut.
            logprobs: Tells how likely the reply's tokens were.

        Raises:
            ReplyError: The conversation takes more memory than there is, also alone.
        """
        return await self._answered(_Request(ids, seed, most, logprobs))

    async def choose(self, ids: list[int], options: Sequence[list[int]]) -> Choice:
        """How likely each of several answers to a conversation is.

        Args:
            ids: Its tokens.
            options: The answers' tokens; none begins another.

        Raises:
            ReplyError: As in `write`.
        """

        async def ask(begun: tuple[int, ...], tokens: list[int]) -> list[float]:
            return (await self._answered(_Request([*ids, *begun], weighed=tokens))).logprobs or []

        return await weigh(options, ask)

    def forget(self) -> None:
        """Reads every conversation anew from now on, for the weights have changed; to be called between replies."""
        self._slots.lengths[:] = 0
        self._idle.sort()  # as at the beginning, so that nothing of what was before can be seen

    async def _answered(self, request: _Request) -> Written:
        self._waiting.append(request)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        return await request.answer

    def _open(self, count: int) -> None:
        self._slots = Slots(self.policy, count)
        self._idle = list(range(count))
        self._active: dict[int, _Request] = {}
        self._steps_waited = 0

    async def _run(self) -> None:
        """Works while there is work. What a reply wakes runs before the next step, so its next turn can join it."""
        try:
            while self._waiting or self._active:
                self._work()
                await asyncio.sleep(0)
        except Exception as error:  # not swallowed: those who wait for it raise it
            failed = [*self._waiting, *self._active.values()]
            for request in failed:
                if not request.answer.done():
                    request.answer.set_exception(error)
            self._waiting = []
            self._open(self.slots)
        finally:
            self._task = None

    def _work(self) -> None:
        try:
            if self._is_time_to_read():
                self._read()
            else:
                self._write()
            return
        except TooManySlotsError as error:
            why, count = str(error), error.fitting
        except (MemoryError, RuntimeError) as error:
            count = self._slots.count // 2
            if not is_out_of_memory(error) or not (count or self._active):
                raise
            why = f"out of memory with {self._slots.count} conversations at once"
        self._make_do(count, why)

    def _make_do(self, count: int, why: str) -> None:
        """Goes on with so many slots; what is unfinished begins anew, and draws the same tokens."""
        if count:
            log.warning("%s; going on with %d", why, count)
        else:
            self._set_aside()
        self._waiting = [*self._active.values(), *self._waiting]
        del self._slots
        gc.collect()
        torch.cuda.empty_cache()
        self._open(count or self.slots)

    def _set_aside(self) -> None:
        """Gives up the longest conversation in the batch, which does not fit alone; the others may be short."""
        request = max(self._active.values(), key=lambda request: len(request.ids) + len(request.written))
        del self._active[request.slot]
        why = f"a conversation of {len(request.ids)} tokens takes more memory than there is"
        log.warning("%s; it is set aside, and the others go on, %d at once", why, self.slots)
        if not request.answer.done():
            request.answer.set_exception(ReplyError(why))

    def _is_time_to_read(self) -> bool:
        if not self._waiting or not self._idle:
            return False
        self._steps_waited += 1
        return len(self._waiting) * GATHERING >= len(self._active) or self._steps_waited > GATHERING

    def _read(self) -> None:
        """Gives waiting conversations their slots, and reads what these do not hold yet."""
        self._steps_waited = 0
        joining = self._next_to_join()
        for request in joining:
            self._seat(request)

        def unread(request: _Request) -> int:
            return len(request.ids) - int(self._slots.lengths[request.slot])

        def is_small(group: list[_Request]) -> bool:
            return len(group) * unread(group[-1]) <= PREFILL_TOKENS

        for group in in_batches(sorted(joining, key=unread), is_small):
            self._waiting = [request for request in self._waiting if request not in group]
            self._active |= {request.slot: request for request in group}
            slots = [request.slot for request in group]
            ids = [request.ids[self._slots.lengths[request.slot] :] for request in group]
            self._take(group, self._slots.extend(slots, ids))

    def _next_to_join(self) -> list[_Request]:
        """The longest come first: they go on with what a slot holds, before a new conversation takes that slot."""
        wanted = [request for request in self._waiting if not request.answer.done()]
        self._waiting = wanted
        joining = sorted(wanted, key=lambda request: len(request.ids), reverse=True)[: len(self._idle)]
        if len(joining) > 1:
            first, second = joining[0].ids, joining[1].ids
            beginning = int(self._slots.overlaps(first).max()) + SHARED + 1
            if len(second) >= beginning and first[:beginning] == second[:beginning]:
                return joining[:1]
        return joining

    def _seat(self, request: _Request) -> None:
        """The slot that holds this conversation so far, or else the one idle for longest, beginning as another does."""
        overlaps = self._slots.overlaps(request.ids[:-1])
        slot = max(self._idle, key=overlaps.__getitem__)
        if overlaps[slot] * 2 <= self._slots.lengths[slot]:
            slot, source = self._idle[0], int(overlaps.argmax())
            if overlaps[source] > overlaps[slot]:
                self._slots.copy(source, slot, overlaps[source])
                overlaps[slot] = overlaps[source]
        self._slots.lengths[slot] = overlaps[slot]
        self._idle.remove(slot)
        request.begin(slot)

    def _write(self) -> None:
        """One token for everybody in the batch."""
        last = {slot: [request.written[-1]] for slot, request in self._active.items()}
        top = max(last) + 1
        slots: Sequence[int] = range(top) if len(last) >= CROWDED * top else sorted(last)
        logits = self._slots.extend(slots, [last.get(slot, []) for slot in slots])
        rows = [row for row, slot in enumerate(slots) if slot in last]
        self._take([self._active[slots[row]] for row in rows], _rows(logits, rows))

    def _take(self, requests: Sequence[_Request], logits: Tensor) -> None:
        """Gives each what it asks of its logits; who is finished leaves, his slot remembering the conversation."""
        drawing = [row for row, request in enumerate(requests) if not request.weighed]
        if drawing:
            self._draw([requests[row] for row in drawing], _rows(logits, drawing))
        told = [row for row, request in enumerate(requests) if request.tells]
        if told:
            asked = [requests[row].weighed or requests[row].written[-1:] for row in told]
            for row, logprobs in zip(told, token_logprobs(_rows(logits, told), asked), strict=True):
                requests[row].logprobs += logprobs
        for request in requests:
            if self._is_finished(request):
                del self._active[request.slot]
                self._idle.append(request.slot)
                if not request.answer.done():
                    request.answer.set_result(Written(request.written, request.logprobs if request.tells else None))

    def _draw(self, requests: Sequence[_Request], logits: Tensor) -> None:
        penalized = self.sampling.repetition_penalty not in (None, 1)
        seen = [[*request.ids, *request.written] for request in requests] if penalized else ()
        tokens = draw(logits, self.sampling, [request.numbers for request in requests], seen)
        for request, token in zip(requests, tokens, strict=True):
            request.written.append(token)

    def _is_finished(self, request: _Request) -> bool:
        written = request.written
        is_done = request.weighed or request.answer.done() or len(written) == request.most
        return bool(is_done) or written[-1] in self.ends or self.stopped(written)


def _rows(logits: Tensor, rows: Sequence[int]) -> Tensor:
    """Some rows of the logits, or these themselves where it is all of them."""
    return logits if len(rows) == len(logits) else logits[rows]
