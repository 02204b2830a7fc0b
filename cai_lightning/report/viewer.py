"""The conversations of a comparison as data for the page's viewer: each text once, everything else small.

    data = viewer_data(runs, revisions, comparison, baseline="qwen_base")

The page holds it as JSON. A text stands in `texts`, and wherever it was said stands its place there, so that prompts,
principles and responses that recur cost a few bytes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cai_lightning.data.defects import refuses
from cai_lightning.report.comparison import Comparison
from cai_lightning.report.corpora import Revisions, Row
from cai_lightning.report.runs import Run, conversation
from cai_lightning.report.summary import ColumnScores
from cai_lightning.run.records import Response

Data = dict[str, Any]


def viewer_data(runs: Sequence[Run], revisions: Sequence[Revisions], comparison: Comparison, baseline: str) -> Data:
    """Everything that the viewer shows and searches.

    Args:
        runs: The runs with their scores and responses.
        revisions: What each of them has revised, by the prompt's id.
        comparison: Says which columns there are, which way is better, and which runs compare in each.
        baseline: The run that responses are called better or worse than.
    """
    made = _Conversations(runs, revisions, [column.name for column in comparison.columns])
    conversations = [made.conversation(id) for id in made.ids()]
    compared = [(column, comparison.compared(column)) for column in comparison.columns]
    return {
        "runs": [run.name for run in runs],
        "baseline": [run.name for run in runs].index(baseline),
        "columns": [
            {"name": column.name, "direction": column.direction, "compared": [run.name in names for run in runs]}
            for column, names in compared
        ],
        "principles": [{"id": id, "request": request} for id, request in made.principles],
        "conversations": conversations,
        "texts": list(made.places),
    }


class _Conversations:
    """Gathers what every run has to a prompt, and gives texts and principles their places."""

    def __init__(self, runs: Sequence[Run], revisions: Sequence[Revisions], columns: Sequence[str]) -> None:
        self.runs, self.revisions = runs, revisions
        self.scores = [[run.scores.get(name, ColumnScores()) for run in runs] for name in columns]
        self.places: dict[str, int] = {}
        self.principles: dict[tuple[str, str], int] = {}

    def ids(self) -> list[str]:
        """Every prompt that has a response or a score, in the order in which the runs name them."""
        answered = [id for run in self.runs for id in run.responses]
        scored = [id for column in self.scores for scores in column for id in (*scores.values, *scores.unscored)]
        return list(dict.fromkeys([*answered, *scored]))

    def conversation(self, id: str) -> Data:
        responses, revisions = [run.responses.get(id) for run in self.runs], [rows.get(id) for rows in self.revisions]
        known = [response for response in responses if response]
        opening = conversation(known[0]) if known else []
        references = dict.fromkeys(response.reference for response in known if response.reference is not None)
        return {
            "id": id,
            "category": next((response.category for response in known if response.category), None),
            "turns": [[turn["role"], self._place(turn["content"])] for turn in opening],
            "references": [self._place(text) for text in references],
            "responses": [self._response(one) if one else None for one in responses],
            "revisions": [self._chain(row) if row else None for row in revisions],
            "scores": [[scores.values.get(id) for scores in column] for column in self.scores],
            "reasons": self._told(lambda scores: scores.unscored.get(id)),
            "details": self._told(lambda scores: _shown(scores.details.get(id, {}))),
        }

    def _place(self, text: str | None) -> int | None:
        return None if text is None else self.places.setdefault(text, len(self.places))

    def _response(self, response: Response) -> Data:
        return {
            "text": self._place(response.response),
            "finish": response.finish_reason,
            "refused": refuses(response.response),
            "thought": self._place(response.thought),
        }

    def _chain(self, row: Row) -> Data:
        rounds = [
            {
                "principle": self.principles.setdefault((made.principle_id, made.principle_used), len(self.principles)),
                "similarity": made.similarity,
                "critique": self._place(made.critique),
                "revision": self._place(made.revision),
            }
            for made in row.rounds
        ]
        return {
            "initial": self._place(row.initial_response),
            "finish": list(row.endings.values()),
            "thoughts": [self._place(row.thoughts.get(stage)) for stage in row.replies],
            "rounds": rounds,
        }

    def _told(self, tell: Callable[[ColumnScores], str | None]) -> Data:
        """What is told of the scores of some runs in some columns, by the numbers of column and run."""
        return {
            f"{column},{run}": self._place(text)
            for column, cells in enumerate(self.scores)
            for run, scores in enumerate(cells)
            if (text := tell(scores))
        }


def _shown(detail: Mapping[str, Any]) -> str:
    """An evaluator's free record as lines of text."""
    return "\n".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in detail.items()
        if value is not None
    )
