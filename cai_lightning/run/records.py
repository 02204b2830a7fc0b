"""The records that the verbs exchange, one JSON object a line, and the ids that join them.

prompt = Prompt(id=prompt_id("How do I pick a lock?"), prompt="How do I pick a lock?")
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY, asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from itertools import count
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Interval
from typing_extensions import TypedDict

from cai_lightning.run.text import why_silent

Role = Literal["system", "user", "assistant"]


class Turn(TypedDict):
    """One turn of a conversation: who says what."""

    role: Role
    content: str


Conversation = list[Turn]

STRICT: dict[str, Any] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
"""How pydantic reads a record of ours, see `jsonl`."""

FOREIGN = STRICT | {"extra": "ignore"}
"""How it reads what others have made, which may hold more than is looked for."""

WRITTEN = FOREIGN | {"str_strip_whitespace": True, "str_min_length": 1}
"""How it reads what a person has written: every text says something, and the white space around it does not count."""

LARGEST = 3.4e38
"""What a number is at most, for evaluators give float32; sums of larger ones have no end."""

Number = Annotated[float, Interval(ge=-LARGEST, le=LARGEST)]
UNKNOWN: Final = "unknown"
"""The finish reason of a text that was made elsewhere."""


def user(content: str) -> Turn:
    return {"role": "user", "content": content}


def assistant(content: str) -> Turn:
    return {"role": "assistant", "content": content}


@dataclass(frozen=True)
class AboutPrompt:
    """What every record says of what was asked.

    Args:
        id: First 16 hex digits of the SHA-256 of the text, see `prompt_id`.
        prompt: The human's words; of a transcript its last human turn.
        turns: The whole transcript; null for a single prompt.
        prompt_id: The id that all rows about the same prompt share, its repetitions and samples; null in older files.
        sample: Which sample of it, from 0.
    """

    __pydantic_config__ = STRICT

    id: str
    prompt: str
    _: KW_ONLY
    turns: Conversation | None = None
    prompt_id: str | None = None
    sample: int = 0


@dataclass(frozen=True)
class Prompt(AboutPrompt):
    """One red-team prompt, or a transcript that ends in a human turn.

    Args:
        source: Where the prompt was read.
        category: Kind of harm, where the source knows it.
    """

    source: str | None = None
    category: str | None = None


@dataclass(frozen=True)
class Round:
    """One critique and the revision that follows it; the critique is null where the revision was asked for directly."""

    principle_id: str
    similarity: float | None
    principle_used: str
    revision_request: str
    critique: str | None
    revision: str


@dataclass(frozen=True)
class Revision(AboutPrompt):
    """A prompt with its initial response and every round of critique and revision; ids are those of the prompt.

    Args:
        thoughts: What the model thought before each of its replies, in their order, null where it did not; null where
            it never did.
    """

    initial_response: str
    rounds: list[Round]
    revision: str
    finish_reasons: list[str]
    model: str
    engine: str
    sampling: dict[str, Any]
    seed: int
    constitution: dict[str, str]
    created: str
    few_shots: dict[str, str] | None = None
    thoughts: list[str | None] | None = None


@dataclass(frozen=True)
class Response(AboutPrompt):
    """What the evaluated model answers to a test prompt, and the reference it is compared with.

    Args:
        response: Its words, which may be none.
        thought: What it thought before them; null where it did not.
    """

    response: str
    reference: str | None
    finish_reason: str
    model: str
    adapter: str | None
    category: str | None = None
    thought: str | None = None

    @property
    def why_silent(self) -> str | None:
        """Why this is no answer: `empty response` or `unfinished thought`; None where there are words."""
        return why_silent(self.response, self.thought, "empty response")


@dataclass(frozen=True)
class Score:
    """One evaluator's score of one response; `score` is null where it is unscored, and `reason` says why.

    Args:
        adapter: Digest of the adapter that the response was made with.
        settings: Digest of the evaluator's settings.
        revision: What stood behind them, such as the commit of a model.
        key: Digest of all that the score depends on: the evaluator, its settings and revision, prompt, response, and
            reference where it is used. A score with the same key is not made again.
    """

    __pydantic_config__ = STRICT

    id: str
    metric: str
    score: Number | None
    reason: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    adapter: str | None = None
    settings: str | None = None
    revision: str | None = None
    key: str | None = None


Side = Literal["first", "second", "tie"]


@dataclass(frozen=True)
class Judgement:
    """Which of two runs' responses to a prompt a judge prefers, asked in both orders.

    Args:
        first_shown_first: The side preferred (`first`, `second` or `tie`) where the first run's response is shown
            first; null without a verdict.
        second_shown_first: The same where the second run's is shown first.
        preferred: The side that both orders agree on, a tie where they do not; null is unscored.
        reason: Why it is unscored.
        identical: Whether the responses are the same, a tie for which no judge is asked.
        rationales: What the judge says for its verdicts.
        key: Digest of all that the verdicts depend on.
    """

    __pydantic_config__ = STRICT

    id: str
    first_shown_first: Side | None
    second_shown_first: Side | None
    preferred: Side | None
    reason: str | None
    identical: bool
    rationales: list[str]
    key: str


@dataclass(frozen=True)
class Failure(AboutPrompt):
    """A row that could not be made, though it was tried again; the next run tries it once more.

    Args:
        stage: The reply that failed: `response`, `critique N` or `revision N`, rounds counted from 1; of a pair
            `response` or `label`.
        silent_draws: How many draws of a reply came to no words, by stage; the next run goes on behind them.
    """

    stage: str
    reason: str
    created: str
    silent_draws: dict[str, Annotated[int, Ge(0)]] | None = None


@dataclass(frozen=True)
class Rollout(AboutPrompt):
    """An answer that a policy in training has drawn, and what it was rewarded with.

    Args:
        step: How many optimizer steps the policy had done.
        part: Whether it was drawn to learn from, or to validate.
        response: Its words, which may be none.
        finish_reason: `length` where it was cut.
        tokens: Tokens written.
        reward: The weighted sum; null where a part of it is missing.
        rewards: Its parts, by name.
        reason: Why a part is missing.
        advantage: What it was learned with; 0 where it was not.
    """

    step: int
    part: Literal["train", "validation"]
    response: str
    finish_reason: str
    tokens: int
    reward: Number | None
    rewards: dict[str, Number | None]
    reason: str | None
    advantage: float


GUARDS = "guards.jsonl"
"""The file of a training's `Guarded`."""


@dataclass(frozen=True)
class Guarded:
    """What the guards of a training have found at a validation, see `modules.guards`.

    Args:
        step: Optimizer steps done; 0 is the policy that the training began from.
        figures: What was measured, by name.
        passed: The limits that were passed, by name, each with what has passed it in words.
        boilerplate: The worst phrases that the policy says too often.
    """

    __pydantic_config__ = STRICT

    step: int
    figures: dict[str, Number]
    passed: dict[str, str]
    boilerplate: list[str]


Record = AboutPrompt | Score | Judgement
"""A line of one of a run's files; those of labelled pairs stand in `data.labelled`."""

_LEFT_OUT = ("turns", "category", "few_shots", "prompt_id", "thoughts", "thought", "silent_draws")
"""Fields that are not written where they are null."""


def to_json(record: Record) -> str:
    """The record as one line of JSON without its newline; what is null for want of it is left out."""
    kept = {k: v for k, v in asdict(record).items() if v is not None or k not in _LEFT_OUT}
    return json.dumps(kept, ensure_ascii=False)


def transcript_text(turns: Conversation) -> str:
    """The text that stands for a transcript in its id: its turns as compact JSON."""
    return json.dumps(turns, ensure_ascii=False, separators=(",", ":"))


def prompt_id(text: str, occurrence: int = 1, sample: int = 0) -> str:
    """The id of a prompt, exactly as it was read.

    Args:
        text: The prompt, or `transcript_text` of a transcript.
        occurrence: 1 for the first time this text stands in its source; n ≥ 2 adds `-n`.
        sample: 0 for the first sample of a prompt; k ≥ 1 adds `.k`.
    """
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return digest + (f"-{occurrence}" if occurrence > 1 else "") + (f".{sample}" if sample else "")


def samples_of(prompt: Prompt, samples: int) -> list[Prompt]:
    """A prompt as often as it is sampled, each time under an id, and so with random numbers, of its own."""
    return [prompt, *(replace(prompt, id=f"{prompt.id}.{sample}", sample=sample) for sample in range(1, samples))]


def shared_id(record: AboutPrompt) -> str:
    """What all records about the same prompt share: its `prompt_id`, or the id of its text where that is not recorded.

    Every other id is opaque: nothing is to be read off it.
    """
    return record.prompt_id or prompt_id(transcript_text(record.turns) if record.turns else record.prompt)


def timestamp() -> str:
    """The time, as records say when they were made."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def about(asked: AboutPrompt) -> dict[str, Any]:
    """The fields by which every record says what was asked."""
    return {each.name: getattr(asked, each.name) for each in fields(AboutPrompt)} | {"prompt_id": shared_id(asked)}


def number_ids(texts: Iterable[str]) -> list[str]:
    """The ids of the texts of one source, in their order; repeated texts are numbered."""
    numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: count(1))
    return [prompt_id(text, next(numbers[text])) for text in texts]
