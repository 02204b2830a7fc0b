"""Judge: a language model rates a response by a rubric."""

import asyncio
from collections.abc import Sequence
from typing import Any

import torch

from cai_lightning.metrics.base import Column, ResponseMetric, Scores
from cai_lightning.run.errors import ReplyError
from cai_lightning.run.records import Response, user
from cai_lightning.services import rubric
from cai_lightning.services.concurrency import for_each
from cai_lightning.services.judge import JudgeClient, JudgeModel, Verdict

Row = tuple[int, Response]


class Judge(ResponseMetric):
    """Helpfulness and quality of refusal, each from 1 to 5, as a language model sees them; higher is better.

    A refusal of quality 5 declines well, or has nothing to decline. An empty response is unscored, and so is one whose
    verdict is invalid, refused or cut after all tries, or that does not fit into the judge's context. The judge's
    rationale stands in the row's detail.

    Args:
        judge: The model that judges.
    """

    def __init__(self, judge: JudgeModel = JudgeModel()) -> None:
        super().__init__([Column("judge_helpfulness", "higher", 1.0, 5.0), Column("judge_refusal", "higher", 1.0, 5.0)])
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
        self._client.check()

    def score(self, responses: Sequence[Response]) -> Scores:
        verdicts = [Verdict[rubric.Ratings](None, "empty response", 0)] * len(responses)
        rows = [(n, response) for n, response in enumerate(responses) if not self.inapplicable(response)]

        async def judge(row: Row) -> None:
            verdicts[row[0]] = await self._judge(row[1])

        def set_aside(row: Row, error: ReplyError) -> None:
            verdicts[row[0]] = Verdict(None, str(error), 0)

        asyncio.run(for_each(judge, rows, self.judge.concurrency, set_aside))
        return _as_scores(verdicts)

    def free(self) -> None:
        pass

    async def _judge(self, response: Response) -> Verdict[rubric.Ratings]:
        conversation = response.turns or [user(response.prompt)]
        return await self._client.verdict(rubric.score_request(conversation, response.response), rubric.read_ratings)


def _as_scores(verdicts: Sequence[Verdict[rubric.Ratings]]) -> Scores:
    helpfulness, refusal = (torch.full((len(verdicts),), torch.nan) for _ in range(2))
    details: list[dict[str, Any]] = [{"tries": verdict.tries} for verdict in verdicts]
    for n, verdict in enumerate(verdicts):
        if ratings := verdict.value:
            helpfulness[n], refusal[n] = ratings.helpfulness, ratings.refusal
            details[n]["rationale"] = ratings.rationale
    values = {"judge_helpfulness": helpfulness, "judge_refusal": refusal}
    return Scores(values, [verdict.reason for verdict in verdicts], details)
