"""From examples to batches: conversations one behind the other in a single row, or padded to one length."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict, cast

import torch
from torch import Tensor

from cai_lightning.data.encoding import IGNORED, Example

GRAIN = 128
"""On a GPU a packed row is as wide as a multiple of this, so that its kernels and its allocator meet few widths."""


class Batch(TypedDict):
    """N conversations: packed, as B = 1 row of all their tokens with `lengths`; or padded on the right, as B = N rows
    with an `attention_mask`. `input_ids`, `labels` and the mask are [B, L].

    `tokens` counts them without padding; `step_tokens` is how many supervised tokens the whole optimizer step has, over
    all its batches and processes.
    """

    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor
    lengths: NotRequired[list[int]]
    attention_mask: NotRequired[Tensor]
    tokens: int
    step_tokens: int


def pack(examples: Sequence[Example], step_tokens: int, grain: int = 1) -> Batch:
    """Puts conversations one behind the other; positions begin anew with each.

    Args:
        examples: The conversations.
        step_tokens: Supervised tokens of the whole step.
        grain: The row is filled up to a multiple of so many tokens, by a conversation of which nothing is learned.
    """
    tokens = sum(len(example.input_ids) for example in examples)
    filling = -tokens % grain
    rows = [*examples, Example("filling", [0] * filling, [IGNORED] * filling, truncated=False)] if filling else examples
    lengths = [len(row.input_ids) for row in rows]
    return Batch(
        input_ids=torch.tensor([[id for row in rows for id in row.input_ids]]),
        labels=torch.tensor([[label for row in rows for label in _labels(row)]]),
        position_ids=torch.cat([torch.arange(length) for length in lengths])[None],
        lengths=lengths,
        tokens=tokens,
        step_tokens=step_tokens,
    )


def pad(examples: Sequence[Example], step_tokens: int, filling: int) -> Batch:
    """Pads conversations to the longest of them."""
    lengths = [len(example.input_ids) for example in examples]
    width = max(lengths)
    return Batch(
        input_ids=_padded([example.input_ids for example in examples], width, filling),
        labels=_padded([_labels(example) for example in examples], width, IGNORED),
        position_ids=torch.arange(width).expand(len(examples), -1),
        attention_mask=_padded([[1] * length for length in lengths], width, 0),
        tokens=sum(lengths),
        step_tokens=step_tokens,
    )


def silent(example: Example) -> Example:
    """An example of which nothing is learned, for a process that has no batch in a step."""
    return Example(example.id, example.input_ids, [IGNORED] * len(example.labels), example.truncated)


def moved(batch: Batch, device: torch.device) -> Batch:
    """A batch with its tensors on a device."""
    content = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}
    return cast(Batch, content)


def _labels(example: Example) -> list[int]:
    """The labels of a conversation; its first token has none, for it would be predicted from the one before."""
    return [IGNORED, *example.labels[1:]]


def _padded(rows: list[list[int]], width: int, fill: int) -> Tensor:
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])
