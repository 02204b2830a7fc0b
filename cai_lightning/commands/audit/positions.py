"""Whether a judge that is shown both responses says the same in both orders, and how often it is right.

findings = judge_positions(judge, labels, output)
findings.consistency, findings.first_shown
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cai_lightning.commands.audit.labels import Labels
from cai_lightning.commands.pairwise import POINTS, judge_pairs
from cai_lightning.metrics import Judge
from cai_lightning.metrics.pairwise import Pair, PairwiseJudge
from cai_lightning.metrics.scoring import metric_digest
from cai_lightning.run.errors import UserError, WriteError
from cai_lightning.run.records import Judgement, number_ids, transcript_text
from cai_lightning.statistics import Interval
from cai_lightning.statistics.intervals import NOTHING, Array, mean_of_rows


@dataclass(frozen=True)
class PositionFindings:
    """What came of showing a judge both responses of each pair, in both orders.

    Args:
        judge: Name of its model.
        settings: Digest of the settings of the evaluator that it is.
        revision: What stands behind the name.
        not_run: Why it could not judge, or None.
        accuracy: How often it prefers the chosen response; where the orders disagree it is a tie, which counts half.
        consistency: How often both orders say the same.
        first_shown: How often it prefers the response that it is shown first; one half is no bias.
        ties: Pairs without a preference.
        unscored: Pairs without a verdict in one of the orders.
    """

    judge: str
    settings: str
    revision: str | None = None
    not_run: str | None = None
    accuracy: Interval = NOTHING
    consistency: Interval = NOTHING
    first_shown: Interval = NOTHING
    ties: int = 0
    unscored: int = 0


def judge_positions(metric: Judge, labels: Labels, output: Path) -> PositionFindings:
    """Has every pair judged in both orders; judgements that stand in the output folder are not asked for again."""
    asking, settings = PairwiseJudge(metric.judge), metric_digest(metric)
    try:
        revision = asking.revision()
        judgements = judge_pairs(asking, revision, output, pairs_of(labels))
    except WriteError:
        raise
    except UserError as error:
        return PositionFindings(metric.judge.model, settings, not_run=str(error))
    return summarize(metric.judge.model, settings, revision, judgements, labels)


def pairs_of(labels: Labels) -> list[Pair]:
    """The comparisons, the chosen response first; ids number the pairs of one conversation."""
    rows = labels.labelled.pairs
    ids = number_ids(transcript_text(row.conversation) for row in rows)
    return [Pair(id, row.conversation, row.chosen, row.rejected) for id, row in zip(ids, rows, strict=True)]


def summarize(
    judge: str, settings: str, revision: str, judgements: Sequence[Judgement], labels: Labels
) -> PositionFindings:
    """Computes everything from the judgements of all pairs."""
    known = {row.id: row for row in judgements}
    rows = [known[pair.id] for pair in pairs_of(labels)]
    right = np.array([np.nan if row.preferred is None else POINTS[row.preferred] for row in rows])
    same = [np.nan if row.preferred is None else row.first_shown_first == row.second_shown_first for row in rows]
    shown = np.array([_first_shown(row) for row in rows])

    def share(values: Array) -> Interval:
        return mean_of_rows(values, labels.pair_prompts, is_share=True)

    return PositionFindings(
        judge,
        settings,
        revision,
        accuracy=share(right),
        consistency=share(np.array(same, dtype=np.float64)),
        first_shown=share(shown),
        ties=int((right == POINTS["tie"]).sum()),
        unscored=int(np.isnan(right).sum()),
    )


def _first_shown(row: Judgement) -> float:
    """The points, over both orders, of whichever response was shown first."""
    if row.first_shown_first is None or row.second_shown_first is None:
        return np.nan
    return (POINTS[row.first_shown_first] + 1 - POINTS[row.second_shown_first]) / 2
