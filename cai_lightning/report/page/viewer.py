"""The conversations of a comparison for the page's viewer, and what is known of each answer.

The answers of a run's chains, from the initial response to the last revision, and what is known of each.

    known = known_scores(texts, runs, comparison, recorded)
    for chain in chains(said):
        known["harmlessness"].mean([chain[0]])

Every answer has words, a similarity to the answer before it, and refuses or does not. A score it has where an evaluator
has met this very text as the response to this prompt: a base model's responses under the same seed are the initial
responses, and recorded runs repeat what was said in a round.

The conversations of a comparison as data for the page's viewer: each text once, everything else small.

data = viewer_data(texts, runs, comparison, baseline="qwen_base")

The page holds it as JSON. A text stands in `texts`, and wherever it was said stands its place there, so that prompts,
principles and responses that recur cost a few bytes.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from rapidfuzz.distance import Indel

from cai_lightning.data.cleaning import commentary_spans
from cai_lightning.report.columns import Column, RunColumn, metric_columns
from cai_lightning.report.comparison import ColumnComparison, Comparison
from cai_lightning.report.corpora import Row, RunTexts
from cai_lightning.report.measures import kept, refuses
from cai_lightning.report.runs import Run
from cai_lightning.report.summary import ColumnScores
from cai_lightning.run.records import Response, user

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


def _judged_alike(column: Column, compared: Iterable[str]) -> dict[str, RunColumn]:
    anchors = [column.runs[run].judged for run in compared]
    return {run: measured for run, measured in column.runs.items() if measured.judged in anchors}


def _known(measured: Mapping[str, RunColumn], said: Mapping[str, Mapping[str, Response]]) -> KnownScores:
    met: dict[Said, float | None] = {}
    for run, one in measured.items():
        met |= {(id, response.response): one.values.get(id) for id, response in said[run].items()}
    return KnownScores(frozenset(met), {said: value for said, value in met.items() if value is not None})


def _chain(row: Row) -> list[Answer]:
    answers = [Answer(row.id, row.initial_response)]
    for turn in row.rounds:
        answers.append(Answer(row.id, turn.revision, answers[-1], turn.principle_id))
    return answers


Data = dict[str, Any]


def viewer_data(texts: Sequence[RunTexts], runs: Sequence[Run], comparison: Comparison, baseline: str) -> Data:
    """Everything that the viewer shows and searches.

    Args:
        texts: The texts of each run.
        runs: The same runs with their scores.
        comparison: Says which columns there are, which way is better, and which runs compare in each.
        baseline: The run that responses are called better or worse than.
    """
    made = _Conversations(texts, runs, [column.name for column in comparison.columns])
    conversations = [made.conversation(id) for id in made.ids()]
    return {
        "runs": [run.name for run in runs],
        "baseline": [run.name for run in runs].index(baseline),
        "columns": [_column(column, comparison, runs) for column in comparison.columns],
        "principles": [{"id": id, "request": request} for id, request in made.principles],
        "conversations": conversations,
        "texts": list(made.places),
    }


class _Conversations:
    """Gathers what every run has to a prompt, and gives texts and principles their places."""

    def __init__(self, texts: Sequence[RunTexts], runs: Sequence[Run], columns: Sequence[str]) -> None:
        self.texts = texts
        self.scores = [[run.scores.get(name, ColumnScores()) for run in runs] for name in columns]
        self.places: dict[str, int] = {}
        self.principles: dict[tuple[str, str], int] = {}

    def ids(self) -> list[str]:
        """Every prompt that has a response or a score, in the order in which the runs name them."""
        answered = [id for texts in self.texts for id in texts.responses]
        scored = [id for column in self.scores for scores in column for id in (*scores.values, *scores.unscored)]
        return list(dict.fromkeys([*answered, *scored]))

    def conversation(self, id: str) -> Data:
        responses = [texts.responses.get(id) for texts in self.texts]
        known = [response for response in responses if response]
        references = dict.fromkeys(response.reference for response in known if response.reference is not None)
        return {
            "id": id,
            "category": next((response.category for response in known if response.category), None),
            "turns": [[turn["role"], self._place(turn["content"])] for turn in _opening(known)],
            "references": [self._place(text) for text in references],
            "responses": [self._response(response) for response in responses],
            "revisions": [self._chain(texts.revisions.get(id)) for texts in self.texts],
            "scores": [[scores.values.get(id) for scores in column] for column in self.scores],
            "reasons": dict(self._reasons(id)),
            "details": dict(self._details(id)),
        }

    def _place(self, text: str) -> int:
        return self.places.setdefault(text, len(self.places))

    def _response(self, response: Response | None) -> Data | None:
        if response is None:
            return None
        text = response.response
        thought = None if response.thought is None else self._place(response.thought)
        return {
            "text": self._place(text),
            "finish": response.finish_reason,
            "refused": refuses(text),
            "thought": thought,
        }

    def _chain(self, row: Row | None) -> Data | None:
        if row is None:
            return None
        rounds = [
            {
                "principle": self.principles.setdefault((turn.principle_id, turn.principle_used), len(self.principles)),
                "similarity": turn.similarity,
                "critique": None if turn.critique is None else self._place(turn.critique),
                "revision": self._place(turn.revision),
            }
            for turn in row.rounds
        ]
        return {
            "initial": self._place(row.initial_response),
            "finish": list(row.finish_reasons),
            "thoughts": [self._place(row.thoughts[stage]) if stage in row.thoughts else None for stage in row.replies],
            "rounds": rounds,
        }

    def _reasons(self, id: str) -> Iterator[tuple[str, int]]:
        for place, scores in self._cells():
            if id in scores.unscored:
                yield place, self._place(scores.unscored[id])

    def _details(self, id: str) -> Iterator[tuple[str, int]]:
        for place, scores in self._cells():
            if scores.details.get(id):
                yield place, self._place(_shown(scores.details[id]))

    def _cells(self) -> Iterator[tuple[str, ColumnScores]]:
        for column, cells in enumerate(self.scores):
            for run, scores in enumerate(cells):
                yield f"{column},{run}", scores


def _column(column: ColumnComparison, comparison: Comparison, runs: Sequence[Run]) -> Data:
    compared = comparison.compared(column)
    return {
        "name": column.name,
        "direction": column.direction,
        "compared": [run.name in compared for run in runs],
    }


def _opening(responses: Sequence[Response]) -> list[dict[str, str]]:
    """The conversation that was answered; empty where no run has a response."""
    return (responses[0].turns or [user(responses[0].prompt)]) if responses else []


def _shown(detail: Mapping[str, Any]) -> str:
    """An evaluator's free record as lines of text."""
    return "\n".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in detail.items()
        if value is not None
    )
