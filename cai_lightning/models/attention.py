"""Attention of our own, under names that transformers knows: `packed` in training, `grouped` in decoding.

    install_packed(model)                       # or attn_implementation="packed"
    model(input_ids, position_ids=places, **boundaries(lengths, "packed", device))
    install_grouped(model)

Packed, conversations lie one behind the other in a single row, so that nothing is padded. Each attends to itself alone,
by torch's own kernels: on a GPU all in one launch, else one after the other. One that shares its beginning with the
conversation before it, as further responses to a prompt do, attends to that beginning there. The package flash-attn
knows boundaries itself, and no shared beginnings. Grouped, query heads that share keys and values do without a copy of
these for each of them. Arguments are named as transformers hands them to every attention function.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from cai_lightning.run.errors import UserError

TOLD = set(signature(varlen_attn).parameters)
"""What it can be told; torch 2.11 sees for itself that heads share keys."""

PACKED, GROUPED = "packed", "grouped"


def install_packed(model: PreTrainedModel) -> None:
    """Makes a model attend to packed conversations. Older architectures keep attention code of their own: with another
    name, some of them drop their causal mask."""
    if model.is_backend_compatible():
        model.set_attn_implementation(PACKED)


def boundaries(
    lengths: list[int], implementation: str, device: torch.device, prefixes: Sequence[int] = ()
) -> dict[str, Any]:
    """What tells an attention implementation where conversations end, as arguments of the model.

    Args:
        lengths: Tokens of each conversation.
        implementation: Its name.
        device: Where the model is.
        prefixes: For each how many tokens it shares with the beginning of the nearest one before it that shares none;
            none where nothing is shared.

    Raises:
        UserError: It cannot keep conversations in one row apart, or knows no shared beginnings.
    """
    shares = any(prefixes)
    if implementation == PACKED:
        known = {"conversation_lengths": lengths, "conversation_bounds": _bounds(lengths, device)}
        return known | ({"conversation_keys": Keys(lengths, prefixes, device)} if shares else {})
    if not implementation.startswith("flash_attention"):
        raise UserError(
            f"attn_implementation {implementation!r} does not keep packed conversations apart; leave it out if it "
            "was set, name flash_attention_2, or set data.packing to false."
        )
    if shares:
        raise UserError(
            f"attn_implementation {implementation!r} cannot share a prompt among its responses; leave it out, or set "
            "data.packing to false."
        )
    bounds, most = _bounds(lengths, device), max(lengths)
    return {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": most, "max_length_k": most}


def _bounds(lengths: list[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *lengths], device=device).cumsum(0, dtype=torch.int32)


@dataclass(eq=False)
class Keys:
    """Which tokens of a row each of its conversations attends to: a beginning that it shares, and its own.

    Args:
        lengths: Tokens of each conversation.
        prefixes: How many it shares, see `boundaries`.
        device: Where the model is.
    """

    lengths: list[int]
    prefixes: Sequence[int]
    device: torch.device

    def __post_init__(self) -> None:
        starts = [0, *torch.tensor(self.lengths).cumsum(0).tolist()]
        trunk, own = 0, []
        for start, length, prefix in zip(starts, self.lengths, self.prefixes, strict=False):
            trunk = trunk if prefix else start
            own.append(torch.cat([torch.arange(trunk, trunk + prefix), torch.arange(start, start + length)]))
        self.sizes = [len(tokens) for tokens in own]
        self.places = torch.cat(own).to(self.device)
        """Where the tokens lie in the row [K], those of one conversation behind those of the one before."""
        self.bounds = _bounds(self.sizes, self.device)


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
    conversation_keys: Keys | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each of the conversations of a row, and to the beginning that it shares.

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
        conversation_keys: What each attends to where some share a beginning; null is each to itself.
        settings: What some architectures ask for besides; `softcap` and `s_aux` (sinks) torch's kernels do not know.

    Returns:
        [1, T, heads, D], and no weights.

    Raises:
        UserError: The model asks for what these kernels cannot do.
    """
    if settings.get("softcap") is not None or settings.get("s_aux") is not None:
        raise UserError(
            "this architecture caps its attention scores or has sinks; set data.packing to false and "
            "model.attn_implementation to eager."
        )
    sizes = conversation_lengths or [query.shape[2]]
    keys = conversation_keys
    if keys is not None:
        key, value = key[:, :, keys.places], value[:, :, keys.places]
    if _is_one_launch(query, dropout):
        bounds = _bounds(sizes, query.device) if conversation_bounds is None else conversation_bounds
        ends = (bounds, bounds, max(sizes), max(sizes))
        if keys is not None:
            ends = (bounds, keys.bounds, max(sizes), max(keys.sizes))
        return _attend_at_once(query, key, value, ends, scaling, sliding_window), None
    seen = sizes if keys is None else keys.sizes
    parts = zip(query.split(sizes, 2), key.split(seen, 2), value.split(seen, 2), strict=True)
    attended = [_attend(q, k, v, dropout, scaling, sliding_window) for q, k, v in parts]
    return torch.cat(attended, dim=2).transpose(1, 2), None


def _is_one_launch(query: Tensor, dropout: float) -> bool:
    """Whether torch's FlashAttention computes this."""
    if not query.is_cuda or torch.cuda.get_device_capability(query.device) < (8, 0):
        return False
    size = query.shape[-1]
    return query.dtype in (torch.bfloat16, torch.float16) and not dropout and size <= 256 and size % 8 == 0


def _attend_at_once(
    q: Tensor, k: Tensor, v: Tensor, ends: tuple[Tensor, Tensor, int, int], scale: float | None, window: int | None
) -> Tensor:
    """Conversations of more keys than queries, whose last ones are the queries' own, are aligned at their ends."""
    q, k, v = (states[0].transpose(0, 1) for states in (q, k, v))
    settings: dict[str, Any] = {"enable_gqa": q.shape[1] != k.shape[1]} if "enable_gqa" in TOLD else {}
    settings |= {"scale": scale, "window_size": ((window or 0) - 1, 0)}
    attended = varlen_attn(q, k, v, *ends, **settings)
    assert isinstance(attended, Tensor)  # alone, for nothing else was asked for
    return attended[None]


def _attend(q: Tensor, k: Tensor, v: Tensor, dropout: float, scale: float | None, window: int | None) -> Tensor:
    """One conversation, or one behind a shared beginning, whose keys stand in front of its own."""
    own, seen = q.shape[2], k.shape[2]
    before, band = seen - own, None
    if before or (window is not None and window < seen):
        band = torch.ones(own, seen, dtype=torch.bool, device=q.device).tril(before)
        band = band if window is None else band.triu(before + 1 - window)
    return nn.functional.scaled_dot_product_attention(
        q, k, v, band, dropout, is_causal=band is None, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
    )


def install_grouped(model: PreTrainedModel) -> None:
    """Makes a model that attends by torch's kernels attend by them in groups; older ones keep their own way."""
    if model.config._attn_implementation == "sdpa" and model.is_backend_compatible():
        model.set_attn_implementation(GROUPED)


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Attention of few new tokens over many; any other is left to transformers.

    Kernels that take a mask want as many key heads as query heads, and transformers repeats the keys for them (from
    5.22 on but for a single new token), eight times what a decoding step reads. The queries of a group can instead
    stand behind each other, as if they were so many tokens of one head.

    Args:
        module: The attention layer that calls.
        query: [rows, heads, new, size].
        key: [rows, key-value heads, width, size].
        value: Likewise.
        attention_mask: [rows, 1, new, width], what is added to the scores, alike for all heads.
        scaling: Of the scores; null takes 1 / sqrt(size).
        settings: What some architectures ask for besides.

    Returns:
        [rows, new, heads, size], and no weights.
    """
    rows, heads, new, size = query.shape
    shared = key.shape[1]
    asks = any(settings.get(name) is not None for name in ("position_bias", "softcap", "s_aux", "cache"))
    if asks or attention_mask is None or attention_mask.shape[1] != 1 or not _is_worth_it(heads, new, key):
        attended, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **settings)
        return attended, None
    stacked = query.reshape(rows, shared, heads // shared * new, size)
    mask = attention_mask.repeat(1, 1, heads // shared, 1) if new > 1 else attention_mask
    attended = nn.functional.scaled_dot_product_attention(stacked, key, value, mask, scale=scaling)
    return attended.reshape(rows, heads, new, value.shape[-1]).transpose(1, 2).contiguous(), None


def _is_worth_it(heads: int, new: int, key: Tensor) -> bool:
    """Whether the mask for the stacked queries is smaller than repeated keys and values."""
    return heads > key.shape[1] and heads // key.shape[1] * new <= 2 * heads * key.shape[3]


AttentionInterface.register(PACKED, packed_attention)
AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, sdpa_mask)
