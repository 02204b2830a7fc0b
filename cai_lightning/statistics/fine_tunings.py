"""Means and differences of arms: of one experiment fine-tuned under several seeds.

    estimate = arm_mean([scores_of_seed_1, scores_of_seed_2, scores_of_seed_3])
    difference = arm_difference([seed_1, seed_2, seed_3], [baseline])

Two fine-tunings differ more than two samples of prompts do, and two to five of them tell little about how much. An
interval that takes their spread as known, as a bootstrap over so few does, is far too narrow: with two that differ a
lot it holds the truth in 63 of 100 experiments. So the variance between fine-tunings and that between prompts are
estimated apart, each gets Student's quantile for its own degrees of freedom, and the two half widths are joined as the
sides of a right angle (the modified large-sample interval of Graybill and Wang, 1980). Where one of the two is all that
varies this is Student's interval for it, or Welch's between two arms; in between it holds the truth somewhat more often
than it says. How often was measured, and stands in `docs/experiments.md`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cai_lightning.statistics.clusters import Clusters, by_prompt
from cai_lightning.statistics.estimates import Estimate, PairedDifference
from cai_lightning.statistics.intervals import student_quantile
from cai_lightning.statistics.means import mean_interval, paired_difference
from cai_lightning.statistics.power import effect_size
from cai_lightning.statistics.significance import sign_flip

Scores = Mapping[str, float]


@dataclass(frozen=True)
class _Part:
    """A share of the variance of a mean, and the degrees of freedom that it was estimated with."""

    variance: float
    freedom: float


def arm_mean(fine_tunings: Sequence[Scores], confidence: float = 0.95) -> Estimate:
    """The mean over fine-tunings and prompts, over the ids scored in all fine-tunings.

    Args:
        fine_tunings: The scores by id of each fine-tuning; for a single one this is `mean_interval`.
        confidence: Share of intervals that shall hold the mean of all fine-tunings and prompts.
    """
    if len(fine_tunings) == 1:
        return mean_interval(fine_tunings[0], confidence)
    shared = _shared(fine_tunings, _common(fine_tunings))
    return _estimate(_averaged(shared), _between(shared), confidence)


def arm_difference(a: Sequence[Scores], b: Sequence[Scores], confidence: float = 0.95) -> PairedDifference:
    """The difference of two arms, `a - b`, paired by prompt; for single fine-tunings this is `paired_difference`.

    The p-value is that at which the interval would end at 0. An arm with a single fine-tuning adds nothing to the
    interval for how its fine-tunings vary, which cannot be known from one.

    Args:
        a: The scores by id of each fine-tuning of an arm.
        b: Those of the baseline.
        confidence: As in `arm_mean`.
    """
    if len(a) == len(b) == 1:
        return paired_difference(a[0], b[0], confidence)
    ids = _common([*a, *b])
    left_out = len(set[str]().union(*a, *b)) - len(ids)
    first, second = _shared(a, ids), _shared(b, ids)
    averages, baseline = _averaged(first), _averaged(second)
    differences = {id: averages[id] - baseline[id] for id in ids}
    between = _between(first, second)
    estimate, clusters = _estimate(differences, between, confidence), by_prompt(differences)
    if estimate.interval is None:
        return PairedDifference(estimate, left_out)
    if estimate.low == estimate.high:  # neither prompts nor fine-tunings differ, from which no certainty follows
        return PairedDifference(estimate, left_out, sign_flip(clusters.sums), effect_size(clusters))
    p_value = _p_value(clusters.mean, [*between, _between_prompts(clusters)])
    return PairedDifference(estimate, left_out, p_value, effect_size(clusters))


def _common(fine_tunings: Sequence[Scores]) -> frozenset[str]:
    return frozenset.intersection(*(frozenset(scores) for scores in fine_tunings))


def _shared(fine_tunings: Sequence[Scores], ids: frozenset[str]) -> list[Scores]:
    return [{id: scores[id] for id in ids} for scores in fine_tunings]


def _averaged(fine_tunings: Sequence[Scores]) -> dict[str, float]:
    """The mean of each prompt over the fine-tunings."""
    return {id: math.fsum(scores[id] for scores in fine_tunings) / len(fine_tunings) for id in fine_tunings[0]}


def _between(*arms: Sequence[Scores]) -> list[_Part]:
    """What fine-tunings add to the variance of a mean or a difference; nothing can be said of a single one.

    Two arms' variances are summed and their freedoms joined by Welch's formula: apart they would be far too wide.
    """
    parts = [_of_means(arm) for arm in arms if len(arm) > 1 and arm[0]]
    total = sum(part.variance for part in parts)
    if not total:
        return []
    return [_Part(total, total**2 / sum(part.variance**2 / part.freedom for part in parts))]


def _of_means(fine_tunings: Sequence[Scores]) -> _Part:
    """The variance of the mean of an arm, less the share that is noise of single responses: prompts show that too."""
    clusters = [by_prompt(scores) for scores in fine_tunings]
    sums, counts = np.stack([gathered.sums for gathered in clusters]), clusters[0].counts
    means, freedom = sums.sum(axis=1) / counts.sum(), len(clusters) - 1
    residuals = sums - sums.mean(axis=0) - (means - means.mean())[:, None] * counts
    correction = len(counts) / max(1, len(counts) - 1)
    noise = correction * float((residuals**2).sum()) / freedom / counts.sum() ** 2
    return _Part(max(0.0, float(means.var(ddof=1)) - noise) / len(means), freedom)


def _between_prompts(clusters: Clusters) -> _Part:
    return _Part(clusters.standard_error**2, len(clusters) - 1)


def _estimate(values: Scores, between: Sequence[_Part], confidence: float) -> Estimate:
    clusters = by_prompt(values)
    if len(clusters) < 2:
        return Estimate(clusters.mean if values else None, None, None, len(values))
    half = _half_width([*between, _between_prompts(clusters)], confidence)
    return Estimate(clusters.mean, clusters.mean - half, clusters.mean + half, len(values))


def _half_width(parts: Sequence[_Part], confidence: float) -> float:
    return math.sqrt(sum(student_quantile(part.freedom, confidence) ** 2 * part.variance for part in parts))


def _p_value(mean: float, parts: Sequence[_Part]) -> float:
    """One less the confidence at which the interval ends at 0."""
    from scipy.optimize import brentq

    surest = 1 - 1e-12
    if not mean:
        return 1.0
    if _half_width(parts, surest) < abs(mean):
        return 1 - surest
    return 1 - float(brentq(lambda confidence: _half_width(parts, confidence) - abs(mean), 0.0, surest))
