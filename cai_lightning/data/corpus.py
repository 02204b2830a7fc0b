"""The corpus of fine-tuning: the revisions of a run, cleaned and split, with a count of everything that was changed.

The rows of a corpus of revisions as they lie there, each with its place for messages.

rows, repeated = read_corpus_rows(Path("elsewhere/revisions.jsonl.gz"))
rows[0].targets("rounds")

A run's own file is a journal, in which the last line of an id counts. A file that was given, perhaps put together from
several runs, is a corpus: whatever ids it has, every row is an answer to its prompt, and only what stands there twice
to the letter is left out.
"""

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cai_lightning.data.characters import Ascii
from cai_lightning.data.chats import Chat, Mixture, read_chats
from cai_lightning.data.cleaning import clean
from cai_lightning.data.defects import finish_reasons, is_cut, repeated_ngrams
from cai_lightning.data.prompts import shown
from cai_lightning.data.split import Part, Shares, normalised, part, prompt_text
from cai_lightning.principles import wording
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import (
    Conversation,
    Prompt,
    is_conversation,
    prompt_id,
    shared_id,
    shared_id_of,
    transcript_text,
)
from cai_lightning.run.thoughts import split_thoughts

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
    fields: jsonl.Row

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
    if not path.exists() and not jsonl.rank_files(path):
        raise UserError(f"{path}: no revisions there. Run predict first, or name another file in data.corpus.")
    found, repeated = (_journal(path), 0) if own else jsonl.read_different(path)
    if not found:
        raise UserError(f"{path}: the file holds no revisions.")
    return [_row(where, fields) for where, fields in found], repeated


def _journal(path: Path) -> list[tuple[str, jsonl.Row]]:
    return [(f"{path}, row {id}", row) for id, row in jsonl.read(path).items()]


def _row(where: str, fields: jsonl.Row) -> CorpusRow:
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


CutReplies = Literal["open", "drop", "learn"]


@dataclass(frozen=True)
class Wanted:
    """What is learned of the responses that a row holds.

    A reply that was cut behind the end of its answer, in words about it that cleaning takes away, is a finished answer.

    Args:
        target: The last `revision`, those of all `rounds` (as in the paper), or the `initial` response (the control).
        ascii: How plain the characters shall be, as in `plain`; `all` drops responses that cannot be.
        cut_replies: What is done with replies that were cut: `open` says that they are not finished, `drop` leaves them
            out, `learn` takes them as finished.
        max_repetition: Leaves out responses with a larger share of repeated 4-grams, see `repeated_ngrams`; null takes
            all.
    """

    target: Target = "revision"
    ascii: Ascii = "typography"
    cut_replies: CutReplies = "open"
    max_repetition: float | None = None


@dataclass(frozen=True)
class Sample:
    """A conversation to learn from: its opening and the cleaned response, whose end is learned where it is finished."""

    id: str
    opening: Conversation
    response: str
    finished: bool = True


@dataclass(frozen=True)
class Corpus:
    """The samples of each part. Of the file how many rows were left out because they were exactly `repeated`, because
    their prompt is an `other_prompt`, and how many of the `rows` that were taken are `further` answers to a prompt that
    stands there already. How many responses in these were `read`, and in how many of these
    marks (`typography`) or `accents` were made plain or other characters kept (`not_ascii`), how many were stripped of
    `thoughts` or `meta_commentary`, or dropped because nothing was left (`empty`, or `unfinished_thought` where it was
    one), other letters than ASCII's (`other_letters`) or too much that had stood before (`repetitive`); how many of the
    others were `cut` at their limit of tokens, and how many of these only `look_cut`, for want of a finish reason. Of a
    mixture, how many `chats` there were, how many were `held_out` for testing or validating, how many `mixed` in.

    `aside` holds the normalised texts of all prompts in the file that are tested or validated on, whatever was chosen.
    """

    parts: dict[Part, list[Sample]]
    counts: Counter[str]
    aside: frozenset[str] = frozenset()


def read_corpus(
    path: Path,
    wanted: Wanted = Wanted(),
    shares: Shares = Shares(),
    prompts: Sequence[Prompt] | None = None,
    limit: int | None = None,
    own: bool = False,
) -> Corpus:
    """Reads the revisions of a run, or of several in one file; the raw rows stay as they are.

    Args:
        path: A run's `revisions.jsonl`.
        wanted: What is learned of its rows.
        shares: How the prompts are split.
        prompts: Takes the rows of these prompts alone; null takes all.
        limit: Takes the rows of the first so many prompts of `prompts`, or of the file; samples of a prompt are one.
        own: Whether this is the run's own file, see `read_corpus_rows`.

    Raises:
        UserError: The file is missing, a row is malformed, or a part is empty.
    """
    rows, repeated = read_corpus_rows(path, own)
    source = [row.prompt for row in rows] if prompts is None else prompts
    chosen = set(list(dict.fromkeys(map(shared_id, source)))[:limit])
    taken = [row for row in rows if shared_id(row.prompt) in chosen]
    texts = {prompt_text(row.prompt) for row in rows}
    aside = frozenset(normalised(text) for text in texts if part(text, shares) != "train")
    corpus = Corpus({"train": [], "validation": [], "test": []}, Counter(), aside)
    further = len(taken) - len({shared_id(row.prompt) for row in taken})
    corpus.counts.update(rows=len(taken), repeated=repeated, other_prompt=len(rows) - len(taken), further=further)
    for row in taken:
        _add(corpus, row, corpus.parts[part(prompt_text(row.prompt), shares)], wanted)
    for name in ("train", "validation"):
        if not corpus.parts[name]:
            raise UserError(
                f"{path}: of its {corpus.counts['rows']} rows none is in the {name} part"
                f"{_dropped(corpus, wanted)}; take more, or change data.shares."
            )
    return corpus


def mix(corpus: Corpus, mixture: Sequence[Mixture], shares: Shares, seed: int) -> Corpus:
    """Adds conversations of other sources to the train part, drawn without repetition; `weight` says how many.

    One whose opening is not in the train part, or that holds a prompt which is not, is left out: it would be seen
    before the test.
    """
    revisions = len(corpus.parts["train"])
    for source in mixture:
        chats = [_without_thought(chat, corpus.counts) for chat in read_chats(source.source, source.split)]
        chats = [chat for chat in chats if chat.response]
        open_to_training = [chat for chat in chats if _is_open(chat, corpus.aside, shares)]
        count = min(round(source.weight * revisions), len(open_to_training))
        drawn = random.Random(f"{seed}:{source.source}").sample(open_to_training, count)
        corpus.parts["train"] += [Sample(prompt_id(_text_of(c.opening)), c.opening, c.response) for c in drawn]
        corpus.counts.update(chats=len(chats), held_out=len(chats) - len(open_to_training), mixed=count)
    return corpus


def _without_thought(chat: Chat, counts: Counter[str]) -> Chat:
    """A conversation whose response has lost its thoughts, and everything where it was nothing else."""
    words = split_thoughts(chat.response).words
    counts.update(thoughts=words != chat.response, unfinished_thought=not words)
    return replace(chat, response=words)


def _is_open(chat: Chat, aside: frozenset[str], shares: Shares) -> bool:
    """Whether training may see a conversation. A prompt may be its opening, the beginning of that, or one turn."""
    turns = [turn for turn in chat.opening if turn["role"] != "system"]
    beginnings = [turns[: n + 1] for n, turn in enumerate(turns) if turn["role"] == "user"]
    texts = [_text_of(beginning) for beginning in beginnings] + [beginning[-1]["content"] for beginning in beginnings]
    return part(_text_of(turns), shares) == "train" and aside.isdisjoint(map(normalised, texts))


def _text_of(opening: Conversation) -> str:
    """The text that stands for an opening, as `prompt_text` does for a prompt."""
    return opening[0]["content"] if len(opening) == 1 else transcript_text(opening)


def _dropped(corpus: Corpus, wanted: Wanted) -> str:
    """What may have emptied a part, for the message about it."""
    counts = corpus.counts
    dropped = {
        "are cut": counts["cut"] if wanted.cut_replies == "drop" else 0,
        "are empty": counts["empty"],
        "repeat themselves": counts["repetitive"],
        "are unfinished thoughts": counts["unfinished_thought"],
        "have letters that are not English": counts["other_letters"],
    }
    told = [f"{count} {why}" for why, count in dropped.items() if count]
    return f" ({', '.join(told)})" if told else ""


def _add(corpus: Corpus, row: CorpusRow, samples: list[Sample], wanted: Wanted) -> None:
    for response, reason in row.targets(wanted.target):
        cleaned = clean(response, wanted.ascii)
        corpus.counts.update(["read", *cleaned.changes])
        if cleaned.is_dropped:
            continue
        if wanted.max_repetition is not None and repeated_ngrams(cleaned.text) > wanted.max_repetition:
            corpus.counts["repetitive"] += 1
            continue
        cut = is_cut(cleaned.words, reason) and not cleaned.has_words_behind
        if cut:
            corpus.counts.update(["cut", *(["look_cut"] if reason is None else [])])
        if not (cut and wanted.cut_replies == "drop"):
            finished = not cut or wanted.cut_replies == "learn"
            samples.append(Sample(row.prompt.id, wording.opening(row.prompt), cleaned.text, finished))
