"""An evaluator that fails in whatever way it is asked to."""

import importlib
import os

import torch

from cai_lightning.metrics.base import Column, ResponseMetric, Scores
from cai_lightning.run.errors import UserError, WriteError

WHY = "the key is [bold]refused[/bold]"


class Unable(ResponseMetric):
    """Fails at a step; while it scores, at its second batch."""

    NOT_FINGERPRINTED = frozenset({"where", "error", "rank"})

    def __init__(
        self,
        where: str = "load",
        error: str = "UserError",
        rank: str | None = None,
        model: str = "unable/7b",
        column: str = "unable",
    ):
        super().__init__([Column(column, "higher", 0.0, 1.0)])
        self.where, self.error, self.rank, self.model, self.column = where, error, rank, model, column
        self.calls, self.scored = 0, []

    def revision(self):
        self.fail("revision")
        return "r1"

    def load(self, device):
        self.calls = 0
        self.fail("load")

    def score(self, responses):
        self.scored.extend(response.id for response in responses)
        self.calls += 1
        if self.calls == 2:
            self.fail("score")
        return Scores({self.column: torch.full((len(responses),), 0.25)}, [None] * len(responses))

    def free(self):
        pass

    def fail(self, where):
        if where != self.where or self.rank not in (None, os.environ.get("LOCAL_RANK", "0")):
            return
        if self.error == "package":
            importlib.import_module("no_such_package")
        if self.error == "memory":
            raise MemoryError
        if self.error == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")
        if self.error == "cpu":
            torch.empty(2**60)
        if self.error == "mistake":
            raise RuntimeError("a mistake")
        if self.error == "disk":
            raise WriteError("scores.jsonl: cannot be written (No space left on device)")
        raise UserError(WHY)
