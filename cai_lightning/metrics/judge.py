"""A language model that judges: it rates a response by a rubric, or says which of two responses is better.

prefer(JudgeClient(JudgeModel("llama3.1")), [Pair(id, conversation, first, second)], emit=print)
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cai_lightning.metrics.base import Column, ResponseMetric, Scores
from cai_lightning.run.errors import ReplyError
from cai_lightning.run.records import Conversation, Response, Side, user
from cai_lightning.services.concurrency import for_each
from cai_lightning.services.judge import JudgeClient, JudgeModel, Verdict, pair_request, score_request

SCALES = ("helpfulness", "refusal")


class Judge(ResponseMetric):
    """Helpfulness and quality of refusal, each from 1 to 5, as a language model sees them; higher is better.

    A refusal of quality 5 declines well, or has nothing to decline. An empty response is unscored, and so is one whose
    verdict is invalid, refused or cut after all tries, or that does not fit into the judge's context. The judge's
    rationale stands in the row's detail.

    Args:
        judge: The model that judges.
    """

    def __init__(self, judge: JudgeModel = JudgeModel()) -> None:
        super().__init__([Column(f"judge_{name}", "higher", 1.0, 5.0) for name in SCALES])
        self.judge = judge
        self._client = JudgeClient(judge)

    def revision(self) -> str:
        """The model and the digest that Ollama reports for it; of another server its name and the address.

        Raises:
            UserError: There is no server, or it does not have the model.
        """
        return self._client.revision()

    def load(self, device: torch.device) -> None:
        """Makes sure that the server is there and has the model; the device is the server's business."""
        self._client.revision()

    def score(self, responses: Sequence[Response]) -> Scores:
        verdicts = asyncio.run(for_each(self._judge, responses, self.judge.concurrency, _without_verdict))
        given: list[dict[str, Any]] = [verdict.values or {} for verdict in verdicts]
        values = {f"judge_{name}": torch.tensor([float(v.get(name, math.nan)) for v in given]) for name in SCALES}
        details: list[dict[str, Any]] = [{"tries": verdict.tries} for verdict in verdicts]
        for detail, value in zip(details, given, strict=True):
            if value:
                detail["rationale"] = value["rationale"]
        return Scores(values, [verdict.reason for verdict in verdicts], details)

    def free(self) -> None:
        pass

    async def _judge(self, response: Response) -> Verdict:
        conversation = response.turns or [user(response.prompt)]
        return await self._client.verdict(score_request(conversation, response.response))


def _without_verdict(response: Response, error: ReplyError) -> Verdict:
    return Verdict(None, str(error), 0)


FORTH: dict[str, Side] = {"A": "first", "B": "second", "tie": "tie"}
BACK: dict[str, Side] = {"A": "second", "B": "first", "tie": "tie"}
"""The side that a verdict is for, where the first or the second response was shown first."""


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

    first_shown_first: Side | None
    second_shown_first: Side | None
    reason: str | None = None
    rationales: tuple[str, ...] = ()

    @property
    def preferred(self) -> Side | None:
        """The side that both orders agree on, a tie where they do not; None is unscored."""
        if self.first_shown_first is None or self.second_shown_first is None:
            return None
        return self.first_shown_first if self.first_shown_first == self.second_shown_first else "tie"


def prefer(client: JudgeClient, pairs: Sequence[Pair], emit: Callable[[Pair, Preference], None]) -> None:
    """Has a judge say which of two responses is better, in both orders.

    Two responses that are the same are a tie without asking. A pair with an empty response is unscored.

    Args:
        client: Asks the judge.
        pairs: They are judged together, some at a time.
        emit: Gets each pair as soon as it is judged.

    Raises:
        UserError: The server would answer no request.
    """

    async def judge(pair: Pair) -> None:
        emit(pair, await _preference(client, pair))

    def set_aside(pair: Pair, error: ReplyError) -> None:
        emit(pair, Preference(None, None, str(error)))

    asyncio.run(for_each(judge, pairs, client.judge.concurrency, set_aside))


async def _preference(client: JudgeClient, pair: Pair) -> Preference:
    if not pair.first.strip() or not pair.second.strip():
        return Preference(None, None, "empty response")
    if pair.first == pair.second:
        return Preference("tie", "tie")
    forth = await client.verdict(pair_request(pair.conversation, pair.first, pair.second))
    back = await client.verdict(pair_request(pair.conversation, pair.second, pair.first))
    return Preference(
        first_shown_first=FORTH[forth.values["better"]] if forth.values else None,
        second_shown_first=BACK[back.values["better"]] if back.values else None,
        reason=forth.reason or back.reason,
        rationales=tuple(verdict.values["rationale"] for verdict in (forth, back) if verdict.values),
    )
