"""The corpus of fine-tuning: the revisions of a run, cleaned and split, with a count of everything that was changed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cai_lightning import chat, journal
from cai_lightning.data.cleaning import clean
from cai_lightning.data.split import Part, Shares, part, prompt_text
from cai_lightning.errors import UserError
from cai_lightning.records import Conversation, Prompt

Target = Literal["revision", "initial"]
FIELDS: dict[Target, str] = {"revision": "revision", "initial": "initial_response"}


@dataclass(frozen=True)
class Sample:
    """A conversation to learn from: its opening and the cleaned response."""

    id: str
    opening: Conversation
    response: str


@dataclass(frozen=True)
class Corpus:
    """The samples of each part, and how many rows were `read`, transliterated (`ascii`), stripped of
    `meta_commentary`, or dropped because nothing was left (`empty`)."""

    parts: dict[Part, list[Sample]]
    counts: Counter[str]


def read_corpus(
    path: Path,
    target: Target,
    shares: Shares = Shares(),
    prompts: Sequence[Prompt] | None = None,
    limit: int | None = None,
) -> Corpus:
    """Reads a run's revisions; the raw rows stay as they are.

    Args:
        path: A run's `revisions.jsonl`.
        target: Learns from the last `revision`, or from the `initial` response (the control).
        shares: How the prompts are split.
        prompts: Takes the rows of these prompts alone; null takes all.
        limit: Takes the first so many rows of the prompts, or of the file.

    Raises:
        UserError: The file is missing, a row is malformed, or a part is empty.
    """
    rows = _rows(path)
    if prompts is not None:
        chosen = {prompt.id for prompt in prompts[:limit]}
        rows = [row for row in rows if row["id"] in chosen]
    corpus = Corpus({"train": [], "validation": [], "test": []}, Counter())
    for row in rows[:limit]:
        _add(corpus, row, path, target, shares)
    for name in ("train", "validation"):
        if not corpus.parts[name]:
            raise UserError(
                f"{path}: of its {len(rows[:limit])} rows none is in the {name} part; take more, or change data.shares."
            )
    return corpus


def _rows(path: Path) -> list[journal.Row]:
    if not path.exists() and not journal.rank_files(path):
        raise UserError(f"{path}: no revisions there. Run predict first, or name another file in data.corpus.")
    rows = list(journal.read(path).values())
    if not rows:
        raise UserError(f"{path}: the file holds no revisions.")
    return rows


def _add(corpus: Corpus, row: journal.Row, path: Path, target: Target, shares: Shares) -> None:
    prompt = Prompt(_text(row, "id", path), _text(row, "prompt", path), turns=row.get("turns"))
    cleaned = clean(_text(row, FIELDS[target], path))
    corpus.counts.update(["read", *cleaned.changes])
    if "empty" not in cleaned.changes:
        sample = Sample(prompt.id, chat.opening(prompt), cleaned.text)
        corpus.parts[part(prompt_text(prompt), shares)].append(sample)


def _text(row: dict[str, Any], field: str, path: Path) -> str:
    if not isinstance(row.get(field), str):
        raise UserError(f"{path}, row {row.get('id')}: field {field!r} shall be a text, found {row.get(field)!r}.")
    return str(row[field])
