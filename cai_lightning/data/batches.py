"""Batches of similar length in a random order, so that little is padded."""

import random
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler


class LengthBatches(Sampler[list[int]]):
    """Yields the row numbers of one batch after the other, for one of several processes.

    When rows are shuffled every process yields the same number of batches, some of them twice if need be; otherwise
    every row comes once, and a process may have a batch less. The order follows from seed and epoch alone.

    Args:
        lengths: Length of every row in tokens.
        batch_size: Rows in a batch.
        rank: This process.
        world_size: Number of processes.
        seed: Of the order.
        shuffle: Draws a new order each epoch; otherwise the longest batch comes first.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 42,
        shuffle: bool = True,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        batches = -(-len(self.lengths) // self.batch_size)
        return -(-batches // self.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._batches()
        spare = len(self) * self.world_size - len(batches)
        repeated = [batches[n % len(batches)] for n in range(spare)] if self.shuffle else []
        yield from (batches + repeated)[self.rank :: self.world_size]

    def _batches(self) -> list[list[int]]:
        draw = random.Random(f"{self.seed}:{self.epoch}")
        jitter = [draw.random() for _ in self.lengths]
        order = sorted(range(len(self.lengths)), key=lambda row: (-self.lengths[row], jitter[row]))
        batches = [order[n : n + self.batch_size] for n in range(0, len(order), self.batch_size)]
        if self.shuffle:
            draw.shuffle(batches)
        return batches
