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

Rates get for their prompts what rates of single runs get, Wilson's interval or that of Bonett and Price, and each half
is joined apart, as Zou and Donner do (2008). So an arm in which no prompt ever fails has an interval with a width: that
no failure was seen among 100 prompts does not mean that there is none.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from cai_lightning.statistics.intervals import (
    NO_PROMPTS,
    Clusters,
    Ends,
    Prompts,
    by_prompt,
    rate_difference_interval,
    rate_interval,
    student_quantile,
)
from cai_lightning.statistics.means import (
    Interval,
    PairedDifference,
    are_rates,
    mean_interval,
    paired_difference,
    without_interval,
)
from cai_lightning.statistics.tests import (
    VarianceComponent,
    effect_size,
    of_fine_tunings,
    of_prompts,
    pooled,
    prompts_needed,
    seeds_needed,
    sign_flip,
)

Scores = Mapping[str, float]
EndsAt = Callable[[float], Ends]
"""The interval over prompts at each confidence."""


def arm_mean(
    fine_tunings: Sequence[Scores], confidence: float = 0.95, unit_scale: bool = True, prompts: Prompts = NO_PROMPTS
) -> Interval:
    """The mean over fine-tunings and prompts, over the ids scored in all fine-tunings.

    Args:
        fine_tunings: The scores by id of each fine-tuning; for a single one this is `mean_interval`.
        confidence: Share of intervals that shall hold the mean of all fine-tunings and prompts.
        unit_scale: As in `mean_interval`.
        prompts: As in `mean_interval`.
    """
    if len(fine_tunings) == 1:
        return mean_interval(fine_tunings[0], confidence, unit_scale=unit_scale, prompts=prompts)
    shared = _shared(fine_tunings, _common(fine_tunings))
    clusters, rates = by_prompt(_averaged(shared), prompts), unit_scale and all(map(are_rates, shared))
    if len(clusters) < 2:
        return without_interval(clusters)
    over_prompts = partial(rate_interval, clusters, averaged=len(shared)) if rates else partial(_student, clusters)
    low, high = _widened(over_prompts, clusters.mean, pooled([of_fine_tunings(shared, prompts)]), confidence)
    return _estimate(clusters, *((max(0.0, low), min(1.0, high)) if rates else (low, high)))


def arm_difference(
    a: Sequence[Scores],
    b: Sequence[Scores],
    confidence: float = 0.95,
    unit_scale: bool = True,
    prompts: Prompts = NO_PROMPTS,
) -> PairedDifference:
    """The difference of two arms, `a - b`, paired by prompt; for single fine-tunings this is `paired_difference`.

    The p-value is that at which the interval would end at 0. An arm with a single fine-tuning adds nothing to the
    interval for how its fine-tunings vary, which cannot be known from one.

    Args:
        a: The scores by id of each fine-tuning of an arm.
        b: Those of the baseline.
        confidence: As in `arm_mean`; its complement is the level that `needed` and `needed_seeds` are for.
        unit_scale: As in `mean_interval`.
        prompts: As in `mean_interval`.
    """
    if len(a) == len(b) == 1:
        return paired_difference(a[0], b[0], confidence, unit_scale=unit_scale, prompts=prompts)
    ids = _common([*a, *b])
    left_out = len(set[str]().union(*a, *b)) - len(ids)
    arms = _shared(a, ids), _shared(b, ids)
    clusters, over_prompts = _paired(*arms, unit_scale, prompts)
    if len(clusters) < 2:
        return PairedDifference(without_interval(clusters), left_out)
    parts = [of_fine_tunings(arm, prompts) for arm in arms if len(arm) > 1]
    between, size = pooled(parts), effect_size(clusters)
    return PairedDifference(
        estimate=_estimate(clusters, *_widened(over_prompts, clusters.mean, between, confidence)),
        left_out=left_out,
        p_value=_p_value(clusters, over_prompts, between),
        effect_size=size,
        needed=None if between else prompts_needed(size, level=1 - confidence),
        needed_seeds=seeds_needed(clusters.mean, parts, of_prompts(clusters), level=1 - confidence),
    )


def _common(fine_tunings: Sequence[Scores]) -> frozenset[str]:
    return frozenset.intersection(*(frozenset(scores) for scores in fine_tunings))


def _shared(fine_tunings: Sequence[Scores], ids: frozenset[str]) -> list[Scores]:
    return [{id: scores[id] for id in ids} for scores in fine_tunings]


def _averaged(fine_tunings: Sequence[Scores]) -> dict[str, float]:
    """The mean of each prompt over the fine-tunings."""
    return {id: math.fsum(scores[id] for scores in fine_tunings) / len(fine_tunings) for id in fine_tunings[0]}


def _paired(a: Sequence[Scores], b: Sequence[Scores], unit_scale: bool, prompts: Prompts) -> tuple[Clusters, EndsAt]:
    """The differences of two arms' averages by prompt, and the interval that prompts alone would give them."""
    averages, baseline = _averaged(a), _averaged(b)
    differences = {id: averages[id] - baseline[id] for id in averages}
    clusters = by_prompt(differences, prompts)
    if not (unit_scale and all(map(are_rates, (*a, *b)))):
        return clusters, partial(_student, clusters)
    squares = math.fsum(difference**2 for difference in differences.values())
    return clusters, partial(rate_difference_interval, clusters, squares)


def _student(clusters: Clusters, confidence: float) -> Ends:
    half = student_quantile(len(clusters) - 1, confidence) * clusters.standard_error
    return clusters.mean - half, clusters.mean + half


def _estimate(clusters: Clusters, low: float, high: float) -> Interval:
    return Interval(clusters.mean, low, high, int(clusters.counts.sum()))


def _widened(over_prompts: EndsAt, mean: float, between: Sequence[VarianceComponent], confidence: float) -> Ends:
    """The interval over prompts, each half of it joined with what fine-tunings add."""
    low, high = over_prompts(confidence)
    added = math.sqrt(sum(student_quantile(part.df, confidence) ** 2 * part.variance for part in between))
    return mean - math.hypot(max(0.0, mean - low), added), mean + math.hypot(max(0.0, high - mean), added)


def _p_value(clusters: Clusters, over_prompts: EndsAt, between: Sequence[VarianceComponent]) -> float:
    """One less the confidence at which the interval ends at 0."""
    from scipy.optimize import brentq

    mean, surest = clusters.mean, 1 - 1e-12

    def beyond_zero(confidence: float) -> float:
        low, high = _widened(over_prompts, mean, between, confidence)
        return -low if mean > 0 else high

    if not mean:
        return 1.0
    low, high = _widened(over_prompts, mean, between, 0.5)
    if low == high:  # neither prompts nor fine-tunings differ, from which no certainty follows
        return sign_flip(clusters.sums)
    if beyond_zero(surest) < 0:
        return 1 - surest
    return 1 - float(brentq(beyond_zero, 0.0, surest))
