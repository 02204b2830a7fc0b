"""What an audit finds out about evaluators: pure functions of their scores and of the labels.

    labels = Labels(read_labelled(path))
    found = audit_columns(columns, labels)
    found[0].estimate, found[0].verdict

    agreement = compare_columns(columns, labels)
    agreement.alpha.mean, agreement.pairs[0].correlation

An audit of many columns would call one of them better than chance by chance. So their p-values are corrected for their
number, as those of a comparison are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cai_lightning.commands.pairwise import POINTS, points_of
from cai_lightning.data.labelled import Labelled, LabelledPair, LabelledResponse
from cai_lightning.metrics import Column
from cai_lightning.report.summary import ColumnScores
from cai_lightning.run.records import UNKNOWN, Conversation, Judgement, Response, assistant, prompt_id, transcript_text
from cai_lightning.statistics import Interval, holm
from cai_lightning.statistics.agreement import (
    CHANCE,
    Calibration,
    Share,
    accuracy,
    alpha_with_interval,
    area_under_curve,
    calibrate,
    preferences,
    rank_correlation,
)
from cai_lightning.statistics.intervals import NOTHING, Array, mean_of_rows, number_prompts

LEVEL = 0.05
"""Corrected p-values up to this one tell a column from chance."""


class Labels:
    """The labels of a file, as arithmetic needs them; a response that stands in it several times is scored once.

    Args:
        labelled: What was read, comparisons or single responses.

    Attributes:
        responses: Every response, each with an id of its own.
        chosen: Ids of the better responses, one for each comparison.
        rejected: Ids of the worse ones.
        singles: Ids of the single responses.
        good: Whether each single response is good.
        prompts: Number of the conversation of each comparison, or of each single response.
        lengths: Characters of each single response; of a comparison those that the chosen response has more than the
            rejected one, negative where it has fewer.
    """

    def __init__(self, labelled: Labelled) -> None:
        self.labelled = labelled
        pairs, singles = labelled.pairs, labelled.singles
        rows: list[LabelledPair | LabelledResponse] = [*pairs, *singles]
        chosen = [_response(pair, pair.chosen) for pair in pairs]
        rejected = [_response(pair, pair.rejected) for pair in pairs]
        both = chain.from_iterable(zip(chosen, rejected, strict=True))  # an audit that ends early has whole pairs
        alone = [_response(single, single.response) for single in singles]
        self.responses = list({response.id: response for response in (*both, *alone)}.values())
        self.chosen, self.rejected, self.singles = ([one.id for one in row] for row in (chosen, rejected, alone))
        self.good = np.array([single.good for single in singles], dtype=np.bool_)
        self.prompts = number_prompts(transcript_text(row.conversation) for row in rows)
        lengths = [len(pair.chosen) - len(pair.rejected) for pair in pairs] + [len(one.response) for one in singles]
        self.lengths: Array = np.array(lengths, dtype=np.float64)


def response_id(conversation: Conversation, response: str, reference: str | None) -> str:
    """16 hex digits that stand for a response and all that it is judged by."""
    whole = [*conversation, assistant(response)]
    return prompt_id(transcript_text(whole if reference is None else [*whole, assistant(reference)]))


def _response(row: LabelledPair | LabelledResponse, text: str) -> Response:
    turns = row.conversation
    return Response(
        id=response_id(turns, text, row.reference),
        prompt=turns[-1]["content"],
        response=text,
        reference=row.reference,
        finish_reason=UNKNOWN,
        model="labelled",
        adapter=None,
        turns=turns if len(turns) > 1 else None,
    )


@dataclass(frozen=True)
class ScoredColumn:
    """A column with what its evaluator has made of the responses.

    Args:
        column: The column.
        settings: Digest of the evaluator's settings.
        revision: What stands behind them; None where that cannot be told.
        scores: Its scores by the ids of the responses, and how many are unscored for what reason.
        not_run: Why the evaluator could not run, or None.
        not_applicable: Why it has nothing to say about such responses, or None.
    """

    column: Column
    settings: str
    revision: str | None = None
    scores: ColumnScores = field(default_factory=ColumnScores)
    not_run: str | None = None
    not_applicable: str | None = None

    def oriented(self, ids: list[str]) -> Array:
        """The scores of these responses, turned so that higher is better; NaN where there is none."""
        sign = 1 if self.column.direction == "higher" else -1
        return np.array([sign * self.scores.values.get(id, np.nan) for id in ids], dtype=np.float64)


@dataclass(frozen=True)
class PairFindings:
    """What comparisons say about a column.

    Args:
        right: How often the chosen response has the better score, ties counting half.
        ties: Pairs whose responses have the same score.
        unscored: Pairs of which a response has no score.
        length: Correlation over the pairs of how much better the chosen response scores, and how much longer it is.
        better_is_shorter: How often it is right where the better response is the shorter one.
        better_is_longer: How often it is right where the better response is the longer one.
    """

    right: Share
    ties: int
    unscored: int
    length: Interval
    better_is_shorter: Interval
    better_is_longer: Interval


@dataclass(frozen=True)
class SingleFindings:
    """What single responses say about a column.

    Args:
        right: How often a good response has the better score: the area under the ROC curve.
        unscored: Responses without a score.
        length: Correlation of a response's score, the higher the better, and its length.
        calibration: How the score agrees with the labels, where it is a probability.
    """

    right: Share
    unscored: int
    length: Interval
    calibration: Calibration | None


@dataclass(frozen=True)
class ColumnFindings:
    """Everything about a column.

    Args:
        scored: What its evaluator has made.
        found: What the labels say about it; None where its evaluator has not run.
        p_holm: The p-value of chance after Holm's correction over all columns of the audit; None where there is none.
    """

    scored: ScoredColumn
    found: PairFindings | SingleFindings | None = None
    p_holm: float | None = None

    @property
    def name(self) -> str:
        return self.scored.column.name

    @property
    def right(self) -> Share:
        """How often it puts the better response first: the accuracy, or the area where there are no comparisons."""
        return self.found.right if self.found else Share(NOTHING)

    @property
    def estimate(self) -> Interval:
        return self.right.estimate

    @property
    def calibration(self) -> Calibration | None:
        return self.found.calibration if isinstance(self.found, SingleFindings) else None

    @property
    def verdict(self) -> Literal["better", "worse", "no better", ""]:
        """How it does against chance, one half: worse is what prefers the response that people hold to be the worse.

        It is no better where it does not differ significantly, and empty where there is no p-value.
        """
        if self.p_holm is None or self.estimate.mean is None:
            return ""
        if self.p_holm > LEVEL:
            return "no better"
        return "better" if self.estimate.mean > CHANCE else "worse"


def audit_columns(columns: Sequence[ScoredColumn], labels: Labels) -> tuple[ColumnFindings, ...]:
    """Computes everything about the columns of an audit, and nothing about those that could not run."""
    look = _pairs if labels.chosen else _singles
    found = [None if column.not_run or column.not_applicable else look(column, labels) for column in columns]
    corrected = holm([each.right.p_value if each else None for each in found])
    return tuple(map(ColumnFindings, columns, found, corrected))


def _pairs(column: ScoredColumn, labels: Labels) -> PairFindings:
    chosen, rejected = column.oriented(labels.chosen), column.oriented(labels.rejected)
    right = preferences(chosen, rejected)

    def among(rows: NDArray[np.bool_]) -> Interval:
        return accuracy(right[rows], labels.prompts[rows]).estimate

    return PairFindings(
        right=accuracy(right, labels.prompts),
        ties=int((right == CHANCE).sum()),
        unscored=int(np.isnan(right).sum()),
        length=rank_correlation(chosen - rejected, labels.lengths),
        better_is_shorter=among(labels.lengths < 0),
        better_is_longer=among(labels.lengths > 0),
    )


def _singles(column: ScoredColumn, labels: Labels) -> SingleFindings:
    scores, bounds = column.oriented(labels.singles), (column.column.low, column.column.high)
    probabilities = scores if column.column.direction == "higher" else 1 + scores  # that of being bad is turned already
    return SingleFindings(
        right=area_under_curve(scores, labels.good, labels.prompts),
        unscored=int(np.isnan(scores).sum()),
        length=rank_correlation(scores, labels.lengths),
        calibration=calibrate(probabilities, labels.good) if bounds == (0, 1) else None,
    )


@dataclass(frozen=True)
class PairAgreement:
    """Two columns side by side.

    Args:
        first: Name of the one.
        second: Name of the other.
        correlation: Spearman's correlation of their scores, each turned so that higher is better.
        alpha: Krippendorff's alpha of their preferences, with its interval; None without comparisons.
    """

    first: str
    second: str
    correlation: Interval
    alpha: Interval


@dataclass(frozen=True)
class Agreement:
    """All columns that have scores.

    Args:
        pairs: Every two of them.
        alpha: Krippendorff's alpha of the preferences of all of them, likewise.
    """

    pairs: tuple[PairAgreement, ...]
    alpha: Interval


def compare_columns(columns: Sequence[ScoredColumn], labels: Labels) -> Agreement:
    """Compares every two columns that have scores."""
    ids = [response.id for response in labels.responses]
    scored = [column for column in columns if column.scores.values]

    def alpha(columns: Sequence[ScoredColumn]) -> Interval:
        preferred = [preferences(one.oriented(labels.chosen), one.oriented(labels.rejected)) for one in columns]
        return alpha_with_interval(np.stack(preferred), labels.prompts) if labels.chosen else NOTHING

    pairs = tuple(
        PairAgreement(a.column.name, b.column.name, rank_correlation(a.oriented(ids), b.oriented(ids)), alpha([a, b]))
        for a, b in combinations(scored, 2)
    )
    return Agreement(pairs, alpha(scored) if pairs else NOTHING)


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


def compare_orders(judge: PositionFindings, judgements: Sequence[Judgement], labels: Labels) -> PositionFindings:
    """What is found out of a judge by its judgements of all pairs, in their order."""
    right = points_of(row.preferred for row in judgements)
    forth = points_of(row.first_shown_first for row in judgements)
    back = points_of(row.second_shown_first for row in judgements)

    def share(values: Array) -> Interval:
        return mean_of_rows(values, labels.prompts, is_share=True)

    return replace(
        judge,
        accuracy=share(right),
        consistency=share(np.where(np.isnan(right), np.nan, forth == back)),
        first_shown=share((forth + 1 - back) / 2),
        ties=int((right == POINTS["tie"]).sum()),
        unscored=int(np.isnan(right).sum()),
    )


@dataclass(frozen=True)
class Audit:
    """What was found out.

    Args:
        file: Name of the file of labels.
        digest: 16 hex digits of its SHA-256.
        labels: What stands in it.
        columns: What was found out about each column, in the order of the evaluators.
        agreement: How far the evaluators agree with each other.
        positions: What came of showing judges both responses in both orders, where that was asked for.
    """

    file: str
    digest: str
    labels: Labels
    columns: tuple[ColumnFindings, ...]
    agreement: Agreement
    positions: tuple[PositionFindings, ...] = ()
