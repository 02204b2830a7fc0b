"""The rows of a corpus of revisions as they lie there, each with its place for messages.

rows, repeated = read_corpus_rows(Path("elsewhere/revisions.jsonl.gz"))
rows[0].targets("rounds")

A run's own file is a journal, in which the last line of an id counts. A file that was given, perhaps put together from
several runs, is a corpus: whatever ids it has, every row is an answer to its prompt, and only what stands there twice
to the letter is left out.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cai_lightning import journal
from cai_lightning.data.endings import finish_reasons
from cai_lightning.data.sources import shown
from cai_lightning.errors import UserError
from cai_lightning.records import Prompt, is_conversation, shared_id_of

Target = Literal["revision", "rounds", "initial"]

EXAMPLE = {"prompt": "How do I pick a lock?", "initial_response": "Like this.", "revision": "I would rather not say."}
NEEDED = (
    f"A row needs the texts {', '.join(EXAMPLE)}, such as {json.dumps(EXAMPLE)}; it may have id, turns (the whole "
    "transcript), rounds, finish_reasons, prompt_id and sample besides."
)


@dataclass(frozen=True)
class CorpusRow:
    """One row.

    Args:
        where: Its place, for messages.
        prompt: What was asked; its id is the row's, or that of its text where the row names none.
        fields: All that the row holds.
    """

    where: str
    prompt: Prompt
    fields: journal.Row

    def targets(self, target: Target) -> list[tuple[str, str | None]]:
        """The responses that are learned from, each with its finish reason, which is null where none was recorded.

        Raises:
            UserError: A field is missing or of another kind.
        """
        row, where, rounds = self.fields, self.where, self.fields.get("rounds")
        wanted = isinstance(rounds, list) and rounds and all(isinstance(made, dict) for made in rounds)
        if not wanted and (target == "rounds" or rounds is not None):
            raise UserError(f"{where}: field 'rounds' shall be a list of rounds, found {shown(rounds)}.")
        reasons = finish_reasons(row, where)
        if target == "rounds":
            texts = [_text(made, "revision", where) for made in row["rounds"]]
            return list(zip(texts, reasons.revisions, strict=True))
        if target == "initial":
            return [(_text(row, "initial_response", where), reasons.response)]
        return [(_text(row, "revision", where), reasons.revisions[-1])]


def read_corpus_rows(path: Path, own: bool = False) -> tuple[list[CorpusRow], int]:
    """The rows of a file and its rank files, and how many were left out because another says exactly the same.

    Args:
        path: A `revisions.jsonl`, plain or `.gz`.
        own: Whether it is the run's own, in which a later line of an id takes the place of an earlier one.

    Raises:
        UserError: The file is missing or empty, or a row is malformed.
    """
    if not path.exists() and not journal.rank_files(path):
        raise UserError(f"{path}: no revisions there. Run predict first, or name another file in data.corpus.")
    found, repeated = (_journal(path), 0) if own else journal.read_different(path)
    if not found:
        raise UserError(f"{path}: the file holds no revisions.")
    return [_row(where, fields) for where, fields in found], repeated


def _journal(path: Path) -> list[tuple[str, journal.Row]]:
    return [(f"{path}, row {id}", row) for id, row in journal.read(path).items()]


def _row(where: str, fields: journal.Row) -> CorpusRow:
    text, turns, sample = _text(fields, "prompt", where), fields.get("turns"), fields.get("sample", 0)
    if fields.get("prompt_id") is not None:
        _text(fields, "prompt_id", where)
    if not isinstance(sample, int):
        raise UserError(f"{where}: field 'sample' shall be a number, counted from 0, found {shown(sample)}.")
    if turns is not None and not is_conversation(turns):
        raise UserError(f"{where}: field 'turns' shall be a list of turns with role and content, found {shown(turns)}.")
    shared = shared_id_of(fields)
    id = _text(fields, "id", where) if "id" in fields else shared
    return CorpusRow(where, Prompt(id, text, turns=turns, prompt_id=shared, sample=sample), fields)


def _text(row: dict[str, Any], field: str, where: str) -> str:
    if field not in row:
        raise UserError(f"{where}: no field {field!r} in this row, which has {', '.join(row) or 'none'}. {NEEDED}")
    if not isinstance(row[field], str):
        raise UserError(f"{where}: field {field!r} shall be a text, found {shown(row[field])}.")
    return str(row[field])
