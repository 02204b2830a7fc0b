"""Scores gathered by prompt: repetitions and samples of one prompt are no independent draws.

clusters = by_prompt({"0f3a...": 0.9, "0f3a...-2": 0.7, "77b1...": 0.2})
clusters.mean, clusters.standard_error
"""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_REPETITION = re.compile(r"(-\d+)?(\.\d+)?$")


@dataclass(frozen=True)
class Clusters:
    """The values of N prompts.

    Args:
        sums: The sum of each prompt's values.
        counts: How many values it has.
    """

    sums: Array
    counts: Array

    def __len__(self) -> int:
        return len(self.sums)

    @property
    def mean(self) -> float:
        """The mean over all values."""
        return math.fsum(self.sums) / math.fsum(self.counts)

    @property
    def standard_error(self) -> float:
        """The standard deviation of the mean over draws of prompts; with one value each it is s / sqrt(N)."""
        residuals = self.sums - self.mean * self.counts
        correction = len(self) / (len(self) - 1)
        return math.sqrt(correction * float(residuals @ residuals)) / float(self.counts.sum())

    @property
    def agree(self) -> bool:
        """Whether all prompts have the same mean, but for rounding."""
        means = self.sums / self.counts
        return bool(np.ptp(means) <= 1e-12 * np.abs(means).max())


def cluster(id: str) -> str:
    """The prompt that an id stands for: without `-n` of a repeated prompt and `.k` of a further sample.

    >>> cluster("00aa-2.1")
    '00aa'
    """
    return _REPETITION.sub("", id, count=1)


def by_prompt(values: Mapping[str, float]) -> Clusters:
    """Sum and number of the values of each prompt, ordered by prompt."""
    groups: dict[str, list[float]] = defaultdict(list)
    for id in sorted(values):
        groups[cluster(id)].append(values[id])
    members = [groups[name] for name in sorted(groups)]
    return Clusters(np.array([math.fsum(m) for m in members]), np.array([len(m) for m in members], dtype=np.float64))
