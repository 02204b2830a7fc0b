"""Steps that come again, as CUDA graphs: launched as a whole, where each of a thousand kernels would wait for Python.

graphs = Graphs()
logits = graphs.run((64, 512), step, numbers, device)  # from the second time on, step's kernels without step
"""

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

log = logging.getLogger(__name__)

MOST = 64
"""Graphs that are kept; each takes some megabytes, and that of a shape which has not come for longest goes first."""

Launch = Callable[[], object]
Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Graph:
    """What a recorded step reads, how it is launched, and where it leaves its result."""

    numbers: Tensor
    launch: Launch
    result: Tensor


class Graphs:
    """Runs steps of many shapes, and records each when its shape comes for the second time.

    A step may only read the numbers it is given and memory that stays where it is; where it cannot be recorded, as
    where a model asks on the way how large a number is, all steps are run as they are from then on.

    Args:
        record: Makes of a step without arguments what repeats its kernels; null takes CUDA's graphs.
    """

    def __init__(self, record: Callable[[Launch], Launch] | None = None) -> None:
        self._record = record or _Recorder()
        self._met: set[Hashable] = set()
        self._graphs: dict[Hashable, _Graph] = {}
        self._results = torch.empty(0)
        self._is_off = False

    def forget(self) -> None:
        """Drops what was recorded, since memory that it reads has moved."""
        self._graphs.clear()

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
        """What graphs will leave their results in is shared by all: with large vocabularies it is a hundred megabytes."""
        result = step(numbers)
        if len(self._results) < len(result):
            self._results = torch.empty_like(result)
        return result

    def _recorded(self, step: Step, numbers: Tensor) -> _Graph | None:
        result = self._results[: numbers.shape[1]]

        def left() -> None:
            result.copy_(step(numbers))

        try:
            return _Graph(numbers, self._record(left), result)
        except RuntimeError as error:
            self._is_off = True
            log.warning("decoding goes on without CUDA graphs, which takes longer: %s", str(error).splitlines()[0])
            return None


class _Recorder:
    """Records CUDA graphs, one after the other in the same memory."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Launch) -> Launch:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            step()
        return graph.replay
