"""The corpora that are inspected: a run's `revisions.jsonl`, finished or still growing, or a foreign one like it.

corpora = read_corpora([Path("runs/qwen_contextual"), Path("elsewhere/revisions.jsonl")])
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cai_lightning import journal
from cai_lightning.errors import UserError
from cai_lightning.records import prompt_id
from cai_lightning.report.inspection.rows import Row, parse_row
from cai_lightning.report.runs import name_runs

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
    if not file.exists() and not journal.rank_files(file):
        raise UserError(f"{file}: no revisions there. Name a run whose predict has begun, or a file like its {FILE}.")
    found, repeated = journal.read_different(file) if given else (_lines(file), 0)
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
    failed = journal.read(file.with_name("failed.jsonl")).keys() - {row.id for row in rows.values()}
    words = tuple(words for field, words in LACKING.items() if field in lacking)
    return Corpus(name, tuple(rows.values()), len(failed), repeated, words)


def _lines(file: Path) -> list[tuple[str, journal.Row]]:
    """Every line of a run's journal and its rank files, with its place."""
    parts = [part for part in (file, *journal.rank_files(file)) if part.exists()]
    return [(f"{part}, line {number}", row) for part in parts for number, row in journal.read_lines(part)]
