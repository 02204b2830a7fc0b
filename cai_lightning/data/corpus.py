"""The corpus of fine-tuning: the revisions of a run, cleaned and split, with a count of everything that was changed."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cai_lightning import chat, journal
from cai_lightning.data.characters import Ascii
from cai_lightning.data.chats import Chat, Mixture, read_chats
from cai_lightning.data.cleaning import clean
from cai_lightning.data.split import Part, Shares, normalised, part, prompt_text
from cai_lightning.errors import UserError
from cai_lightning.records import Conversation, Prompt, prompt_id, transcript_text, without_sample

Target = Literal["revision", "rounds", "initial"]


@dataclass(frozen=True)
class Sample:
    """A conversation to learn from: its opening and the cleaned response."""

    id: str
    opening: Conversation
    response: str


@dataclass(frozen=True)
class Corpus:
    """The samples of each part; how many `rows` and how many responses in them were `read`, and in how many of these
    marks (`typography`) or `accents` were made plain or other characters kept (`not_ascii`), how many were stripped of
    `meta_commentary`, or dropped because nothing was left (`empty`) or other letters than ASCII's (`other_letters`). Of
    a mixture, how many `chats` there were, how many were `held_out` for testing or validating, how many `mixed` in.

    `aside` holds the normalised texts of all prompts in the file that are tested or validated on, whatever was chosen.
    """

    parts: dict[Part, list[Sample]]
    counts: Counter[str]
    aside: frozenset[str] = frozenset()


def read_corpus(
    path: Path,
    target: Target,
    shares: Shares = Shares(),
    prompts: Sequence[Prompt] | None = None,
    limit: int | None = None,
    ascii: Ascii = "typography",
) -> Corpus:
    """Reads a run's revisions; the raw rows stay as they are.

    Args:
        path: A run's `revisions.jsonl`.
        target: Learns from the last `revision`, from those of all `rounds` (as in the paper), or from the `initial`
            response (the control).
        shares: How the prompts are split.
        prompts: Takes the rows of these prompts alone; null takes all.
        limit: Takes the rows of the first so many prompts of `prompts`, or of the file; samples of a prompt are one.
        ascii: How plain the characters of the responses shall be, as in `plain`; `all` drops those that cannot be.

    Raises:
        UserError: The file is missing, a row is malformed, or a part is empty.
    """
    rows = _rows(path)
    ids = [prompt.id for prompt in prompts] if prompts is not None else list(dict.fromkeys(map(_prompt_id, rows)))
    chosen = set(ids[:limit])
    texts = {prompt_text(_prompt(row, path)) for row in rows}
    aside = frozenset(normalised(text) for text in texts if part(text, shares) != "train")
    corpus = Corpus({"train": [], "validation": [], "test": []}, Counter(), aside)
    for row in rows:
        if _prompt_id(row) in chosen:
            _add(corpus, row, path, target, shares, ascii)
    for name in ("train", "validation"):
        if not corpus.parts[name]:
            raise UserError(
                f"{path}: of its {corpus.counts['rows']} rows none is in the {name} part; take more, or change"
                " data.shares."
            )
    return corpus


def mix(corpus: Corpus, mixture: Sequence[Mixture], shares: Shares, seed: int) -> Corpus:
    """Adds conversations of other sources to the train part, drawn without repetition; `weight` says how many.

    One whose opening is not in the train part, or that holds a prompt which is not, is left out: it would be seen
    before the test.
    """
    revisions = len(corpus.parts["train"])
    for source in mixture:
        chats = read_chats(source.source, source.split)
        open_to_training = [chat for chat in chats if _is_open(chat, corpus.aside, shares)]
        count = min(round(source.weight * revisions), len(open_to_training))
        drawn = random.Random(f"{seed}:{source.source}").sample(open_to_training, count)
        corpus.parts["train"] += [Sample(prompt_id(_text_of(c.opening)), c.opening, c.response) for c in drawn]
        corpus.counts.update(chats=len(chats), held_out=len(chats) - len(open_to_training), mixed=count)
    return corpus


def _is_open(chat: Chat, aside: frozenset[str], shares: Shares) -> bool:
    """Whether training may see a conversation. A prompt may be its opening, the beginning of that, or one turn."""
    turns = [turn for turn in chat.opening if turn["role"] != "system"]
    beginnings = [turns[: n + 1] for n, turn in enumerate(turns) if turn["role"] == "user"]
    texts = [_text_of(beginning) for beginning in beginnings] + [beginning[-1]["content"] for beginning in beginnings]
    return part(_text_of(turns), shares) == "train" and aside.isdisjoint(map(normalised, texts))


def _text_of(opening: Conversation) -> str:
    """The text that stands for an opening, as `prompt_text` does for a prompt."""
    return opening[0]["content"] if len(opening) == 1 else transcript_text(opening)


def _rows(path: Path) -> list[journal.Row]:
    if not path.exists() and not journal.rank_files(path):
        raise UserError(f"{path}: no revisions there. Run predict first, or name another file in data.corpus.")
    rows = list(journal.read(path).values())
    if not rows:
        raise UserError(f"{path}: the file holds no revisions.")
    return rows


def _add(corpus: Corpus, row: journal.Row, path: Path, target: Target, shares: Shares, ascii: Ascii) -> None:
    prompt = _prompt(row, path)
    samples = corpus.parts[part(prompt_text(prompt), shares)]
    corpus.counts["rows"] += 1
    for response in _targets(row, path, target):
        cleaned = clean(response, ascii)
        corpus.counts.update(["read", *cleaned.changes])
        if not cleaned.is_dropped:
            samples.append(Sample(prompt.id, chat.opening(prompt), cleaned.text))


def _prompt(row: journal.Row, path: Path) -> Prompt:
    return Prompt(_text(row, "id", path), _text(row, "prompt", path), turns=row.get("turns"))


def _targets(row: journal.Row, path: Path, target: Target) -> Iterator[str]:
    """The responses of a row that are learned from."""
    if target == "rounds":
        rounds = row.get("rounds")
        if not isinstance(rounds, list) or not rounds or not all(isinstance(made, dict) for made in rounds):
            raise UserError(f"{path}, row {row['id']}: field 'rounds' shall be a list of rounds, found {rounds!r}.")
        yield from (_text({"id": row["id"], **made}, "revision", path) for made in rounds)
    else:
        yield _text(row, {"revision": "revision", "initial": "initial_response"}[target], path)


def _prompt_id(row: journal.Row) -> str:
    return without_sample(str(row["id"]))


def _text(row: dict[str, Any], field: str, path: Path) -> str:
    if not isinstance(row.get(field), str):
        raise UserError(f"{path}, row {row.get('id')}: field {field!r} shall be a text, found {row.get(field)!r}.")
    return str(row[field])
