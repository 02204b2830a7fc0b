"""One row of a corpus of revisions, read from JSON: ours, or the original experiment's with its single round.

row = parse_row({"prompt": "...", "initial_response": "...", "revision": "..."}, "revisions.jsonl, line 1", id)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cai_lightning.data.sources import shown
from cai_lightning.errors import UserError
from cai_lightning.records import Conversation, Round, transcript_text
from cai_lightning.thoughts import joined, split_thoughts

Fields = Mapping[str, Any]
NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Row:
    """A prompt with its initial response and its rounds; what a foreign corpus does not record is empty.

    Args:
        id: The prompt's id.
        prompt: The human's words; of a transcript its last human turn.
        initial_response: What the model answered first.
        rounds: The rounds, at least one; a direct revision has no critique.
        revision: The revision of the last round.
        finish_reasons: Of every reply, in the order of `stages`; or none.
        model: Who wrote it.
        turns: The whole transcript; None for a single prompt.
        prompt_id: What it shares with the other rows about its prompt, where that is recorded.
        thoughts: What was thought before each reply, by stage; recorded, or left in the text by others.
    """

    id: str
    prompt: str
    initial_response: str
    rounds: tuple[Round, ...]
    revision: str
    finish_reasons: tuple[str, ...] = ()
    model: str = ""
    turns: Conversation | None = None
    prompt_id: str | None = None
    thoughts: Mapping[str, str] = field(default_factory=dict)

    @property
    def opening(self) -> str:
        """The text by which two prompts are the same."""
        return transcript_text(self.turns) if self.turns else self.prompt

    @property
    def replies(self) -> dict[str, str]:
        """Its replies by stage: `response`, `critique 1`, `revision 1` and so on."""
        replies = {"response": self.initial_response}
        for number, turn in enumerate(self.rounds, 1):
            if turn.critique is not None:
                replies[f"critique {number}"] = turn.critique
            replies[f"revision {number}"] = turn.revision
        return replies


def parse_row(fields: Fields, where: str, id: str) -> Row:
    """The row in a JSON object.

    Args:
        fields: The object; without `rounds` it is itself the only round.
        where: The row's place, for messages.
        id: The id of a row that names none.

    Raises:
        UserError: A field is missing or of another kind.
    """
    row = Row(
        id=_text(fields, "id", where) if "id" in fields else id,
        prompt=_text(fields, "prompt", where),
        initial_response=_text(fields, "initial_response", where),
        rounds=tuple(_round(turn, where) for turn in _objects(fields, "rounds", where) or [fields]),
        revision=_text(fields, "revision", where),
        finish_reasons=_reasons(fields, where),
        model=str(fields.get("model") or ""),
        turns=_turns(fields, where),
        prompt_id=_text(fields, "prompt_id", where) if fields.get("prompt_id") is not None else None,
    )
    if len(row.finish_reasons) not in (0, len(row.replies)):
        raise UserError(f"{where}: {len(row.finish_reasons)} 'finish_reasons' for {len(row.replies)} replies.")
    return _without_thoughts(row, _recorded_thoughts(fields, row, where))


def _without_thoughts(row: Row, recorded: Sequence[str | None]) -> Row:
    """The row with its thoughts, those that were left in its texts among them, beside its words."""
    said = {stage: split_thoughts(text) for stage, text in row.replies.items()}
    thoughts = {stage: joined([known, said[stage].thought]) for stage, known in zip(said, recorded, strict=True)}
    rounds = [
        replace(
            turn,
            critique=None if turn.critique is None else said[f"critique {number}"].words,
            revision=said[f"revision {number}"].words,
        )
        for number, turn in enumerate(row.rounds, 1)
    ]
    return replace(
        row,
        initial_response=said["response"].words,
        rounds=tuple(rounds),
        revision=split_thoughts(row.revision).words,
        thoughts={stage: thought for stage, thought in thoughts.items() if thought},
    )


def _recorded_thoughts(fields: Fields, row: Row, where: str) -> Sequence[str | None]:
    """One for each reply, None where it had none."""
    thoughts = fields.get("thoughts") or [None] * len(row.replies)
    if not isinstance(thoughts, list) or not all(isinstance(thought, str | None) for thought in thoughts):
        raise UserError(f"{where}: 'thoughts' must be a list of texts and nulls, not {shown(thoughts)}")
    if len(thoughts) != len(row.replies):
        raise UserError(f"{where}: {len(thoughts)} 'thoughts' for {len(row.replies)} replies.")
    return thoughts


def _round(fields: Fields, where: str) -> Round:
    principle = _text(fields, "principle_used", where) if "principle_used" in fields else NOT_RECORDED
    return Round(
        principle_id=_text(fields, "principle_id", where) if "principle_id" in fields else principle,
        similarity=_similarity(fields, where),
        principle_used=principle,
        revision_request=_text(fields, "revision_request", where) if "revision_request" in fields else "",
        critique=_text(fields, "critique", where) if fields.get("critique") is not None else None,
        revision=_text(fields, "revision", where),
    )


def _similarity(fields: Fields, where: str) -> float | None:
    value = fields.get("similarity")
    if value is not None and (type(value) not in (int, float) or not abs(value) < math.inf):
        raise UserError(f"{where}: 'similarity' must be a number or null, not {shown(value)}")
    return value


def _reasons(fields: Fields, where: str) -> tuple[str, ...]:
    reasons = fields.get("finish_reasons", [])
    if not isinstance(reasons, list) or not all(isinstance(reason, str) for reason in reasons):
        raise UserError(f"{where}: 'finish_reasons' must be a list of texts, not {shown(reasons)}")
    return tuple(reasons)


def _turns(fields: Fields, where: str) -> Conversation | None:
    turns = _objects(fields, "turns", where)
    return [{name: _text(turn, name, where) for name in ("role", "content")} for turn in turns] or None


def _objects(fields: Fields, field: str, where: str) -> list[Fields]:
    """The objects in a list; none where the field is missing."""
    value = fields.get(field)
    if value is None:
        return []
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        raise UserError(f"{where}: {field!r} must be a list of objects, not {shown(value)}")
    return value


def _text(fields: Fields, field: str, where: str) -> str:
    if field not in fields:
        raise UserError(f"{where}: no {field!r} in this row, which has {', '.join(map(str, fields))}.")
    if not isinstance(fields[field], str):
        raise UserError(f"{where}: {field!r} must be a text, not {shown(fields[field])}")
    return str(fields[field])
