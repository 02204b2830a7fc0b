"""The answers of a run's chains, from the initial response to the last revision, and what is known of each.

    known = known_scores(texts, runs, comparison, recorded)
    for chain in chains(said):
        known["harmlessness"].mean([chain[0]])

Every answer has words, a similarity to the answer before it, and refuses or does not. A score it has where an evaluator
has met this very text as the response to this prompt: a base model's responses under the same seed are the initial
responses, and recorded runs repeat what was said in a round.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from rapidfuzz.distance import Indel

from cai_lightning.data.cleaning import commentary_spans
from cai_lightning.records import Response
from cai_lightning.report.cells import Comparison
from cai_lightning.report.inspection.measures import kept
from cai_lightning.report.inspection.refusals import refuses
from cai_lightning.report.inspection.rows import Row
from cai_lightning.report.judging import Column, Measured
from cai_lightning.report.measured import metric_columns
from cai_lightning.report.runs import Run
from cai_lightning.report.texts import RunTexts

Said = tuple[str, str]
"""A prompt's id and what was answered to it."""


@dataclass(frozen=True)
class Answer:
    """An initial response, or a revision with the answer before it.

    Args:
        id: The prompt's id.
        text: What it says.
        before: The answer that it revises; None for an initial response.
        principle: Id of the principle it was revised by; empty for an initial response.
    """

    id: str
    text: str
    before: "Answer | None" = None
    principle: str = ""

    @cached_property
    def refuses(self) -> bool:
        """Whether it refuses, without the meta-commentary that a revision may have around it."""
        return refuses(kept(self.text, commentary_spans(self.text)) if self.before else self.text)

    @cached_property
    def similarity(self) -> float | None:
        """Indel similarity of its words and those of the answer before; None for an initial response."""
        return Indel.normalized_similarity(self.before.text.split(), self.text.split()) if self.before else None


def chains(said: RunTexts) -> list[list[Answer]]:
    """The answers to every prompt that the run has revised, each list in the order of the rounds."""
    return [_chain(row) for row in said.revisions.values()]


@dataclass(frozen=True)
class KnownScores:
    """What a column knows of texts.

    Args:
        met: All answers that its evaluator was asked about.
        values: Those that it has scored.
    """

    met: frozenset[Said]
    values: Mapping[Said, float]

    def mean(self, answers: Iterable[Answer]) -> float | None:
        """The mean score of answers to test prompts; None where the evaluator has not met every single one.

        A mean over the ones that happen to be known would flatter: texts that recur in other runs are no fair sample.
        """
        said = [(answer.id, answer.text) for answer in answers if answer.id in self._prompts]
        values = [self.values[each] for each in said if each in self.values]
        return fmean(values) if values and self.met.issuperset(said) else None

    @cached_property
    def _prompts(self) -> frozenset[str]:
        return frozenset(id for id, _ in self.met)


def known_scores(
    texts: Sequence[RunTexts], runs: Sequence[Run], comparison: Comparison, recorded: Sequence[Run] = ()
) -> dict[str, KnownScores]:
    """What each column knows from the runs that compare, and from recorded ones that were judged like these."""
    said = {run.name: each.responses for each, run in zip(texts, runs, strict=True)}
    said |= {run.name: run.responses for run in recorded}
    judged = {column.name: column for column in metric_columns([*runs, *recorded])}
    return {
        column.name: _known(_judged_alike(judged[column.name], comparison.compared(column)), said)
        for column in comparison.columns
    }


def _judged_alike(column: Column, compared: Iterable[str]) -> dict[str, Measured]:
    anchors = [column.runs[run].judged for run in compared]
    return {run: measured for run, measured in column.runs.items() if measured.judged in anchors}


def _known(measured: Mapping[str, Measured], said: Mapping[str, Mapping[str, Response]]) -> KnownScores:
    met: dict[Said, float | None] = {}
    for run, one in measured.items():
        met |= {(id, response.response): one.values.get(id) for id, response in said[run].items()}
    return KnownScores(frozenset(met), {said: value for said, value in met.items() if value is not None})


def _chain(row: Row) -> list[Answer]:
    answers = [Answer(row.id, row.initial_response)]
    for turn in row.rounds:
        answers.append(Answer(row.id, turn.revision, answers[-1], turn.principle_id))
    return answers
