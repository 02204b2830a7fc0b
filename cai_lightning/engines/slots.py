"""Key-value caches of many conversations side by side, each as long as it is, so that a turn computes only what is new.

    install_grouped(policy)  # faster, see models/attention.py
    slots = Slots(policy, count=64)
    logits = slots.extend([3, 7], [[1, 2, 3], [4]])  # the next-token logits of slots 3 and 7

A GPU has slots for as many conversations as its memory holds. There, decoding steps come again and again in few shapes;
they are recorded as CUDA graphs and launched as a whole, where each of a thousand kernels would wait for Python.
"""

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import Cache, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin

from cai_lightning.run.errors import UserError

log = logging.getLogger(__name__)

GRAIN = 128
"""The room of all slots grows by multiples of so many tokens; on a GPU, what is looked at does too, for few shapes."""

FEWEST = 8
"""On a GPU rows are filled up to a power of two, this at the least, also for few shapes."""

MOST = 64
"""Graphs that are kept; each takes some megabytes, and that of a shape which has not come for longest goes first."""

Step = Callable[[Tensor], Tensor]


class TooManySlotsError(Exception):
    """The caches of so many conversations of this length do not fit into memory; `fitting` do, or none."""

    def __init__(self, count: int, length: int, fitting: int) -> None:
        super().__init__(f"{count} conversations of up to {length} tokens do not fit into memory")
        self.fitting = fitting


class Slots:
    """A fixed number of slots, each holding the cache of the tokens of one conversation.

    Args:
        policy: The model; its layers attend to everything before, or through a sliding window.
        count: Number of slots.

    Attributes:
        lengths: How many tokens each slot holds; what is beyond a smaller number is forgotten.

    Raises:
        UserError: The model has layers of another kind.
    """

    def __init__(self, policy: PreTrainedModel, count: int) -> None:
        config = policy.config.get_text_config(decoder=True)
        known = hasattr(type(config), "sliding_window")  # else a setting that is left over, and that no layer reads
        self.sliding_window = (config.sliding_window if known else None) or 0
        self._layer_types = getattr(config, "layer_types", None)
        alike = "sliding_attention" if self.sliding_window else "full_attention"
        self.kinds = set(self._layer_types or [alike])
        if unknown := self.kinds - {"full_attention", "sliding_attention"}:
            raise UserError(
                f"{policy.name_or_path}: layers of the kind {min(unknown)!r} cannot be served here; use vLLM."
            )
        self.policy = policy
        self.count = count
        on_gpu = policy.device.type == "cuda"
        self._grain = GRAIN if on_gpu else 1
        self.graphs = Graphs() if on_gpu and is_recordable(config) else None
        self._per_token = cache_per_token(config, policy.dtype)
        self.lengths = np.zeros(count, dtype=np.int64)
        self._layers = [_Layer(count) for _ in range(config.num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))
        self._tokens = np.full((count, 0), -1, dtype=np.int64)
        self._room = 0

    def overlaps(self, ids: Sequence[int]) -> np.ndarray:
        """How many of the first of these tokens each slot holds, as integers [count]."""
        width = min(len(ids), self._room)
        same = self._tokens[:, :width] == np.asarray(ids[:width])
        same &= np.arange(width) < self.lengths[:, None]
        return np.where(same.all(axis=1), width, same.argmin(axis=1)) if width else np.zeros(self.count, np.int64)

    @torch.inference_mode()
    def copy(self, source: int, target: int, length: int) -> None:
        """Makes a slot begin as another does."""
        for layer in self._layers:
            layer.copy(source, target, length)
        self._tokens[target, :length] = self._tokens[source, :length]
        self.lengths[target] = length

    @torch.inference_mode()
    def extend(self, slots: Sequence[int] | range, ids: Sequence[Sequence[int]]) -> Tensor:
        """Puts tokens behind those that slots hold.

        Args:
            slots: Which slots; a range from 0 spares copying their caches.
            ids: The tokens of each, at least one.

        Returns:
            The logits of what comes next [len(slots), vocabulary].

        Raises:
            TooManySlotsError: All slots with room for the longest conversation would take more memory than there is.
        """
        rows, counts = np.asarray(slots), np.array([len(row) for row in ids])
        before, longest = self.lengths[rows][:, None], int(counts.max())
        width = int((before[:, 0] + counts).max())
        self._make_room(width + 1)
        padded = np.array([[0] * (longest - len(row)) + list(row) for row in ids])
        positions = before + np.arange(longest) - (longest - counts)[:, None]
        is_padding = positions < before
        places = np.where(is_padding, self._room - 1, positions)
        self._tokens[rows[:, None], places] = padded
        self.lengths[rows] += counts
        width, is_whole = _rounded(width, self._grain), isinstance(slots, range)
        positions = np.where(is_padding, 0, positions)
        if self.graphs is not None and longest == 1:
            columns = np.stack([rows, *(each[:, 0] for each in (padded, positions, places))])
            return self._decode(self.graphs, columns, width, is_whole)
        numbers = [torch.from_numpy(each).to(self.policy.device) for each in (rows, padded, positions, places)]
        return self._forward(numbers, width, is_whole)

    def _decode(self, graphs: "Graphs", numbers: np.ndarray, width: int, is_whole: bool) -> Tensor:
        """One token each, in one of few shapes; what fills the rows up is written where padding is."""
        many = numbers.shape[1]
        rows = min(self.count, max(FEWEST, 1 << (many - 1).bit_length()))
        filled = np.zeros((4, rows), dtype=np.int64)
        filled[0], filled[3] = np.arange(rows) if is_whole else 0, self._room - 1
        filled[:, :many] = numbers

        def step(numbers: Tensor) -> Tensor:
            return self._forward([numbers[0], *numbers[1:, :, None]], width, is_whole)

        return graphs.run((rows, width, is_whole), step, torch.from_numpy(filled), self.policy.device)[:many]

    def _forward(self, numbers: Sequence[Tensor], width: int, is_whole: bool) -> Tensor:
        """Reads slots [rows], and tokens, their positions and their places in the slots [rows, new]."""
        rows, ids, positions, places = numbers
        for layer in self._layers:
            layer.window = _Window(rows, places, width, is_whole)
        inputs = {"input_ids": ids, "attention_mask": self._masks(positions, width), "position_ids": positions}
        logits: Tensor = self.policy(**inputs, past_key_values=self._cache, use_cache=True, logits_to_keep=1).logits
        return logits[:, -1]

    def _masks(self, positions: Tensor, width: int) -> Tensor | dict[str, Tensor]:
        """What each new token may look at [rows, 1, new, width], for each kind of layer the model has."""
        places = torch.arange(width, device=positions.device)
        seen = (places <= positions[..., None])[:, None]
        if self.kinds == {"full_attention"}:
            return self._bias(seen)
        near = seen & (places > positions[..., None] - self.sliding_window)[:, None]
        if not self._layer_types:
            return self._bias(near)
        return {"full_attention": self._bias(seen), "sliding_attention": self._bias(near)}

    def _bias(self, seen: Tensor) -> Tensor:
        """The mask as what is added to the scores: given booleans, every layer would convert them anew."""
        return torch.zeros(seen.shape, dtype=self.policy.dtype, device=seen.device).masked_fill_(~seen, -torch.inf)

    def _make_room(self, width: int) -> None:
        if width <= self._room:
            return
        room = self._affordable(_rounded(max(width, self._room * 3 // 2), GRAIN), _rounded(width, GRAIN))
        if self.graphs is not None:
            self.graphs.forget()
        for layer in self._layers:
            layer.grow(room)
        tokens = np.full((self.count, room), -1, dtype=np.int64)
        tokens[:, : self._room] = self._tokens
        self._tokens, self._room = tokens, room

    def _affordable(self, wanted: int, needed: int) -> int:
        """The room that is wanted, or else the room that is needed, whichever all slots can have."""
        memory = self._memory()
        if memory is None or conversations_that_fit(memory, self._per_token, wanted) >= self.count:
            return wanted
        fitting = conversations_that_fit(memory, self._per_token, needed)
        if fitting < self.count:
            raise TooManySlotsError(self.count, needed, fitting)
        return needed

    def _memory(self) -> int | None:
        """Bytes there are for caches and for computing."""
        free = free_memory(self.policy.device)
        return None if free is None else free + self.count * self._room * self._per_token


@dataclass(frozen=True)
class _Window:
    """Where the tokens of one forward pass are written, and how much of the slots they look at.

    Args:
        rows: Slots [rows].
        places: Place of each token in its slot [rows, new].
        width: Places that are looked at.
        is_whole: Whether the slots are the first ones, so that nothing needs to be copied to look at them.
    """

    rows: Tensor
    places: Tensor
    width: int
    is_whole: bool


class _Layer(CacheLayerMixin):
    """One layer's keys and values [slots, heads, room, size]; the last place of the room takes the padding."""

    window: _Window

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.room = count, 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = (
            states.new_zeros(self.count, states.shape[1], self.room, states.shape[3])
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self._written(self.keys, key_states), self._written(self.values, value_states)

    def _written(self, held: Tensor, states: Tensor) -> Tensor:
        window = self.window
        held[window.rows[:, None], :, window.places] = states.transpose(1, 2)
        seen = held[:, :, : window.width]
        return seen[: len(window.rows)] if window.is_whole else seen[window.rows]

    def copy(self, source: int, target: int, length: int) -> None:
        for held in (self.keys, self.values):
            held[target, :, :length] = held[source, :, :length]

    def grow(self, room: int) -> None:
        if self.is_initialized:
            self.keys, self.values = (pad(held, (0, 0, 0, room - self.room)) for held in (self.keys, self.values))
        self.room = room

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.window.width, 0

    def get_seq_length(self) -> int:
        return self.window.width

    def get_max_length(self) -> int:
        return -1


def _rounded(tokens: int, grain: int) -> int:
    return -(-tokens // grain) * grain


def free_memory(device: torch.device) -> int | None:
    """Bytes that may still be taken on a GPU, what torch keeps for itself included; null on a CPU, which can swap."""
    if device.type != "cuda":
        return None
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def cache_per_token(config: PreTrainedConfig, dtype: torch.dtype) -> int:
    """Bytes that the keys and values of one token take.

    Args:
        config: The language model's shapes.
        dtype: Of keys and values.
    """
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * int(config.num_hidden_layers * heads * size) * dtype.itemsize


def conversations_that_fit(memory: int, per_token: int, length: int) -> int:
    """How many conversations' caches fit, a tenth of the memory being left for what is computed.

    Args:
        memory: Bytes there are for caches and for computing.
        per_token: Bytes of a token's keys and values.
        length: Tokens of a conversation.
    """
    return memory * 9 // 10 // (per_token * length)


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
    launch: Callable[[], object]
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
            result = step(numbers.to(device))
            if len(self._results) < len(result):  # one for all graphs: with large vocabularies a hundred megabytes
                self._results = torch.empty_like(result)
            return result
        self._graphs[shape] = graph
        if len(self._graphs) > MOST:
            del self._graphs[next(iter(self._graphs))]
        graph.numbers.copy_(numbers)
        graph.launch()
        return graph.result

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

    def record(self, step: Callable[[], object]) -> Callable[[], object]:
        """What repeats a step's kernels; graphs are launched one after the other, and so compute in the same memory."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            step()
        self._pool = graph.pool()
        return graph.replay
