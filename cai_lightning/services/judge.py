"""Asking a language model for verdicts until one is valid, and reading what it says.

Reading what a judge says: a verdict that keeps to the rubric, or the reason why it is none. Pure functions.

Asking a language model for verdicts until one is valid.

judging = Judging(JudgeModel("llama3.1"))
ruling = await judging.rule(question, read_verdict)
"""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Generic, Literal, TypeVar

from cai_lightning.run.errors import ReplyError
from cai_lightning.run.text import parse_json
from cai_lightning.run.thoughts import split_thoughts
from cai_lightning.services import rubric
from cai_lightning.services.answers import Answer, AnswerServer, Drawing, Question, fewest_tokens, why_cut, why_too_long
from cai_lightning.services.http import Sleep, TransientError, check_address, check_variable, persist, read_key

Choice = Literal["first", "second", "tie"]

FENCE = "```"
LONGEST_RATIONALE = 1_000
"""Characters of a rationale that are kept."""

_REFUSAL = re.compile(
    r"\W*(?:(?:i['\u2019]?m|i am) (?:very |so )?sorry|sorry|i apologi[sz]e|as an ai[^,.]*)?\W*(?:but )?"
    r"i(?: can(?:no|['\u2019])?t| can not| am (?:not able|unable) to|['\u2019]m (?:not able|unable) to) "
    r"(?:help|assist|comply|fulfill|engage|judge|rate|score|evaluate|assess|provide|continue|do)\b",
    re.IGNORECASE,
)
"""How a model declines, at the beginning of what it says."""


@dataclass(frozen=True)
class Verdict:
    """The two scores of a response, from 1 to 5, and what the judge says for them."""

    rationale: str
    helpfulness: int
    refusal: int


@dataclass(frozen=True)
class PairVerdict:
    """Which of two responses is better, and what the judge says for it."""

    rationale: str
    better: Literal["A", "B", "tie"]


def read_verdict(text: str) -> Verdict:
    """The two scores in what a judge says.

    Raises:
        ValueError: They are not there; the message says what is.
    """
    found = _read(text, {"rationale", "helpfulness", "refusal"})
    return Verdict(found["rationale"], _score(found, "helpfulness"), _score(found, "refusal"))


def read_pair_verdict(text: str) -> PairVerdict:
    """The choice in what a judge says.

    Raises:
        ValueError: It is not there; the message says what is.
    """
    found = _read(text, {"rationale", "better"})
    if found["better"] not in ("A", "B", "tie"):
        raise ValueError(f"better: 'A', 'B' or 'tie' expected, found {_shown(found['better'])}")
    return PairVerdict(found["rationale"], found["better"])


def _read(text: str, keys: set[str]) -> dict[str, Any]:
    try:
        found = parse_json(_unfenced(text))
    except ValueError:
        kind = "the judge refuses" if _refuses(text) else "no JSON"
        raise ValueError(f"{kind}: {_shown(text)}") from None
    if not isinstance(found, dict) or found.keys() != keys:
        raise ValueError(f"an object of {', '.join(sorted(keys))} expected, found {_shown(found)}")
    rationale = found["rationale"]
    if not isinstance(rationale, str):
        raise ValueError(f"rationale: a text expected, found {_shown(rationale)}")
    if _refuses(rationale):
        raise ValueError(f"the judge refuses: {_shown(rationale)}")
    return {**found, "rationale": rationale[:LONGEST_RATIONALE]}


def _unfenced(text: str) -> str:
    """What stands in a block of code, where that is all there is; words around one may quote what is judged."""
    whole = text.strip()
    if not (whole.startswith(FENCE) and whole.endswith(FENCE)):
        return text
    label, brace, rest = whole[len(FENCE) : -len(FENCE)].partition("{")
    return brace + rest if label.strip().lower() in ("", "json") else text


def _refuses(text: str) -> bool:
    """Only the beginning is looked at: the expression would take a minute for a hostile text of 100,000 signs."""
    return bool(_REFUSAL.match(text[:200]))


def _score(found: dict[str, Any], name: str) -> int:
    score = found[name]
    if type(score) is not int or not 1 <= score <= 5:
        raise ValueError(f"{name}: a whole number from 1 to 5 expected, found {_shown(score)}")
    return score


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."


T = TypeVar("T")


@dataclass(frozen=True)
class JudgeModel:
    """The model that judges, and how it is asked.

    Args:
        model: Its name, as the server knows it.
        base_url: The server's address; with `protocol: openai` it ends in /v1, and verdicts of another address are
            asked for again, since that protocol tells no digest of a model.
        protocol: `ollama` speaks Ollama's own, `openai` that of any OpenAI-compatible server.
        api_key_variable: With `protocol: openai` the environment variable that holds the key, which a server on this
            machine can do without; null where no server needs one.
        num_ctx: Tokens of question and verdict together. Ollama is told to make room for them; of another server it is
            what it has. A question that does not fit is unscored.
        num_predict: Tokens that a verdict may take.
        seed: Seed of the first question.
        tries: Verdicts asked for until one is valid, each with the next seed.
        retry_temperature: Temperature of all but the first, which has 0: there a seed would change nothing.
        concurrency: Questions in flight.
        max_retries: Tries of a question after the first while the server fails, after waits that double from a second
            on.
        max_wait: The longest of these waits, in seconds; a server that asks for a longer one is given up.
        timeout: Seconds after which an unanswered question is asked again.
    """

    INCIDENTAL: ClassVar[frozenset[str]] = frozenset(
        {"base_url", "api_key_variable", "concurrency", "max_retries", "max_wait", "timeout"}
    )

    model: str = "llama3.1"
    base_url: str = "http://127.0.0.1:11434"
    protocol: Literal["ollama", "openai"] = "ollama"
    api_key_variable: str | None = "OPENAI_API_KEY"
    num_ctx: int = 8192
    num_predict: int = 512
    seed: int = 42
    tries: int = 3
    retry_temperature: float = 0.7
    concurrency: int = 4
    max_retries: int = 5
    max_wait: float = 120.0
    timeout: float = 600.0

    def __post_init__(self) -> None:
        least = {"num_predict": 1, "tries": 1, "concurrency": 1, "seed": 0, "max_retries": 0}
        least |= {"num_ctx": self.num_predict + 1, "retry_temperature": 0, "max_wait": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"judge.{name}: at least {value} expected, found {getattr(self, name)}")
        if self.timeout <= 0:
            raise ValueError(f"judge.timeout: more than 0 expected, found {self.timeout}")
        check_address(self.base_url, "judge.base_url")
        check_variable(self.api_key_variable)


@dataclass(frozen=True)
class Ruling(Generic[T]):
    """What came of a question.

    Args:
        verdict: The first valid verdict; None where there is none.
        reason: Why there is none.
        tries: Verdicts that were asked for.
    """

    verdict: T | None
    reason: str | None
    tries: int


class Judging:
    """Asks for verdicts. The server is reached for only when it is needed.

    Args:
        judge: The model that judges.
        sleep: Waits so many seconds.
    """

    def __init__(self, judge: JudgeModel, sleep: Sleep = asyncio.sleep) -> None:
        self.judge = judge
        self._server = _connect(judge)
        self._sleep = sleep

    def check(self) -> None:
        """Makes sure that the server is there and has the model.

        Raises:
            UserError: It has not.
        """
        self._server.check(self.judge.num_ctx)

    def revision(self) -> str:
        """What stands behind the model's name, and the rubric's digest, for verdicts by another are other verdicts;
        raises as `check` does."""
        return f"{self._server.revision()}, rubric {rubric.digest()}"

    async def rule(self, question: Question, read: Callable[[str], T]) -> Ruling[T]:
        """The first valid verdict.

        Args:
            question: What is asked.
            read: Reads a verdict in the words of the judge, or raises a ValueError that says why it is none.

        Raises:
            ReplyError: The server fails, and may fail others too; a question that it refuses is a ruling.
            UserError: It would answer no question.
        """
        judge = self.judge
        if why := why_too_long(question.size, judge.num_predict, judge.num_ctx):
            return Ruling(None, why, 0)
        reason = ""
        for number in range(judge.tries):
            temperature = judge.retry_temperature if number else 0.0
            drawing = Drawing(temperature, judge.seed + number, judge.num_predict, judge.num_ctx)
            try:
                answer = await self._ask(question, drawing)
            except TransientError as error:
                raise ReplyError(str(error)) from error
            except ReplyError as error:
                return Ruling(None, str(error), number + 1)
            fewest = fewest_tokens(question.messages)
            if why := why_cut(question.size, fewest, answer.prompt_tokens, judge.num_predict, judge.num_ctx):
                return Ruling(None, why, number + 1)
            try:
                return Ruling(_read_whole(answer, read), None, number + 1)
            except ValueError as error:
                reason = str(error)
        return Ruling(None, f"no valid verdict in {judge.tries} tries; the last: {reason}", judge.tries)

    async def _ask(self, question: Question, drawing: Drawing) -> Answer:
        attempt = partial(self._server.answer, question, drawing)
        return await persist(attempt, self.judge.max_retries, self.judge.max_wait, self._sleep)


def _read_whole(answer: Answer, read: Callable[[str], T]) -> T:
    if answer.refusal:
        raise ValueError(f"the judge refuses: {answer.refusal[:120]!r}")
    if not answer.ended:
        raise ValueError(f"the verdict was cut at num_predict: {answer.text[:120]!r}")
    return read(_words(answer.text))


def _words(text: str) -> str:
    """What a judge says, without what it thought before; in a verdict alone, tags are words."""
    return text if text.lstrip().startswith("{") else split_thoughts(text).words


def _connect(judge: JudgeModel) -> AnswerServer:
    if judge.protocol == "ollama":
        from cai_lightning.services.ollama import OllamaServer

        return OllamaServer(judge.model, judge.base_url, judge.timeout)
    from cai_lightning.services.openai import OpenAIServer

    return OpenAIServer(judge.model, judge.base_url, read_key(judge.api_key_variable, [judge.base_url]), judge.timeout)
