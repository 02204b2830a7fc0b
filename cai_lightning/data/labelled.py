"""Labelled responses: which of two is better, by people or by a feedback model; and whether one is good, by people.

    labelled = read_labelled(Path("438HHHEvaluations.jsonl"))
    labelled.pairs[0].chosen, labelled.pairs[0].rejected

    preferences = read_records(run / "preferences.jsonl", Preference)
    preferences[id].probability  # that the first is better, whatever was shown first

A row of people's is known by its fields, see `FORMATS`. Rows that compare nothing are left out and counted. What was
thought before a response is no part of it.
"""

from collections import Counter
from dataclasses import KW_ONLY, dataclass, field, replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

from annotated_types import Interval, Len

from cai_lightning.data.prompts import (
    Part,
    Shares,
    opening_text,
    optional_text_of,
    part,
    read_rows,
    right_option,
    text_of,
    turns_of,
)
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import Row, check
from cai_lightning.run.records import STRICT, AboutPrompt, Conversation, user
from cai_lightning.run.text import excerpt, split_thoughts

FORMATS = (
    "text_correct and text_incorrect, two transcripts (the paper's 438HHHEvaluations)",
    "prompt and corrects, a conversation with the question whether the assistant was ethical (HarmfulVsEthical)",
    "chosen and rejected, two transcripts (hh-rlhf) or two lists of role and content, perhaps behind a prompt",
    "chosen and rejected, two responses, with prompt (a text) or turns (a list of role and content)",
    "response and label (true is good, false is bad), with prompt or turns",
)
"""The rows that are read; one with prompt or turns may hold a reference besides."""

EQUAL = "both responses are equal"
EMPTY = "a response is empty"
OTHER_DIALOGUE = "the dialogues differ before the response"

_OPTIONS = {"The assistant was harmful or unethical.": False, "The assistant behaved ethically.": True}
_QUESTION = "\n\nChoose the option that best characterizes the behavior of the assistant"

Share = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True)
class LabelledPair:
    """Two responses to one conversation.

    Args:
        conversation: What was said before; it ends in a human turn.
        chosen: The better response.
        rejected: The worse response.
        reference: A response to compare both with, where the row has one.
    """

    conversation: Conversation
    chosen: str
    rejected: str
    reference: str | None = None


@dataclass(frozen=True)
class LabelledResponse:
    """One response and whether it is good; the other fields are those of a pair."""

    conversation: Conversation
    response: str
    good: bool
    reference: str | None = None


@dataclass(frozen=True)
class Labelled:
    """The labels of a file, which holds comparisons or single responses.

    Args:
        pairs: Its comparisons, in the order of the file.
        singles: Its labelled single responses.
        rows: How many rows were read.
        left_out: How many rows were left out, by reason.
    """

    pairs: list[LabelledPair] = field(default_factory=list)
    singles: list[LabelledResponse] = field(default_factory=list)
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def read_labelled(path: Path | str, limit: int | None = None, split: str = "train") -> Labelled:
    """The labelled responses of a JSON Lines file, plain or gzip, or of a Hugging Face dataset.

    Args:
        path: The file, or `hf:NAME`.
        limit: Reads the first so many rows; null reads all.
        split: Split of a Hugging Face dataset.

    Raises:
        UserError: The file is missing, a row is malformed, no row can be used, or comparisons and single responses are
            mixed.
    """
    if not str(path).startswith("hf:") and not Path(path).is_file():
        raise UserError(f"{path}: no such file of labelled comparisons.")
    rows = [_read(row, where) for where, row in islice(read_rows(str(path), split), limit)]
    pairs = [row for row in rows if isinstance(row, LabelledPair)]
    singles = [row for row in rows if isinstance(row, LabelledResponse)]
    left_out = Counter(row for row in rows if isinstance(row, str))
    if not pairs and not singles:
        why = "; ".join(f"{reason}: {count}" for reason, count in left_out.items())
        raise UserError(f"{path}: no labelled response in it{f' ({why})' if why else ''}.")
    if pairs and singles:
        raise UserError(f"{path}: comparisons and single responses are mixed; give each a file of its own.")
    return Labelled(pairs, singles, len(rows), left_out)


def in_part(labelled: Labelled, name: Part, shares: Shares) -> Labelled:
    """The labels whose conversation is in one part of every experiment.

    Raises:
        UserError: There are none.
    """

    def is_in(row: LabelledPair | LabelledResponse) -> bool:
        return part(opening_text(row.conversation), shares) == name

    pairs, singles = [row for row in labelled.pairs if is_in(row)], [row for row in labelled.singles if is_in(row)]
    others = len(labelled.pairs) + len(labelled.singles) - len(pairs) - len(singles)
    if not pairs and not singles:
        raise UserError(f"--part {name}: none of {others} labels is in this part.")
    left_out = labelled.left_out + Counter({f"their prompt is not in the {name} part": others})
    return replace(labelled, pairs=pairs, singles=singles, left_out=left_out)


def _read(row: Row, where: str) -> LabelledPair | LabelledResponse | str:
    """What a row holds, or why it is left out."""
    asks = "prompt" in row or "turns" in row
    if {"text_correct", "text_incorrect"} <= row.keys():
        return _two_transcripts(row, where, "text_correct", "text_incorrect")
    if {"prompt", "corrects"} <= row.keys():
        return _ethical_or_not(row, where)
    if {"chosen", "rejected"} <= row.keys():
        if isinstance(row["chosen"], list):
            return _two_lists(row, where)
        return _two_responses(row, where) if asks else _two_transcripts(row, where, "chosen", "rejected")
    if asks and {"response", "label"} <= row.keys():
        return _one_response(row, where)
    raise UserError(f"{where}: no labels in the fields {excerpt(sorted(row))}. A row has {'; '.join(FORMATS)}.")


def _two_transcripts(row: Row, where: str, better: str, worse: str) -> LabelledPair | str:
    conversation, chosen = _split(text_of(row, better, where), f"{where}, {better!r}")
    other, rejected = _split(text_of(row, worse, where), f"{where}, {worse!r}")
    return _pair(conversation, chosen, rejected) if conversation == other else OTHER_DIALOGUE


def _two_responses(row: Row, where: str) -> LabelledPair | str:
    chosen, rejected = (_response(row, field, where) for field in ("chosen", "rejected"))
    return _pair(_conversation(row, where), chosen, rejected, optional_text_of(row, "reference", where))


def _two_lists(row: Row, where: str) -> LabelledPair | str:
    """Two lists of messages: whole conversations, or what follows the row's prompt."""
    (before, chosen), (other, rejected) = (_last_of(row, field, where) for field in ("chosen", "rejected"))
    if before != other:
        return OTHER_DIALOGUE
    if not before and not {"prompt", "turns"} & row.keys():
        raise UserError(f"{where}: 'chosen' begins with an answer, and there is no 'prompt': {excerpt(row['chosen'])}")
    return _pair(before or _conversation(row, where), chosen, rejected)


def _last_of(row: Row, field: str, where: str) -> tuple[Conversation, str]:
    """What stands before the last message of a list, and its words; empty where it is none of the assistant's."""
    messages = check(Conversation, row[field], where, field)
    if not messages or messages[-1]["role"] != "assistant":
        return messages, ""
    return messages[:-1], _words(messages[-1]["content"])


def _pair(conversation: Conversation, chosen: str, rejected: str, reference: str | None = None) -> LabelledPair | str:
    if not chosen or not rejected:
        return EMPTY
    return EQUAL if chosen == rejected else LabelledPair(conversation, chosen, rejected, reference)


def _ethical_or_not(row: Row, where: str) -> LabelledResponse | str:
    """A row of HarmfulVsEthical: the conversation stands in the prompt, between a heading and a question."""
    dialogue, _, question = text_of(row, "prompt", where).rpartition(_QUESTION)
    good = _OPTIONS.get(right_option(row, question, where))
    if good is None:
        raise UserError(f"{where}: 'corrects' must name the option {' or '.join(map(repr, _OPTIONS))}: {excerpt(row)}")
    conversation, response = _split(dialogue[dialogue.find("\n\nHuman:") :], where)
    return LabelledResponse(conversation, response, good) if response else EMPTY


def _one_response(row: Row, where: str) -> LabelledResponse | str:
    conversation, response, label = _conversation(row, where), _response(row, "response", where), row["label"]
    if label not in (0, 1):
        raise UserError(f"{where}: 'label' must be true (good) or false (bad), not {excerpt(label)}")
    reference = optional_text_of(row, "reference", where)
    return LabelledResponse(conversation, response, bool(label), reference) if response else EMPTY


def _split(transcript: str, where: str) -> tuple[Conversation, str]:
    """A transcript up to the last response, and that response; empty where it ends in a human turn."""
    turns = turns_of(transcript, where)
    return (turns[:-1], _words(turns[-1]["content"])) if turns[-1]["role"] == "assistant" else (turns, "")


def _conversation(row: Row, where: str) -> Conversation:
    field = "turns" if "turns" in row else "prompt"
    if field == "prompt" and not isinstance(row["prompt"], list):
        return [user(text_of(row, "prompt", where))]
    turns = check(Conversation, row[field], where, field)
    if not turns or turns[-1]["role"] != "user" or not all(turn["content"].strip() for turn in turns):
        raise UserError(f"{where}: {field!r} must say something, and must end in a turn of the user: {excerpt(turns)}")
    return turns


def _response(row: Row, field: str, where: str) -> str:
    is_blank = isinstance(row[field], str) and not row[field].strip()
    return "" if is_blank else _words(text_of(row, field, where))


def _words(response: str) -> str:
    return split_thoughts(response).words.strip()


@dataclass(frozen=True)
class Reading:
    """One reading of the question which of two responses is better.

    Args:
        share: Probability of the option that is shown first, "(A)", as a share of that of both.
        mass: Probability of both: little of it says that the model would answer something else.
        thought: The chain of thought that it was read behind; null where there was none.
    """

    __pydantic_config__ = STRICT

    share: Share
    mass: Share
    thought: str | None = None


@dataclass(frozen=True)
class Label:
    """What the feedback model says of a pair under one principle, in both orders.

    Args:
        principle_id: The principle.
        first_shown_first: The readings where the first response is "(A)": one, or as many as there are chains of
            thought.
        second_shown_first: The same where the second one is.
    """

    __pydantic_config__ = STRICT

    principle_id: str
    first_shown_first: Annotated[list[Reading], Len(1)]
    second_shown_first: Annotated[list[Reading], Len(1)]

    @property
    def readings(self) -> list[Reading]:
        """Those of both orders."""
        return [*self.first_shown_first, *self.second_shown_first]

    @property
    def probability(self) -> float:
        """That the first response is better, whatever stands first: the mean over both orders."""
        return (_mean_share(self.first_shown_first) + 1 - _mean_share(self.second_shown_first)) / 2

    @property
    def position_bias(self) -> float:
        """How much more what is shown first is preferred for that alone, from -1/2 to 1/2."""
        return (_mean_share(self.first_shown_first) + _mean_share(self.second_shown_first)) / 2 - 0.5


def _mean_share(readings: list[Reading]) -> float:
    return fmean(reading.share for reading in readings)


@dataclass(frozen=True)
class Sampled(AboutPrompt):
    """Two responses to a prompt; the id is that of the prompt with `.pK` behind it for its K-th pair, from 0.

    Args:
        first: The response of sample 2K.
        second: That of sample 2K + 1.
        finish_reasons: How each of them ended.
        model: The model that responded.
        adapter: Digest of the adapter that it did so with; null for none.
        engine: Kind of the engine that served it.
        sampling: How the responses were drawn.
        seed: Seed of their drawing, and of that of the principles.
        created: When the last of them was finished.
        thoughts: What the model thought before each; null where it never did.
    """

    first: str
    second: str
    finish_reasons: Annotated[list[str], Len(2, 2)]
    model: str
    adapter: str | None
    engine: str
    sampling: dict[str, Any]
    seed: int
    created: str
    _: KW_ONLY
    thoughts: list[str | None] | None = None


@dataclass(frozen=True)
class Pair(Sampled):
    """A pair that waits for its labels."""


@dataclass(frozen=True)
class Preference(Sampled):
    """A pair with what a feedback model says of it.

    Args:
        labels: One for each principle; none where the responses are identical, for which nobody was asked.
        feedback: The feedback model: its `model`, `engine`, and how it was asked.
        constitution: Name and digest of the preference principles.
        few_shots: Name and digest of the comparisons in front of the question; null where there are none.
    """

    labels: list[Label]
    feedback: dict[str, Any]
    constitution: dict[str, str]
    few_shots: dict[str, str] | None = None

    @property
    def probability(self) -> float:
        """That the first response is better, the mean over all principles and both orders; 1/2 without labels."""
        return fmean(label.probability for label in self.labels) if self.labels else 0.5
