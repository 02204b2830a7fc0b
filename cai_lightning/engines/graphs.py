"""Steps that come again, as CUDA graphs: launched as a whole, where each of a thousand kernels would wait for Python.

graphs = Graphs()
logits = graphs.run((64, 512), step, numbers, device)  # from the second time on, step's kernels without step
"""

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

log = logging.getLogger(__name__)

MOST = 64
"""Graphs that are kept; each takes some megabytes, and that of a shape which has not come for longest goes first."""

Launch = Callable[[], object]
Step = Callable[[Tensor], Tensor]


def is_recordable(config: PreTrainedConfig) -> bool:
    """Whether a model computes the same kernels whatever the numbers are.

    Experts do not, and positions that are scaled by how far a conversation has come do not. Trying would not do: a
    recording that fails leaves torch's random numbers on the GPU unusable.
    """
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = {each.get("rope_type") for each in (rope, *rope.values()) if isinstance(each, dict)}
    return not any(getattr(config, name, None) for name in names) and not kinds & {"dynamic", "longrope"}


@dataclass(frozen=True)
class _Graph:
    """What a recorded step reads, how it is launched, and where it leaves its result."""

    numbers: Tensor
    launch: Launch
    result: Tensor


class Graphs:
    """Runs steps of many shapes, and records each when its shape comes for the second time.

    A step may only read the numbers it is given and memory that stays where it is. If one cannot be recorded, all are
    run as they are from then on.
    """

    def __init__(self) -> None:
        self._met: set[Hashable] = set()
        self._graphs: dict[Hashable, _Graph] = {}
        self._results = torch.empty(0)
        self._pool: Any = None
        self._is_off = False

    def forget(self) -> None:
        """Drops what was recorded, since memory that it reads has moved."""
        self._graphs.clear()
        self._pool = None  # it goes with the last of its graphs

    def run(self, shape: Hashable, step: Step, numbers: Tensor, device: torch.device) -> Tensor:
        """The result of a step.

        Args:
            shape: Tells apart the steps that need graphs of their own.
            step: Computes from numbers on the device; its result has as many rows as they have columns.
            numbers: [kinds, rows], on the CPU.
            device: Where the step computes.

        Returns:
            The step's result [rows, ...], to be read before the next step.
        """
        graph = self._graphs.pop(shape, None)
        if graph is None and shape in self._met and not self._is_off:
            graph = self._recorded(step, numbers.to(device))
        if graph is None:
            self._met.add(shape)
            return self._plain(step, numbers.to(device))
        self._graphs[shape] = graph
        if len(self._graphs) > MOST:
            del self._graphs[next(iter(self._graphs))]
        graph.numbers.copy_(numbers)
        graph.launch()
        return graph.result

    def _plain(self, step: Step, numbers: Tensor) -> Tensor:
        """Where graphs will leave their results is shared by all: with large vocabularies it is a hundred megabytes."""
        result = step(numbers)
        if len(self._results) < len(result):
            self._results = torch.empty_like(result)
        return result

    def _recorded(self, step: Step, numbers: Tensor) -> _Graph | None:
        result = self._results[: numbers.shape[1]]

        def left() -> None:
            result.copy_(step(numbers))

        try:
            return _Graph(numbers, self.record(left), result)
        except RuntimeError as error:
            self._is_off = True
            log.warning("decoding goes on without CUDA graphs, which takes longer: %s", str(error).splitlines()[0])
            return None

    def record(self, step: Launch) -> Launch:
        """What repeats a step's kernels; graphs are launched one after the other, and so compute in the same memory."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            step()
        self._pool = graph.pool()
        return graph.replay
