"""Sampling in which every row has random numbers of its own, so that a reply does not depend on its batch."""

import random
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from cai_lightning.engines.base import Sampling


class SeededDraw(LogitsProcessor):
    """Draws one token a row by inverting the cumulative distribution at the row's next random number.

    All other tokens get minus infinity, so that the greedy choice that follows takes the one drawn. Two models that
    agree on a distribution draw the same token from the same seed, which pairs the runs of a comparison.
    """

    def __init__(self, seeds: Sequence[str]) -> None:
        self.rows = [random.Random(seed) for seed in seeds]

    def keep(self, kept: Sequence[int]) -> None:
        """Forgets all rows but these."""
        self.rows = [self.rows[row] for row in kept]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Args: input_ids [rows, length]; scores [rows, vocabulary]. Returns: scores of the same shape."""
        cumulative = scores.softmax(dim=-1, dtype=torch.float64).cumsum(dim=-1)
        draws = torch.tensor([row.random() for row in self.rows], dtype=torch.float64, device=scores.device)
        tokens = torch.searchsorted(cumulative, (draws * cumulative[:, -1])[:, None], right=True)
        tokens = tokens.clamp_(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens, 0.0)


def processors(sampling: Sampling, seeds: Sequence[str]) -> LogitsProcessorList:
    """What turns the model's scores into the next tokens; empty for temperature 0, the greedy choice."""
    if sampling.temperature == 0:
        return LogitsProcessorList()
    steps: list[LogitsProcessor] = [TemperatureLogitsWarper(sampling.temperature)]
    if sampling.top_p < 1:
        steps.append(TopPLogitsWarper(sampling.top_p))
    return LogitsProcessorList([*steps, SeededDraw(seeds)])
