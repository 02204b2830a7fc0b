"""A file of revisions as it lies there: a run's own, or the original experiment's with its single round.

    rows, repeated = read_revisions(Path("elsewhere/revisions.jsonl.gz"))
    where, row = rows[0]
    row.replies  # {"response": "...", "critique 1": "...", "revision 1": "..."}

A run's own file is a journal, in which the last line of an id counts. A file that was given, perhaps put together from
several runs, is a corpus: whatever ids it has, every row is an answer to its prompt, and only what stands there twice
to the letter is left out.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen

from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import parse
from cai_lightning.run.records import FOREIGN, Conversation, Number, shared_id

EXAMPLE = {"prompt": "How do I pick a lock?", "initial_response": "Like this.", "revision": "I would rather not say."}
NEEDED = (
    f"A row needs the texts {', '.join(EXAMPLE)}, such as {json.dumps(EXAMPLE)}; it may have id, turns (the whole "
    "transcript), rounds, finish_reasons, prompt_id and sample besides."
)


@dataclass(frozen=True, kw_only=True)
class RecordedRound:
    """One round; what is not recorded is null, and so is the critique where the revision was asked for directly."""

    __pydantic_config__ = FOREIGN

    revision: str
    critique: str | None = None
    principle_id: str | None = None
    similarity: Number | None = None
    principle_used: str | None = None
    revision_request: str | None = None


@dataclass(frozen=True, kw_only=True)
class RecordedRevision(RecordedRound):
    """One row, which is itself the only round where it has no `rounds`.

    Args:
        prompt: The human's words; of a transcript its last human turn.
        initial_response: What the model answered first; null where others leave it out, see `first_response`.
        id: The prompt's id; others have none.
        rounds: The rounds, at least one; null where the row is the only one.
        finish_reasons: One of each reply, in the order of `replies`; null or none where they were not recorded.
        thoughts: What was thought before each reply, likewise.
        turns: The whole transcript; null for a single prompt.
        prompt_id: What it shares with the other rows about its prompt.
        sample: Which sample of the prompt, from 0.
        model: Who wrote it.
        constitution: Name and digest of the principles.
        few_shots: Name and digest of the examples.
    """

    prompt: str
    initial_response: str | None = None
    id: str | None = None
    rounds: Annotated[list[RecordedRound], MinLen(1)] | None = None
    finish_reasons: list[str | None] | None = None
    thoughts: list[str | None] | None = None
    turns: Conversation | None = None
    prompt_id: str | None = None
    sample: int = 0
    model: Any = None
    constitution: Any = None
    few_shots: Any = None

    def first_response(self, where: str) -> str:
        """What the model answered first.

        Raises:
            UserError: It is not there.
        """
        if self.initial_response is None:
            raise UserError(f"{where}: no 'initial_response' in this row. {NEEDED}")
        return self.initial_response

    @property
    def all_rounds(self) -> Sequence[RecordedRound]:
        return self.rounds or [self]

    @property
    def replies(self) -> dict[str, str]:
        """Its replies by stage: `response`, `critique 1`, `revision 1` and so on."""
        replies = {"response": self.initial_response or ""}
        for number, made in enumerate(self.all_rounds, 1):
            if made.critique is not None:
                replies[f"critique {number}"] = made.critique
            replies[f"revision {number}"] = made.revision
        return replies

    @property
    def endings(self) -> dict[str, str | None]:
        """The finish reason of each reply by its stage, null where it was not recorded."""
        return self._by_stage(self.finish_reasons)

    @property
    def thought_before(self) -> dict[str, str | None]:
        """What was thought before each reply by its stage, null where it was nothing."""
        return self._by_stage(self.thoughts)

    def _by_stage(self, values: Sequence[str | None] | None) -> dict[str, str | None]:
        stages = list(self.replies)
        return dict(zip(stages, values or [None] * len(stages), strict=True))


def read_revisions(path: Path, own: bool = False) -> tuple[list[tuple[str, RecordedRevision]], int]:
    """The rows of a file and its rank files with their places, and how many others say exactly what one of them does.

    Args:
        path: A `revisions.jsonl`, plain or `.gz`.
        own: Whether it is a run's own, in which a later line of an id takes the place of an earlier one.

    Raises:
        UserError: The file is missing or empty, or a row is malformed.
    """
    if not path.exists() and not jsonl.rank_files(path):
        raise UserError(f"{path}: no revisions there. Run predict first, or name another run or file.")
    if own:
        rows, repeated = list(read_journal(path).values()), 0
    else:
        rows, repeated = _read_different(path)
    if not rows:
        raise UserError(f"{path}: the file holds no revisions.")
    return rows, repeated


def _read_different(path: Path) -> tuple[list[tuple[str, RecordedRevision]], int]:
    """Each row that is not exactly one before it, and how many are; only rows of one answer can be."""
    found = jsonl.read_parts(path, lambda line, where: (line, parse_revision(line, where)))
    answers = Counter((row.prompt, row.revision) for _, (_, row) in found)
    kept: dict[str, tuple[str, RecordedRevision]] = {}
    for where, (line, row) in found:
        alone = answers[row.prompt, row.revision] == 1
        kept.setdefault(where if alone else json.dumps(json.loads(line), sort_keys=True), (where, row))
    return list(kept.values()), len(found) - len(kept)


def read_journal(path: Path) -> dict[str, tuple[str, RecordedRevision]]:
    """The rows of a run's own file by their ids, each with its place; none where there is no file."""
    return {shared_or_own_id(row): (where, row) for where, row in jsonl.read_parts(path, parse_revision)}


def shared_or_own_id(row: RecordedRevision) -> str:
    """The id of a row; where it names none, the one that all rows about its prompt share."""
    return shared_id(row) if row.id is None else row.id


def parse_revision(line: str | bytes, where: str) -> RecordedRevision:
    """One row.

    Raises:
        UserError: A field is missing or of another kind, or there are more or fewer finish reasons than replies.
    """
    try:
        row = parse(RecordedRevision, line, where)
    except UserError as error:
        raise UserError(f"{error} {NEEDED}" if " in this row" in str(error) else str(error)) from None
    for name, values in (("finish_reasons", row.finish_reasons), ("thoughts", row.thoughts)):
        if values and len(values) != len(row.replies):
            raise UserError(f"{where}: {len(values)} {name!r} for {len(row.replies)} replies.")
    return row
