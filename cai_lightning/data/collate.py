"""From examples to batches: tokens padded to one length."""

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from cai_lightning.data.encoding import IGNORED as IGNORED
from cai_lightning.data.encoding import Example


class Batch(TypedDict):
    """B conversations of up to L tokens, padded on the right; the first three are [B, L].

    `expected_tokens` is how many supervised tokens a batch has on average. Batches are made by length, and short
    replies are often of one kind, such as refusals: a mean over each batch's own tokens would learn them many times.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    expected_tokens: Tensor


def collate(examples: Sequence[Example], pad: int, expected_tokens: float) -> Batch:
    """Pads examples to the longest of them."""
    width = max(len(example.input_ids) for example in examples)
    return Batch(
        input_ids=_padded([example.input_ids for example in examples], width, pad),
        attention_mask=_padded([[1] * len(example.input_ids) for example in examples], width, 0),
        labels=_padded([example.labels for example in examples], width, IGNORED),
        expected_tokens=torch.tensor(expected_tokens),
    )


def _padded(rows: list[list[int]], width: int, fill: int) -> Tensor:
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])
