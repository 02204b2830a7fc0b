"""Pairwise judging: a language model says which of two responses is better, asked in both orders.

judge = PairwiseJudge(JudgeModel("llama3.1"))
judge.load()
preferences = judge.prefer([Pair(id, conversation, first, second)])
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from cai_lightning.run.errors import ReplyError
from cai_lightning.run.records import Conversation
from cai_lightning.services import rubric
from cai_lightning.services.concurrency import for_each
from cai_lightning.services.judge import JudgeClient, JudgeModel, Verdict

Choice = Literal["first", "second", "tie"]


@dataclass(frozen=True)
class Pair:
    """Two responses to one conversation.

    Args:
        id: Names the pair.
        conversation: Ends in a human turn.
        first: A response to it.
        second: Another one.
    """

    id: str
    conversation: Conversation
    first: str
    second: str


@dataclass(frozen=True)
class Preference:
    """What the judge says about a pair in either order.

    Args:
        first_shown_first: The side that is better where the first response is shown first; None without a verdict.
        second_shown_first: The side that is better where the second response is shown first; None without a verdict.
        reason: Why a verdict is missing.
        rationales: What the judge says for its verdicts.
    """

    first_shown_first: Choice | None
    second_shown_first: Choice | None
    reason: str | None = None
    rationales: tuple[str, ...] = ()

    @property
    def preferred(self) -> Choice | None:
        """The side that both orders agree on, a tie where they do not; None is unscored."""
        if self.first_shown_first is None or self.second_shown_first is None:
            return None
        return self.first_shown_first if self.first_shown_first == self.second_shown_first else "tie"


class PairwiseJudge:
    """Says which of two responses is better.

    Two responses that are the same are a tie without asking. A pair with an empty response is unscored.

    Args:
        judge: The model that judges.
    """

    def __init__(self, judge: JudgeModel = JudgeModel()) -> None:
        self.judge = judge
        self._client = JudgeClient(judge)

    def revision(self) -> str:
        """The model and the digest that Ollama reports for it; of another server its name and the address."""
        return self._client.revision()

    def load(self) -> None:
        """Makes sure that the server is there and has the model.

        Raises:
            UserError: It has not.
        """
        self._client.check()

    def prefer(self, pairs: Sequence[Pair], emit: Callable[[Pair, Preference], None] | None = None) -> list[Preference]:
        """What the judge says about each pair.

        Args:
            pairs: They are judged together, some at a time.
            emit: Gets each pair as soon as it is judged.

        Raises:
            UserError: The server would answer no request.
        """
        found: dict[int, Preference] = {}

        def keep(number: int, preference: Preference) -> None:
            found[number] = preference
            if emit:
                emit(pairs[number], preference)

        async def judge(number: int) -> None:
            keep(number, await self._prefer(pairs[number]))

        def set_aside(number: int, error: ReplyError) -> None:
            keep(number, Preference(None, None, str(error)))

        asyncio.run(for_each(judge, range(len(pairs)), self.judge.concurrency, set_aside))
        return [found[number] for number in range(len(pairs))]

    async def _prefer(self, pair: Pair) -> Preference:
        if not pair.first.strip() or not pair.second.strip():
            return Preference(None, None, "empty response")
        if pair.first == pair.second:
            return Preference("tie", "tie")
        forth = await self._ask(pair.conversation, pair.first, pair.second)
        back = await self._ask(pair.conversation, pair.second, pair.first)
        rationales = tuple(verdict.value.rationale for verdict in (forth, back) if verdict.value)
        return Preference(
            _side(forth, "first", "second"), _side(back, "second", "first"), forth.reason or back.reason, rationales
        )

    async def _ask(self, conversation: Conversation, a: str, b: str) -> Verdict[rubric.PairChoice]:
        return await self._client.verdict(rubric.pair_request(conversation, a, b), rubric.read_choice)


def _side(verdict: Verdict[rubric.PairChoice], a: Choice, b: Choice) -> Choice | None:
    """The side that a verdict is for, where `a` was shown first."""
    if verdict.value is None:
        return None
    sides: dict[str, Choice] = {"A": a, "B": b, "tie": "tie"}
    return sides[verdict.value.better]
