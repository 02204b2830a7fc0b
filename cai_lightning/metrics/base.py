"""The contract of an evaluator: a torchmetrics metric that scores responses and never turns a failure into a number."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from cai_lightning.run.records import Response
from cai_lightning.statistics import Interval, mean_interval


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
        details: N free records for `scores.jsonl`. In all of them `truncated: true` says that the evaluator has not
            read the whole text, and such scores are counted; a text that is read in windows is read whole.
    """

    values: dict[str, Tensor]
    reasons: list[str | None]
    details: list[dict[str, Any]] = field(default_factory=list)


def within_bounds(scores: Scores, columns: Sequence[Column]) -> Scores:
    """The scores without the numbers that their columns cannot hold; each becomes NaN, and the reason names it."""
    reasons, values = list(scores.reasons), {name: column.float().clone() for name, column in scores.values.items()}
    for column in columns:
        low, high = torch.tensor([column.low, column.high]).tolist()  # as coarse as the values
        for row, value in enumerate(values[column.name].tolist()):
            if math.isinf(value) or value < low or value > high:
                values[column.name][row] = torch.nan
                why = f"{column.name} {value:g} is not in {column.low:g} to {column.high:g}"
                reasons[row] = "; ".join(filter(None, (reasons[row], why)))
    return Scores(values, reasons, scores.details)


class ResponseMetric(Metric):
    """Scores responses; its states are the values with the numbers of row and prompt, so that no row counts twice.

    A subclass stores its settings in the constructor, loads weights in `load`, and scores in `score`.
    """

    full_state_update = False
    NOT_FINGERPRINTED: frozenset[str] = frozenset()
    """Settings that cannot change a score, such as a batch size."""

    uses_references: bool = False
    """Whether a score depends on the reference, so that runs with other references do not compare."""

    rows: list[Tensor]
    prompts: list[Tensor]
    values: list[Tensor]

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self.columns = tuple(columns)
        for state in ("rows", "prompts", "values"):
            self.add_state(state, default=[], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forgets all rows. No rows are an empty tensor, for processes cannot sync a state that holds no tensor."""
        super().reset()
        self.update(torch.empty(0, dtype=torch.int64), {column.name: torch.empty(0) for column in self.columns})

    def revision(self) -> str | None:
        """What stands behind the settings at present, told without loading it: a commit, or a digest of weights.

        Scores made under another revision are made again. `self.device` is where the evaluator is going to be loaded.

        Returns:
            `cai_lightning.models.hub.revision` of a model, what a server reports of its own; None where there is
            nothing to tell.

        Raises:
            UserError: It cannot run: the server is not there, the key is missing.
        """
        return None

    def inapplicable(self, response: Response) -> str | None:
        """Why this response has no score whatever the evaluator would say, as an empty one has none; else None.

        It is asked before `load`: where nothing else is left to score, nothing is loaded.
        """
        return None if response.response.strip() else "empty response"

    @abstractmethod
    def load(self, device: torch.device) -> None:
        """Loads what scoring needs; called after the policy is freed, and only where something is left to score.

        Raises:
            UserError: It cannot run; it is reported as "not run" with this reason, and the others go on.
        """

    @abstractmethod
    def score(self, responses: Sequence[Response]) -> Scores:
        """Scores a batch of responses, none of which is `inapplicable`; a failure of one is NaN with a reason.

        Raises:
            UserError: It cannot go on: the server is gone, the key is refused. The scores made so far are kept.
        """

    @abstractmethod
    def free(self) -> None:
        """Frees what `load` has loaded, all or some of it: it is called after a `load` that failed too."""

    def update(self, rows: Tensor, values: dict[str, Tensor], prompts: Tensor | None = None) -> None:
        """Adds scores of N rows; of a row that was added before, these count.

        Args:
            rows: Int64 tensor of N row numbers, each row's place among all test prompts.
            values: Per column a float tensor of N; NaN is unscored.
            prompts: Int64 tensor of N prompt numbers, which rows share that are about the same prompt; without them
                each row is about its own.
        """
        self.rows.append(rows.to(self.device))
        self.prompts.append((rows if prompts is None else prompts).to(self.device))
        self.values.append(torch.stack([values[c.name].float() for c in self.columns], dim=1).to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """What `summary.json` says of each column, over the rows of all processes, each once.

        Returns:
            By the name of a column the mean of its scores, and by the name with `_low`, `_high` and `_scored` the ends
            of its 95 % interval and the number of scores; NaN where there is no such number.
        """
        found = {column: self._estimate(n) for n, column in enumerate(self.columns)}
        return {
            f"{column.name}{suffix}": torch.tensor(math.nan if number is None else number, dtype=torch.float64)
            for column, estimate in found.items()
            for suffix, number in zip(SUFFIXES, (estimate.mean, estimate.low, estimate.high, estimate.n), strict=True)
        }

    def _estimate(self, column: int) -> Interval:
        """Numbers stand for ids in their order, by which rows are resampled, so they are written as such."""
        rows, prompts = ([f"{n:09}" for n in dim_zero_cat(state).tolist()] for state in (self.rows, self.prompts))
        values = dict(zip(rows, dim_zero_cat(self.values)[:, column].tolist(), strict=True))
        scored = {row: value for row, value in values.items() if not math.isnan(value)}
        is_unit_scale = (self.columns[column].low, self.columns[column].high) == (0, 1)
        return mean_interval(scored, unit_scale=is_unit_scale, prompts=dict(zip(rows, prompts, strict=True)))


SUFFIXES = ("", "_low", "_high", "_scored")


def estimate_in(computed: Mapping[str, Tensor], column: str) -> Interval:
    """The mean of a column and its interval, as `ResponseMetric.compute` has returned them."""
    numbers = [computed[f"{column}{suffix}"].item() for suffix in SUFFIXES]
    mean, low, high = (None if math.isnan(number) else number for number in numbers[:3])
    return Interval(mean, low, high, int(numbers[3]))
