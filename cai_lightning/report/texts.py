"""What was said in a run: the responses that were scored, and the critiques and revisions of the same prompts.

texts = read_texts(Path("runs/qwen_contextual"), run)
texts.responses["0f3a..."].response
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cai_lightning import journal
from cai_lightning.data.sources import shown
from cai_lightning.errors import UserError
from cai_lightning.records import Response
from cai_lightning.report.inspection.rows import Row, parse_row
from cai_lightning.report.runs import Run

KNOWN = {field.name for field in fields(Response)}
NEEDED = ("prompt", "response")
OPTIONAL = ("reference", "finish_reason", "model", "adapter", "category")
SPEAKERS = ("system", "user", "assistant")


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
    path = folder / "responses.jsonl"
    responses = {id: _response(row, path) for id, row in run.responses.items()}
    return RunTexts(run.name, responses, _revisions(folder / "revisions.jsonl"))


def _response(row: journal.Row, path: Path) -> Response:
    for field in NEEDED:
        if not isinstance(row.get(field), str):
            raise UserError(f"{path}, id {row['id']}: {field!r} must be a text, not {shown(row.get(field))}")
    for field in OPTIONAL:
        if not isinstance(row.get(field), str | None):
            raise UserError(f"{path}, id {row['id']}: {field!r} must be a text or null, not {shown(row[field])}")
    if not _is_conversation(row.get("turns")):
        raise UserError(f"{path}, id {row['id']}: 'turns' must be turns of {SPEAKERS}, not {shown(row['turns'])}")
    optional = {"reference": None, "finish_reason": "", "model": "", "adapter": None}
    return Response(**optional | {name: value for name, value in row.items() if name in KNOWN})


def _is_conversation(turns: Any) -> bool:
    return turns is None or (isinstance(turns, list) and all(map(_is_turn, turns)))


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, dict) and turn.get("role") in SPEAKERS and isinstance(turn.get("content"), str)


def _revisions(path: Path) -> dict[str, Row]:
    rows = journal.read(path).values()
    return {row["id"]: parse_row(row, f"{path}, id {row['id']}", row["id"]) for row in rows}
