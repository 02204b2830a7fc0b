"""The corpus of fine-tuning: the revisions of a run, cleaned and split, with a count of everything that was changed.

corpus = read_corpus(Path("runs/qwen_contextual/revisions.jsonl"), Wanted("rounds"))
corpus.parts["train"][0].response
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cai_lightning.data.characters import Ascii
from cai_lightning.data.chats import Chat, Mixture, read_chats
from cai_lightning.data.cleaning import clean
from cai_lightning.data.defects import is_cut, repeated_ngrams
from cai_lightning.data.revisions import RecordedRevision, read_revisions, shared_or_own_id
from cai_lightning.data.split import Part, Shares, normalised, part, prompt_text
from cai_lightning.principles import wording
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Conversation, Prompt, prompt_id, shared_id, transcript_text
from cai_lightning.run.text import split_thoughts

Target = Literal["revision", "rounds", "initial"]

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
        own: Whether this is the run's own file, see `read_revisions`.

    Raises:
        UserError: The file is missing, a row is malformed, or a part is empty.
    """
    found, repeated = read_revisions(path, own)
    rows = [(_prompt(row), where, row) for where, row in found]
    source = [prompt for prompt, *_ in rows] if prompts is None else prompts
    chosen = set(list(dict.fromkeys(map(shared_id, source)))[:limit])
    taken = [row for row in rows if shared_id(row[0]) in chosen]
    texts = {prompt_text(prompt) for prompt, *_ in rows}
    aside = frozenset(normalised(text) for text in texts if part(text, shares) != "train")
    corpus = Corpus({"train": [], "validation": [], "test": []}, Counter(), aside)
    further = len(taken) - len({shared_id(prompt) for prompt, *_ in taken})
    corpus.counts.update(rows=len(taken), repeated=repeated, other_prompt=len(rows) - len(taken), further=further)
    for prompt, where, row in taken:
        samples = corpus.parts[part(prompt_text(prompt), shares)]
        samples += _samples(prompt, _targets(row, wanted.target, where), wanted, corpus.counts)
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


def _prompt(row: RecordedRevision) -> Prompt:
    return Prompt(shared_or_own_id(row), row.prompt, turns=row.turns, prompt_id=shared_id(row), sample=row.sample)


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


def _samples(
    prompt: Prompt, targets: Sequence[tuple[str, str | None]], wanted: Wanted, counts: Counter[str]
) -> Iterator[Sample]:
    """The responses of one row as samples, cleaned and counted."""
    for response, reason in targets:
        cleaned = clean(response, wanted.ascii)
        counts.update(["read", *cleaned.changes])
        if cleaned.is_dropped:
            continue
        if wanted.max_repetition is not None and repeated_ngrams(cleaned.text) > wanted.max_repetition:
            counts["repetitive"] += 1
            continue
        cut = is_cut(cleaned.words, reason) and not cleaned.has_words_behind
        if cut:
            counts.update(["cut", *(["look_cut"] if reason is None else [])])
        if not (cut and wanted.cut_replies == "drop"):
            yield Sample(prompt.id, wording.opening(prompt), cleaned.text, not cut or wanted.cut_replies == "learn")
