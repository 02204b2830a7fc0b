"""The contract of a reward model, and how texts of any lengths are scored with it.

encoded = [reward.encode(conversation) for conversation in conversations]
scores = score_all(reward, encoded, budget=16_384)
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cai_lightning.records import Conversation


@dataclass(frozen=True)
class Encoded:
    """A conversation as a reward model reads it.

    Args:
        ids: Its tokens.
        truncated: Whether its beginning was cut off.
        segments: For each token the text of a pair that it belongs to, 0 or 1; None where the model has no use for it.
    """

    ids: list[int]
    truncated: bool
    segments: list[int] | None = None


class Reward(ABC):
    """Gives a conversation that ends in the assistant's words one number, the higher the better."""

    @abstractmethod
    def encode(self, conversation: Conversation) -> Encoded:
        """The conversation as tokens, without its beginning where it is too long."""

    @abstractmethod
    def rewards(self, batch: Sequence[Encoded]) -> Tensor:
        """The rewards of N conversations, on the CPU; none may depend on what it shares the batch with."""


@torch.inference_mode()
def score_all(reward: Reward, encoded: Sequence[Encoded], budget: int) -> Tensor:
    """The rewards of N conversations in their order, computed in batches of similar lengths.

    Args:
        reward: The reward model.
        encoded: What `reward.encode` has made of the conversations.
        budget: Tokens of a batch, padding included; a longer conversation is a batch of its own.
    """
    scores = torch.empty(len(encoded))
    for rows in batches([len(one.ids) for one in encoded], budget):
        scores[rows] = reward.rewards([encoded[row] for row in rows])
    return scores


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """The numbers of rows that are computed together, the longest rows first, so that too large a batch fails at once.

    >>> list(batches([1, 4, 2, 3], budget=6))
    [[1], [3, 2], [0]]
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def padded(rows: Sequence[Sequence[int]], filler: int, device: torch.device) -> Tensor:
    """Rows of any lengths as one tensor, filled up on the right."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows], device=device)
