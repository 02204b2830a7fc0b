"""The shares of the variance of a mean: that between fine-tunings, and that between prompts.

parts = [of_fine_tunings(arm) for arm in (a, b)]
between = joined(parts)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cai_lightning.statistics.clusters import NO_PROMPTS, Clusters, Prompts, by_prompt


@dataclass(frozen=True)
class Part:
    """A share of the variance of a mean, and the degrees of freedom that it was estimated with."""

    variance: float
    freedom: float


def of_fine_tunings(fine_tunings: Sequence[Mapping[str, float]], prompts: Prompts = NO_PROMPTS) -> Part:
    """The variance of the mean of an arm, less the share that is noise of single responses: prompts show that too.

    Args:
        fine_tunings: The scores by id of two or more fine-tunings, all over the same ids.
        prompts: As in `mean_interval`.
    """
    clusters = [by_prompt(scores, prompts) for scores in fine_tunings]
    sums, counts = np.stack([gathered.sums for gathered in clusters]), clusters[0].counts
    means, freedom = sums.sum(axis=1) / counts.sum(), len(clusters) - 1
    residuals = sums - sums.mean(axis=0) - (means - means.mean())[:, None] * counts
    correction = len(counts) / max(1, len(counts) - 1)
    noise = correction * float((residuals**2).sum()) / freedom / counts.sum() ** 2
    return Part(max(0.0, float(means.var(ddof=1)) - noise) / len(means), freedom)


def of_prompts(clusters: Clusters) -> Part:
    """The variance of a mean over draws of prompts."""
    return Part(clusters.standard_error**2, len(clusters) - 1)


def joined(parts: Sequence[Part]) -> list[Part]:
    """What the fine-tunings of both arms add to the variance of a difference; none where they do not differ.

    Their variances are summed and their freedoms joined by Welch's formula: apart they would be far too wide.
    """
    total = sum(part.variance for part in parts)
    if not total:
        return []
    return [Part(total, total**2 / sum(part.variance**2 / part.freedom for part in parts))]
