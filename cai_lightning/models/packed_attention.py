"""Attention over conversations that lie one behind the other in a single row, so that nothing is padded.

    register()                                  # once
    install(model)                              # or attn_implementation="packed"
    model(input_ids, position_ids=places, **boundaries(lengths, "packed", device))

Each conversation attends to itself alone, by torch's own kernels: on a GPU all in one launch where torch brings that
along, else one after the other. The package flash-attn knows boundaries itself and needs none of this. The arguments
are named as transformers hands them to every attention function.
"""

from collections.abc import Callable
from importlib import import_module
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from cai_lightning.run.errors import UserError

varlen_attn: Callable[..., Tensor] | None
try:
    varlen_attn = import_module("torch.nn.attention.varlen").varlen_attn
except ImportError:  # torch below 2.10
    varlen_attn = None

TOLD = set(signature(varlen_attn).parameters) if varlen_attn else set()
"""What it can be told; some versions see for themselves that heads share keys."""

NAME = "packed"


def register() -> None:
    """Makes the attention known to transformers under `NAME`."""
    AttentionInterface.register(NAME, packed_attention)


def install(model: PreTrainedModel) -> None:
    """Makes a model attend by it. Older architectures have attention code of their own, which they keep: with another
    name, some of them drop their causal mask."""
    if model.is_backend_compatible():
        model.set_attn_implementation(NAME)


def boundaries(lengths: list[int], implementation: str, device: torch.device) -> dict[str, Any]:
    """What tells an attention implementation where conversations end, as arguments of the model.

    Args:
        lengths: Tokens of each conversation.
        implementation: Its name.
        device: Where the model is.

    Raises:
        UserError: It cannot keep conversations in one row apart.
    """
    if implementation == NAME:
        return {"conversation_lengths": lengths, "conversation_bounds": _bounds(lengths, device)}
    if not implementation.startswith("flash_attention"):
        raise UserError(
            f"attn_implementation {implementation!r} does not keep packed conversations apart; leave it out if it "
            "was set, name flash_attention_2, or set data.packing to false."
        )
    bounds = _bounds(lengths, device)
    ends = {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds}
    return ends | {"max_length_q": max(lengths), "max_length_k": max(lengths)}


def _bounds(lengths: list[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *lengths], device=device).cumsum(0, dtype=torch.int32)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # its shapes vary with every batch
def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    conversation_lengths: list[int] | None = None,
    conversation_bounds: Tensor | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each of the conversations of a row.

    Args:
        module: The attention layer that calls.
        query: [1, heads, T, D].
        key: [1, key-value heads, T, D].
        value: Likewise.
        attention_mask: None, for nothing is padded.
        dropout: Of the attention weights.
        scaling: Of the scores; null takes 1 / sqrt(D).
        sliding_window: How many tokens back a token sees; null is all.
        conversation_lengths: Tokens of each conversation; null is one of T.
        conversation_bounds: Where each begins and the last ends, on the device; null makes them anew in every layer.
        softcap: Not known to torch's kernels.
        s_aux: Attention sinks, not known to torch's kernels either.

    Returns:
        [1, T, heads, D], and no weights.

    Raises:
        UserError: The model asks for what these kernels cannot do.
    """
    if softcap is not None or s_aux is not None:
        raise UserError(
            "this architecture caps its attention scores or has sinks; set data.packing to false and "
            "model.attn_implementation to eager."
        )
    sizes = conversation_lengths or [query.shape[2]]
    if _is_one_launch(query, dropout):
        return _attend_at_once(query, key, value, sizes, conversation_bounds, scaling, sliding_window), None
    parts = zip(*(states.split(sizes, dim=2) for states in (query, key, value)), strict=True)
    attended = [_attend(q, k, v, dropout, scaling, sliding_window) for q, k, v in parts]
    return torch.cat(attended, dim=2).transpose(1, 2), None


def _is_one_launch(query: Tensor, dropout: float) -> bool:
    """Whether torch's FlashAttention is there, and computes this."""
    if "window_size" not in TOLD or not query.is_cuda or torch.cuda.get_device_capability(query.device) < (8, 0):
        return False
    size = query.shape[-1]
    return query.dtype in (torch.bfloat16, torch.float16) and not dropout and size <= 256 and size % 8 == 0


def _attend_at_once(
    q: Tensor, k: Tensor, v: Tensor, sizes: list[int], bounds: Tensor | None, scale: float | None, window: int | None
) -> Tensor:
    bounds = _bounds(sizes, q.device) if bounds is None else bounds
    q, k, v = (states[0].transpose(0, 1) for states in (q, k, v))
    settings = {"scale": scale, "window_size": ((window or 0) - 1, 0), "enable_gqa": q.shape[1] != k.shape[1]}
    told = {name: value for name, value in settings.items() if name in TOLD}
    assert varlen_attn is not None
    return varlen_attn(q, k, v, bounds, bounds, max(sizes), max(sizes), **told)[None]


def _attend(q: Tensor, k: Tensor, v: Tensor, dropout: float, scale: float | None, window: int | None) -> Tensor:
    length = q.shape[2]
    band = None
    if window is not None and window < length:
        places = torch.arange(length, device=q.device)
        back = places[:, None] - places[None, :]
        band = (back >= 0) & (back < window)
    return nn.functional.scaled_dot_product_attention(
        q, k, v, band, dropout, is_causal=band is None, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
    )
