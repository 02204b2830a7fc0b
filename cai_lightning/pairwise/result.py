"""What a judge's preferences come to: a win rate with its interval, and how far the order of showing mattered."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cai_lightning.records import Judgement
from cai_lightning.report.inspection.intervals import mean_with_interval
from cai_lightning.statistics import Estimate
from cai_lightning.statistics.clusters import NO_PROMPTS, Prompts

POINTS = {"first": 1.0, "tie": 0.5, "second": 0.0}


@dataclass(frozen=True)
class PairwiseResult:
    """What a judge's preferences between two runs come to.

    Args:
        win_rate: Mean points of the first run: 1 for a win, 0.5 for a tie, 0 for a loss; 0.5 is no difference.
        wins: Pairs in which the first run's response is preferred.
        ties: Pairs without a preference, and those in which the two orders disagree.
        losses: Pairs in which the second run's response is preferred.
        identical: Ties between two responses that are the same.
        reasons: Why pairs are unscored, with the number of each.
        consistent: Pairs, identical ones left out, in which both orders say the same.
        asked: Pairs, identical ones left out, with a verdict in both orders.
    """

    win_rate: Estimate
    wins: int
    ties: int
    losses: int
    identical: int
    reasons: Counter[str]
    consistent: int
    asked: int

    @property
    def position_consistency(self) -> float | None:
        """The share of pairs in which the order of showing changed nothing; None where none was judged."""
        return self.consistent / self.asked if self.asked else None


def summarize(judgements: Iterable[Judgement], prompts: Prompts = NO_PROMPTS) -> PairwiseResult:
    """Counts preferences; unscored pairs are counted and take no part.

    Args:
        judgements: What the judge has said.
        prompts: What each id shares with the others about its prompt.
    """
    every = list(judgements)
    scored = [row for row in every if row.preferred is not None]
    sides = Counter(row.preferred for row in scored)
    asked = [row for row in scored if not row.identical]
    return PairwiseResult(
        win_rate=_win_rate(scored, prompts),
        wins=sides["first"],
        ties=sides["tie"],
        losses=sides["second"],
        identical=len(scored) - len(asked),
        reasons=Counter(row.reason or "no reason given" for row in every if row.preferred is None),
        consistent=sum(row.first_shown_first == row.second_shown_first for row in asked),
        asked=len(asked),
    )


def _win_rate(scored: Sequence[Judgement], prompts: Prompts) -> Estimate:
    points = np.array([POINTS[str(row.preferred)] for row in scored])
    numbers = np.unique([prompts.get(row.id, row.id) for row in scored], return_inverse=True)[1]
    return mean_with_interval(points, numbers, is_share=True)


def as_json(result: PairwiseResult) -> dict[str, Any]:
    """The result as `pairwise.json` holds it."""
    return {
        "pairs": result.wins + result.ties + result.losses + result.reasons.total(),
        "wins": result.wins,
        "ties": result.ties,
        "losses": result.losses,
        "identical": result.identical,
        "unscored": result.reasons.total(),
        "reasons": dict(result.reasons.most_common()),
        "win_rate": result.win_rate.mean,
        "ci95": result.win_rate.interval,
        "position_consistency": result.position_consistency,
    }
