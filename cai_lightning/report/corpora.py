"""Revisions and what was said in a run, read for reports: ours, or the original experiment's with its single round.

One row of a corpus of revisions, read from JSON: ours, or the original experiment's with its single round.

row = parse_row({"prompt": "...", "initial_response": "...", "revision": "..."}, "revisions.jsonl, line 1", id)

The corpora that are inspected: a run's `revisions.jsonl`, finished or still growing, or a foreign one like it.

corpora = read_corpora([Path("runs/qwen_contextual"), Path("elsewhere/revisions.jsonl")])

What was said in a run: the responses that were scored, and the critiques and revisions of the same prompts.

texts = read_texts(Path("runs/qwen_contextual"), run)
texts.responses["0f3a..."].response
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cai_lightning.data.prompts import shown
from cai_lightning.report.runs import Run, name_runs
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Conversation, Response, Round, prompt_id, transcript_text
from cai_lightning.run.thoughts import joined, split_thoughts

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


FILE = "revisions.jsonl"
LACKING = {
    "id": "no ids: they are made from the prompts",
    "finish_reasons": "no finish reasons: what was cut off is not known",
    "rounds": "no rounds: every row is taken as one",
}
"""What is said of a corpus whose rows lack a field."""


@dataclass(frozen=True)
class Corpus:
    """The rows of one run.

    Args:
        name: What tables call it.
        rows: Its rows; of a run each id once.
        failed: Number of prompts that were set aside and are not among the rows.
        repeated: Number of rows that were left out because another says exactly the same.
        lacking: What it does not record, in words.
    """

    name: str
    rows: tuple[Row, ...]
    failed: int = 0
    repeated: int = 0
    lacking: tuple[str, ...] = ()


def read_corpora(paths: Sequence[Path]) -> list[Corpus]:
    """Reads runs, or files of revisions, in this order.

    Raises:
        UserError: There is nothing to read, a path is named twice, or a row is malformed; file and line are named.
    """
    files = [path / FILE if path.is_dir() else path for path in paths]
    names = name_runs([file.parent if file.name == FILE else file for file in files])
    given = [not path.is_dir() for path in paths]
    return [_read(*corpus) for corpus in zip(files, names, given, strict=True)]


def _read(file: Path, name: str, given: bool) -> Corpus:
    """A run's journal, in which the last line of an id counts, or a given file, whose every row is one of its own."""
    if not file.exists() and not jsonl.rank_files(file):
        raise UserError(f"{file}: no revisions there. Name a run whose predict has begun, or a file like its {FILE}.")
    found, repeated = jsonl.read_different(file) if given else (_lines(file), 0)
    rows: dict[str, Row] = {}
    lacking: set[str] = set()
    seen: Counter[str] = Counter()
    for where, fields in found:
        prompt = str(fields.get("prompt"))
        seen[prompt] += 1
        row = parse_row(fields, where, prompt_id(prompt, seen[prompt]))
        rows[where if given else row.id] = row
        lacking |= LACKING.keys() - fields.keys()
    if not rows:
        raise UserError(f"{file}: the file holds no revisions.")
    failed = jsonl.read(file.with_name("failed.jsonl")).keys() - {row.id for row in rows.values()}
    words = tuple(words for field, words in LACKING.items() if field in lacking)
    return Corpus(name, tuple(rows.values()), len(failed), repeated, words)


def _lines(file: Path) -> list[tuple[str, jsonl.Row]]:
    """Every line of a run's journal and its rank files, with its place."""
    parts = [part for part in (file, *jsonl.rank_files(file)) if part.exists()]
    return [(f"{part}, line {number}", row) for part in parts for number, row in jsonl.read_lines(part)]


@dataclass(frozen=True)
class RunTexts:
    """The texts of one run by the prompt's id.

    Args:
        name: What tables call the run.
        responses: What the evaluated model answers.
        revisions: Initial responses with their critiques and revisions, of all prompts that the run has revised.
    """

    name: str
    responses: Mapping[str, Response]
    revisions: Mapping[str, Row]


def read_texts(folder: Path, run: Run) -> RunTexts:
    """The texts of a run.

    Args:
        folder: Its folder; without a `revisions.jsonl` it has revised nothing.
        run: What was read there.

    Raises:
        UserError: A row is malformed; the file and the row are named.
    """
    return RunTexts(run.name, run.responses, _revisions(folder / "revisions.jsonl"))


def _revisions(path: Path) -> dict[str, Row]:
    rows = jsonl.read(path).values()
    return {row["id"]: parse_row(row, f"{path}, id {row['id']}", row["id"]) for row in rows}
