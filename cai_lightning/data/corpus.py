"""The corpus of fine-tuning: the revisions of a run, cleaned and split, with a count of everything that was changed.

    rows, repeated = read_revisions(Path("elsewhere/revisions.jsonl.gz"))
    where, row = rows[0]
    row.replies  # {"response": "...", "critique 1": "...", "revision 1": "..."}

    corpus = read_corpus(Path("runs/qwen_contextual/revisions.jsonl"), Wanted("rounds"))
    corpus.parts["train"][0].response

A file of revisions is a run's own, or the original experiment's with its single round. A run's own is a journal, in
which the last line of an id counts. Of a file that was given, perhaps put together from several runs, every row is an
answer to its prompt, whatever ids it has, and only what stands there twice to the letter is left out.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import MinLen

from cai_lightning.data.characters import Ascii
from cai_lightning.data.cleaning import clean
from cai_lightning.data.defects import is_cut, repeated_ngrams
from cai_lightning.data.prompts import Part, Sample, Shares, normalised, opening_text, part, prompt_text, read_chats
from cai_lightning.principles import wording
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import parse
from cai_lightning.run.manifest import digest
from cai_lightning.run.records import FOREIGN, AboutPrompt, Conversation, Number, Prompt, Round, shared_id
from cai_lightning.run.text import split_thoughts

Target = Literal["revision", "rounds", "initial"]
CutReplies = Literal["open", "drop", "learn"]

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
class RecordedRevision(RecordedRound, AboutPrompt):
    """One row, which is itself the only round where it has no `rounds`.

    Args:
        id: The prompt's id; others have none.
        initial_response: What the model answered first; null where others leave it out, see `first_response`.
        rounds: The rounds, at least one; null where the row is the only one.
        finish_reasons: One of each reply, in the order of `replies`; null or none where they were not recorded.
        thoughts: What was thought before each reply, likewise.
        model: Who wrote it.
        constitution: Name and digest of the principles.
        few_shots: Name and digest of the examples.
    """

    id: str | None = None  # type: ignore[assignment]
    initial_response: str | None = None
    rounds: Annotated[list[RecordedRound], MinLen(1)] | None = None
    finish_reasons: list[str | None] | None = None
    thoughts: list[str | None] | None = None
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
        return replies_by_stage(self.initial_response or "", self.all_rounds)

    @property
    def endings(self) -> dict[str, str | None]:
        """The finish reason of each reply by its stage, null where it was not recorded."""
        return self.by_stage(self.finish_reasons)

    def by_stage(self, values: Sequence[str | None] | None) -> dict[str, str | None]:
        """What is recorded of each reply, in their order, by its stage; null where it was not recorded."""
        replies = self.replies
        return dict(zip(replies, values or [None] * len(replies), strict=True))


def replies_by_stage(response: str, rounds: Sequence[RecordedRound | Round]) -> dict[str, str]:
    """The replies of a row by what they are: `response`, `critique 1`, `revision 1` and so on."""
    replies = {"response": response}
    for number, made in enumerate(rounds, 1):
        if made.critique is not None:
            replies[f"critique {number}"] = made.critique
        replies[f"revision {number}"] = made.revision
    return replies


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
    repeated = 0
    if own:
        rows = read_journal(path)
    else:
        found = jsonl.read_parts(path, lambda line, where: (line, parse_revision(line, where)))
        rows = {}
        for where, (line, row) in found:
            rows.setdefault(digest(json.loads(line)), (where, row))
        repeated = len(found) - len(rows)
    if not rows:
        raise UserError(f"{path}: the file holds no revisions.")
    return list(rows.values()), repeated


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
class Mixture:
    """A source of conversations that are learned from beside the revisions, such as helpfulness data (Bai et al. 2022,
    section 3.3).

    Args:
        source: A JSON Lines file (plain or .gz) or `hf:NAME`, a Hugging Face dataset. A row holds `messages` (roles and
            contents), or `prompt` and `response`, or an hh-rlhf transcript under `chosen`.
        weight: Conversations for each training revision; 1 takes as many as there are revisions.
        split: Split of a Hugging Face dataset.
    """

    source: str
    weight: float = 1.0
    split: str = "train"

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ValueError(f"mixture.weight: a number above 0 expected, found {self.weight}")


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
        own: Whether this is the run's own file, see `read_revisions`.

    Raises:
        UserError: The file is missing, a row is malformed, or a part is empty.
    """
    rows, repeated = read_revisions(path, own)
    asked: Sequence[AboutPrompt] = [row for _, row in rows] if prompts is None else prompts
    chosen = set(list(dict.fromkeys(map(shared_id, asked)))[:limit])
    taken = [(where, row) for where, row in rows if shared_id(row) in chosen]
    further = len(taken) - len({shared_id(row) for _, row in taken})
    counts = Counter(rows=len(taken), repeated=repeated, other_prompt=len(rows) - len(taken), further=further)
    texts = {prompt_text(row) for _, row in rows}
    aside = frozenset(normalised(text) for text in texts if part(text, shares) != "train")
    corpus = Corpus({"train": [], "validation": [], "test": []}, counts, aside)
    for where, row in taken:
        corpus.parts[part(prompt_text(row), shares)] += _samples(row, where, wanted, corpus.counts)
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
        open_to_training = [chat for chat in chats if is_open(chat.opening, corpus.aside, shares)]
        count = min(round(source.weight * revisions), len(open_to_training))
        corpus.parts["train"] += random.Random(f"{seed}:{source.source}").sample(open_to_training, count)
        corpus.counts.update(chats=len(chats), held_out=len(chats) - len(open_to_training), mixed=count)
    return corpus


def _without_thought(chat: Sample, counts: Counter[str]) -> Sample:
    """A conversation whose response has lost its thoughts, and everything where it was nothing else."""
    words = split_thoughts(chat.response).words
    counts.update(thoughts=words != chat.response, unfinished_thought=not words)
    return replace(chat, response=words)


def is_open(opening: Conversation, aside: frozenset[str], shares: Shares, to: Part = "train") -> bool:
    """Whether a part may hold a conversation, by its opening.

    Args:
        opening: What stands before the response.
        aside: Normalised texts of prompts that are kept from it; one may be the opening, its beginning, or one turn.
        shares: How the prompts are split.
        to: The part.
    """
    turns = [turn for turn in opening if turn["role"] != "system"]
    asked = [n for n, turn in enumerate(turns, 1) if turn["role"] == "user"]
    texts = [text for n in asked for text in (opening_text(turns[:n]), turns[n - 1]["content"])]
    return part(opening_text(turns), shares) == to and aside.isdisjoint(map(normalised, texts))


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


def _targets(row: RecordedRevision, target: Target, where: str) -> list[tuple[str, str | None]]:
    """The responses that are learned from, each with its finish reason, which is null where none was recorded."""
    if target == "initial":
        return [(row.first_response(where), row.endings["response"])]
    reasons = [reason for stage, reason in row.endings.items() if stage.startswith("revision")]
    if target == "revision":
        return [(row.revision, reasons[-1])]
    if not row.rounds:
        raise UserError(f"{where}: no 'rounds' in this row, which target 'rounds' learns from.")
    return [(made.revision, reason) for made, reason in zip(row.rounds, reasons, strict=True)]


def _samples(row: RecordedRevision, where: str, wanted: Wanted, counts: Counter[str]) -> Iterator[Sample]:
    """The responses of one row as samples, cleaned and counted."""
    for response, reason in _targets(row, wanted.target, where):
        cleaned = clean(response, wanted.ascii)
        counts.update(["read", *cleaned.changes])
        if cleaned.is_dropped:
            continue
        if wanted.max_repetition is not None and repeated_ngrams(cleaned.text) > wanted.max_repetition:
            counts["repetitive"] += 1
            continue
        cut = is_cut(cleaned.words, reason) and not cleaned.has_words_behind
        counts.update(cut=cut, look_cut=cut and reason is None)
        if not (cut and wanted.cut_replies == "drop"):
            finished = not cut or wanted.cut_replies == "learn"
            yield Sample(shared_or_own_id(row), wording.opening(row), cleaned.text, finished)
