"""The contract of an evaluator: a torchmetrics metric that scores responses and never turns a failure into a number."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from cai_lightning.records import Response


@dataclass(frozen=True)
class Column:
    """One number that an evaluator gives each response.

    Args:
        name: Its name in `scores.jsonl` and every table.
        direction: Whether `higher` or `lower` is better.
        low: The least value it can take.
        high: The greatest value it can take; infinite where it has no bound.
    """

    name: str
    direction: Literal["higher", "lower"]
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """The scores of N responses.

    Args:
        values: A float tensor of N values per column; NaN is unscored.
        reasons: N entries: why the row is unscored in some column, or None.
        details: N free records for `scores.jsonl`.
    """

    values: dict[str, Tensor]
    reasons: list[str | None]
    details: list[dict[str, Any]] = field(default_factory=list)


class ResponseMetric(Metric):
    """Scores responses; its states are the values and the row numbers, so that no row counts twice across processes.

    A subclass stores its settings in the constructor, loads weights in `load`, and scores in `score`.
    """

    full_state_update = False
    INCIDENTAL: frozenset[str] = frozenset()
    """Settings that cannot change a score, such as a batch size."""

    uses_references: bool = False
    """Whether a score depends on the reference, so that runs with other references do not compare."""

    rows: list[Tensor]
    values: list[Tensor]

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        self.add_state("values", default=[], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forgets all rows. No rows are an empty tensor, for processes cannot sync a state that holds no tensor."""
        super().reset()
        self.update(torch.empty(0, dtype=torch.int64), {column.name: torch.empty(0) for column in self.columns})

    @abstractmethod
    def load(self, device: torch.device) -> None:
        """Loads what scoring needs; called once, after the policy is freed."""

    @abstractmethod
    def score(self, responses: Sequence[Response]) -> Scores:
        """Scores a batch of responses; a failure is NaN with a reason."""

    @abstractmethod
    def free(self) -> None:
        """Frees what `load` has loaded."""

    def update(self, rows: Tensor, values: dict[str, Tensor]) -> None:
        """Adds scores of N rows.

        Args:
            rows: Int64 tensor of N row numbers, each row's place among all test prompts.
            values: Per column a float tensor of N; NaN is unscored.
        """
        self.rows.append(rows.to(self.device))
        self.values.append(torch.stack([values[c.name].float() for c in self.columns], dim=1).to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """The mean of each column over its scored rows, each row once; NaN where none is scored."""
        rows = dim_zero_cat(self.rows)
        values = dim_zero_cat(self.values)
        order = rows.argsort(stable=True)
        first = torch.ones_like(rows, dtype=torch.bool)
        first[1:] = rows[order][1:] != rows[order][:-1]
        kept = values[order][first]
        return {column.name: kept[:, n].nanmean() for n, column in enumerate(self.columns)}
