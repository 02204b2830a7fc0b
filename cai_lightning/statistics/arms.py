"""Means with intervals over prompts and paired differences: of single runs, and of arms fine-tuned under several seeds.

    estimate = mean_interval({"0f3a...": 0.9, "77b1...": 0.2})
    difference = arm_difference([scores], [baseline_scores])

    estimate = arm_mean([scores_of_seed_1, scores_of_seed_2, scores_of_seed_3])
    difference = arm_difference([seed_1, seed_2, seed_3], [baseline])

Scores of a single run get the studentized bootstrap over prompts, rates Wilson's interval, differences of rates that of
Bonett and Price.

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
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import scipy

from cai_lightning.statistics.intervals import (
    NO_PROMPTS,
    Clusters,
    Ends,
    Interval,
    Prompts,
    bootstrap_interval,
    by_prompt,
    rate_difference_interval,
    rate_interval,
    student_interval,
    student_quantile,
)
from cai_lightning.statistics.significance import (
    VarianceComponent,
    between_fine_tunings,
    between_prompts,
    effect_size,
    holm,
    pooled,
    prompts_needed,
    seeds_needed,
    sign_flip,
)

Scores = Mapping[str, float]
EndsAt = Callable[[float], Ends]
"""The ends of the interval over prompts at each confidence."""

Direction = Literal["higher", "lower"]
"""Which scores are better."""
Verdict = Literal["better", "worse", "unclear", ""]

SUREST = 1 - 1e-12
"""The largest confidence that is tried for a p-value."""


@dataclass(frozen=True)
class PairedDifference:
    """The mean of the differences of two runs, or arms, over the ids scored in both.

    Args:
        estimate: Mean difference and interval; its `n` is the number of pairs.
        left_out: Number of ids scored in only one of the two.
        p_value: Two-sided p-value of no difference; None where there is no interval.
        effect_size: Cohen's d_z, the mean difference over its standard deviation between prompts; None where all pairs
            differ alike.
        needed: Prompts needed to see a difference of this size with 80 % power; None where no number is enough, or
            where fine-tunings differ, which more prompts do not change.
        needed_seeds: Fine-tunings of each arm of several that are needed likewise, on these prompts; None where they
            do not differ, or where no number is enough.
        p_holm: The p-value corrected for all differences that are looked at together (`corrected`), or None likewise.
        significant: Whether the corrected p-value is low enough.
    """

    estimate: Interval
    left_out: int
    p_value: float | None = None
    effect_size: float | None = None
    needed: int | None = None
    needed_seeds: int | None = None
    p_holm: float | None = None
    significant: bool = False

    def verdict(self, direction: Direction | None) -> Verdict:
        """Whether it is for the better; `unclear` where it is not significant, nothing where neither way is better."""
        if direction is None or self.estimate.mean is None:
            return ""
        if not self.significant:
            return "unclear"
        return "better" if (self.estimate.mean > 0) == (direction == "higher") else "worse"


def corrected(differences: Sequence[PairedDifference | None], level: float) -> list[PairedDifference | None]:
    """The differences with their p-values corrected for their number by Holm's method.

    Args:
        differences: All that are looked at together; None, where there is none, stays.
        level: The corrected p-value up to which a difference is significant.
    """
    p_values = holm([difference.p_value if difference else None for difference in differences])
    return [
        replace(difference, p_holm=p, significant=p is not None and p <= level) if difference else None
        for difference, p in zip(differences, p_values, strict=True)
    ]


def mean_interval(
    values: Scores, confidence: float = 0.95, unit_scale: bool = True, prompts: Prompts = NO_PROMPTS
) -> Interval:
    """The mean of scores and its interval: the studentized bootstrap's, or Wilson's where all are 0 or 1.

    Repetitions of a prompt are no independent draws, so whole prompts are resampled. Where all scores agree, but are
    neither 0 nor 1, the interval has no width: no spread is seen, which does not mean that there is none.

    Args:
        values: Finite scores by id.
        confidence: Share of intervals that shall hold the true mean, between 0 and 1.
        unit_scale: Whether the scale goes from 0 to 1; on any other, ones are no rate.
        prompts: What each id shares with the others about its prompt.

    Returns:
        The mean over all values; its interval is None with fewer than two prompts.
    """
    return arm_mean([values], confidence, unit_scale, prompts)


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
    shared = _shared(fine_tunings)
    clusters, rates = by_prompt(_averages(shared), prompts), unit_scale and _are_rates(shared)
    if len(clusters) < 2:
        return clusters.interval()
    ends = partial(rate_interval, clusters, averaged=len(shared)) if rates else _ends(clusters, len(shared) > 1)
    low, high = _widened(ends, clusters.mean, pooled(_components([shared], prompts)), confidence)
    return clusters.interval((max(0.0, low), min(1.0, high)) if rates else (low, high))


def arm_difference(
    a: Sequence[Scores],
    b: Sequence[Scores],
    confidence: float = 0.95,
    unit_scale: bool = True,
    prompts: Prompts = NO_PROMPTS,
) -> PairedDifference:
    """The mean of `a - b` over the ids scored in both arms, its interval, and whether it is significant.

    The p-value is that at which the interval would end at 0, of single runs that of the sign-flip test. An arm with a
    single fine-tuning adds nothing to the interval for how its fine-tunings vary, which cannot be known from one.

    Args:
        a: The scores by id of each fine-tuning of an arm.
        b: Those of the baseline.
        confidence: As in `arm_mean`; its complement is the level that `needed` and `needed_seeds` are for.
        unit_scale: As in `mean_interval`.
        prompts: As in `mean_interval`.
    """
    shared = _shared([*a, *b])
    arms = shared[: len(a)], shared[len(a) :]
    left_out = len(set[str]().union(*a, *b)) - len(shared[0])
    averages, baseline = map(_averages, arms)
    clusters = by_prompt({id: averages[id] - baseline[id] for id in averages}, prompts)
    if len(clusters) < 2:
        return PairedDifference(clusters.interval(), left_out)
    several, rates = len(shared) > 2, unit_scale and _are_rates(shared)
    ends = partial(rate_difference_interval, clusters) if rates else _ends(clusters, several)
    components = _components(arms, prompts)
    between, size = pooled(components), effect_size(clusters)
    return PairedDifference(
        estimate=clusters.interval(_widened(ends, clusters.mean, between, confidence)),
        left_out=left_out,
        p_value=_p_value(clusters, ends, between) if several else sign_flip(clusters.sums),
        effect_size=size,
        needed=None if between.variance else prompts_needed(size, level=1 - confidence),
        needed_seeds=seeds_needed(clusters.mean, components, between_prompts(clusters), level=1 - confidence),
    )


def _shared(fine_tunings: Sequence[Scores]) -> list[Scores]:
    """The scores of the ids that all of them have."""
    ids = frozenset.intersection(*map(frozenset, fine_tunings))
    return [{id: scores[id] for id in ids} for scores in fine_tunings]


def _averages(fine_tunings: Sequence[Scores]) -> dict[str, float]:
    """The mean of each id over the fine-tunings."""
    return {id: math.fsum(scores[id] for scores in fine_tunings) / len(fine_tunings) for id in fine_tunings[0]}


def _are_rates(fine_tunings: Sequence[Scores]) -> bool:
    """Whether all values are 0 or 1, so that their mean is a rate."""
    return all(value in (0.0, 1.0) for scores in fine_tunings for value in scores.values())


def _ends(clusters: Clusters, several: bool) -> EndsAt:
    """The interval of a mean that is no rate: Student's for averages of several fine-tunings."""
    return partial(student_interval if several else bootstrap_interval, clusters)


def _components(arms: Sequence[Sequence[Scores]], prompts: Prompts) -> list[VarianceComponent]:
    return [between_fine_tunings(arm, prompts) for arm in arms if len(arm) > 1]


def _widened(ends: EndsAt, mean: float, between: VarianceComponent, confidence: float) -> Ends:
    """The interval over prompts, each half of it joined with what fine-tunings add."""
    low, high = ends(confidence)
    if not between.variance:
        return low, high
    added = student_quantile(between.df, confidence) * math.sqrt(between.variance)
    return mean - math.hypot(max(0.0, mean - low), added), mean + math.hypot(max(0.0, high - mean), added)


def _p_value(clusters: Clusters, ends: EndsAt, between: VarianceComponent) -> float:
    """One less the confidence at which the interval ends at 0."""
    mean = clusters.mean

    def beyond_zero(confidence: float) -> float:
        low, high = _widened(ends, mean, between, confidence)
        return -low if mean > 0 else high

    if not mean:
        return 1.0
    low, high = _widened(ends, mean, between, 0.5)
    if low == high:  # neither prompts nor fine-tunings differ, from which no certainty follows
        return sign_flip(clusters.sums)
    if beyond_zero(SUREST) < 0:
        return 1 - SUREST
    return 1 - float(scipy.optimize.brentq(beyond_zero, 0.0, SUREST))
