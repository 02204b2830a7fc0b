"""Which rows make a batch, and which batches an optimizer step: planned, so that a step knows its tokens beforehand.

The loss is a mean over the supervised tokens of a whole step, in however many batches and processes it is computed. So
each batch carries the number of all supervised tokens of its step.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from cai_lightning.data.encoding import Example

T = TypeVar("T")


@dataclass(frozen=True)
class Planned:
    """A batch: its rows, none where a process only keeps the others company, and the supervised tokens of its step."""

    rows: tuple[int, ...]
    step_tokens: int


@dataclass(frozen=True)
class Sizes:
    """How large batches and steps are.

    Args:
        batch_size: Most conversations in a batch.
        max_tokens: Most tokens in a batch; a longer conversation has one to itself. Null sets no bound.
        batches_per_step: Batches that each process does before the optimizer steps.
        world_size: Number of processes.
    """

    batch_size: int
    max_tokens: int | None = None
    batches_per_step: int = 1
    world_size: int = 1


def plan(examples: Sequence[Example], sizes: Sizes, seed: int, epoch: int) -> list[list[Planned]]:
    """The steps of an epoch: for each process what it does in each step, one batch after the other.

    The order of the rows is drawn anew each epoch. With a bound on tokens the number of batches would then change, so
    there the batches are drawn once, and their order each epoch. Each row comes once an epoch.

    Returns:
        A list for each process, all of one length.
    """
    draw = random.Random(f"{seed}:{epoch if sizes.max_tokens is None else 'batches'}")
    order = draw.sample(range(len(examples)), len(examples))
    batches = fill(order, [len(example.input_ids) for example in examples], sizes)
    if sizes.max_tokens is not None:
        random.Random(f"{seed}:{epoch}").shuffle(batches)
    shares: list[list[Planned]] = [[] for _ in range(sizes.world_size)]
    together = sizes.batches_per_step * sizes.world_size
    for start in range(0, len(batches), together):
        step = batches[start : start + together]
        tokens = sum(examples[row].supervised for batch in step for row in batch)
        step += [()] * (-len(step) % sizes.world_size)
        for number, batch in enumerate(step):
            shares[number % sizes.world_size].append(Planned(batch, tokens))
    return shares


def fill(order: Sequence[int], lengths: Sequence[int], sizes: Sizes) -> list[tuple[int, ...]]:
    """Puts rows into batches in their order; a batch is closed when the next row does not fit."""
    batches: list[tuple[int, ...]] = []
    batch: list[int] = []
    tokens = 0
    for row in order:
        full = sizes.max_tokens is not None and tokens + lengths[row] > sizes.max_tokens
        if batch and (len(batch) == sizes.batch_size or full):
            batches.append(tuple(batch))
            batch, tokens = [], 0
        batch.append(row)
        tokens += lengths[row]
    return [*batches, tuple(batch)] if batch else batches


class Batches(Generic[T]):
    """The batches of one process, epoch after epoch.

    Args:
        planned: Tells the batches of the present epoch.
        make: Makes a batch of its plan.
        done: How many batches of the first epoch were done before, in a training that is resumed.
    """

    def __init__(self, planned: Callable[[], Sequence[Planned]], make: Callable[[Planned], T], done: int = 0) -> None:
        self._planned = planned
        self._make = make
        self._before = done
        self.done = done

    def __len__(self) -> int:
        return len(self._planned())

    def __iter__(self) -> Iterator[T]:
        batches = self._planned()
        self.done, self._before = self._before % len(batches), 0
        for planned in batches[self.done :]:
            self.done += 1
            yield self._make(planned)
