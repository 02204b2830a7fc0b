"""The corpus of fine-tuning: the revisions of a run, cleaned and split, with a count of everything that was changed."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cai_lightning import chat, journal
from cai_lightning.data.characters import Ascii
from cai_lightning.data.chats import Chat, Mixture, read_chats
from cai_lightning.data.cleaning import clean, has_words_behind
from cai_lightning.data.endings import finish_reasons, is_cut
from cai_lightning.data.repetition import repeated_ngrams
from cai_lightning.data.split import Part, Shares, normalised, part, prompt_text
from cai_lightning.errors import UserError
from cai_lightning.records import Conversation, Prompt, prompt_id, transcript_text, without_sample
from cai_lightning.thoughts import split_thoughts

Target = Literal["revision", "rounds", "initial"]
CutReplies = Literal["open", "drop", "learn"]


@dataclass(frozen=True)
class Sample:
    """A conversation to learn from: its opening and the cleaned response, whose end is learned where it is finished."""

    id: str
    opening: Conversation
    response: str
    finished: bool = True


@dataclass(frozen=True)
class Corpus:
    """The samples of each part; how many `rows` and how many responses in them were `read`, and in how many of these
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
    target: Target,
    shares: Shares = Shares(),
    prompts: Sequence[Prompt] | None = None,
    limit: int | None = None,
    ascii: Ascii = "typography",
    cut_replies: CutReplies = "open",
    max_repetition: float | None = None,
) -> Corpus:
    """Reads a run's revisions; the raw rows stay as they are.

    A reply that was cut behind the end of its answer, in words about it that cleaning takes away, is a finished answer.

    Args:
        path: A run's `revisions.jsonl`.
        target: Learns from the last `revision`, from those of all `rounds` (as in the paper), or from the `initial`
            response (the control).
        shares: How the prompts are split.
        prompts: Takes the rows of these prompts alone; null takes all.
        limit: Takes the rows of the first so many prompts of `prompts`, or of the file; samples of a prompt are one.
        ascii: How plain the characters of the responses shall be, as in `plain`; `all` drops those that cannot be.
        cut_replies: What is done with replies that were cut: `open` says that they are not finished, `drop` leaves them
            out, `learn` takes them as finished.
        max_repetition: Leaves out responses with a larger share of repeated 4-grams, see `repeated_ngrams`; null takes
            all.

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
            _add(corpus, row, path, target, shares, ascii, cut_replies, max_repetition)
    for name in ("train", "validation"):
        if not corpus.parts[name]:
            raise UserError(
                f"{path}: of its {corpus.counts['rows']} rows none is in the {name} part"
                f"{_dropped(corpus, cut_replies)}; take more, or change data.shares."
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


def _rows(path: Path) -> list[journal.Row]:
    if not path.exists() and not journal.rank_files(path):
        raise UserError(f"{path}: no revisions there. Run predict first, or name another file in data.corpus.")
    rows = list(journal.read(path).values())
    if not rows:
        raise UserError(f"{path}: the file holds no revisions.")
    return rows


def _dropped(corpus: Corpus, cut_replies: CutReplies) -> str:
    """What may have emptied a part, for the message about it."""
    counts = corpus.counts
    dropped = {
        "are cut": counts["cut"] if cut_replies == "drop" else 0,
        "are empty": counts["empty"],
        "repeat themselves": counts["repetitive"],
        "are unfinished thoughts": counts["unfinished_thought"],
        "have letters that are not English": counts["other_letters"],
    }
    told = [f"{count} {why}" for why, count in dropped.items() if count]
    return f" ({', '.join(told)})" if told else ""


def _add(
    corpus: Corpus,
    row: journal.Row,
    path: Path,
    target: Target,
    shares: Shares,
    ascii: Ascii,
    cut_replies: CutReplies,
    max_repetition: float | None,
) -> None:
    prompt = _prompt(row, path)
    samples = corpus.parts[part(prompt_text(prompt), shares)]
    corpus.counts["rows"] += 1
    for response, reason in _targets(row, path, target):
        cleaned = clean(response, ascii)
        corpus.counts.update(["read", *cleaned.changes])
        if cleaned.is_dropped:
            continue
        if max_repetition is not None and repeated_ngrams(cleaned.text) > max_repetition:
            corpus.counts["repetitive"] += 1
            continue
        words = split_thoughts(response).words
        cut = is_cut(words, reason) and not has_words_behind(words)
        if cut:
            corpus.counts.update(["cut", *(["look_cut"] if reason is None else [])])
        if not (cut and cut_replies == "drop"):
            finished = not cut or cut_replies == "learn"
            samples.append(Sample(prompt.id, chat.opening(prompt), cleaned.text, finished))


def _prompt(row: journal.Row, path: Path) -> Prompt:
    return Prompt(_text(row, "id", path), _text(row, "prompt", path), turns=row.get("turns"))


def _targets(row: journal.Row, path: Path, target: Target) -> Iterator[tuple[str, str | None]]:
    """The responses of a row that are learned from, each with its finish reason."""
    rounds = row.get("rounds")
    wanted = isinstance(rounds, list) and rounds and all(isinstance(made, dict) for made in rounds)
    if not wanted and (target == "rounds" or rounds is not None):
        raise UserError(f"{path}, row {row['id']}: field 'rounds' shall be a list of rounds, found {rounds!r}.")
    reasons = finish_reasons(row, f"{path}, row {row['id']}")
    if target == "rounds":
        texts = [_text({"id": row["id"], **made}, "revision", path) for made in row["rounds"]]
        yield from zip(texts, reasons.revisions, strict=True)
    elif target == "initial":
        yield _text(row, "initial_response", path), reasons.response
    else:
        yield _text(row, "revision", path), reasons.revisions[-1]


def _prompt_id(row: journal.Row) -> str:
    return without_sample(str(row["id"]))


def _text(row: dict[str, Any], field: str, path: Path) -> str:
    if not isinstance(row.get(field), str):
        raise UserError(f"{path}, row {row.get('id')}: field {field!r} shall be a text, found {row.get(field)!r}.")
    return str(row[field])
