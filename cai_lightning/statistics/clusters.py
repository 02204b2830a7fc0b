"""Scores gathered by prompt: repetitions and samples of one prompt are no independent draws.

clusters = by_prompt({"a": 0.9, "b": 0.7, "c": 0.2}, {"a": "first", "b": "first"})
clusters.mean, clusters.standard_error
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Prompts = Mapping[str, str]
"""What each id shares with the others about its prompt; an id that is not there has a prompt of its own."""

NO_PROMPTS: Prompts = MappingProxyType({})


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


def by_prompt(values: Mapping[str, float], prompts: Prompts = NO_PROMPTS) -> Clusters:
    """Sum and number of the values of each prompt, ordered by prompt.

    Args:
        values: Values by id.
        prompts: What each id shares with the others about its prompt.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    for id in sorted(values):
        groups[prompts.get(id, id)].append(values[id])
    members = [groups[name] for name in sorted(groups)]
    return Clusters(np.array([math.fsum(m) for m in members]), np.array([len(m) for m in members], dtype=np.float64))
