"""The answers of a run's chains, from the initial response to the last revision, and what is known of each.

    scores = known_scores(texts, runs, comparison)
    for chain in chains(said): ...

Every answer has words, a similarity to the answer before it, and refuses or does not. A score it has where an evaluator
has scored this very text as the response to this prompt in a compared run: a base model's responses under the same
seed are the initial responses, and a run may repeat recorded revisions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rapidfuzz.distance import Indel

from cai_lightning.data.cleaning import commentary_spans
from cai_lightning.report.comparison import Comparison
from cai_lightning.report.inspection.measures import kept
from cai_lightning.report.inspection.refusals import refuses
from cai_lightning.report.inspection.rows import Row
from cai_lightning.report.runs import Run
from cai_lightning.report.texts import RunTexts

KnownScores = Mapping[tuple[str, str], float]
"""Scores of one column by prompt id and text."""


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


def known_scores(texts: Sequence[RunTexts], runs: Sequence[Run], comparison: Comparison) -> dict[str, KnownScores]:
    """By column the scores of every text that was scored in a run that compares."""
    said = {texts.name: texts.responses for texts in texts}
    values = {run.name: run for run in runs}
    return {
        column.name: {
            (id, said[run][id].response): value
            for cell in column.cells
            if cell.compared
            for run in comparison.fine_tunings.get(cell.run, (cell.run,))
            for id, value in values[run].values(column.name).items()
            if id in said[run]
        }
        for column in comparison.columns
    }


def _chain(row: Row) -> list[Answer]:
    answers = [Answer(row.id, row.initial_response)]
    for turn in row.rounds:
        answers.append(Answer(row.id, turn.revision, answers[-1], turn.principle_id))
    return answers
