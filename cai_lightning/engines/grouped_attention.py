"""Attention in which several query heads share keys and values, without a copy of these for each of them.

    install(policy)

Kernels that take a mask want as many key heads as query heads, and transformers repeats the keys for them (from 5.22
on but for a single new token): eight times what a decoding step reads. The queries of a group can instead stand behind
each other, as if they were so many tokens of one head.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "grouped"


def install(policy: PreTrainedModel) -> None:
    """Makes a model that attends by torch's kernels attend by them in this way; older architectures keep their own."""
    if policy.config._attn_implementation == "sdpa" and policy.is_backend_compatible():
        AttentionInterface.register(NAME, grouped_attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        policy.set_attn_implementation(NAME)


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
    if attention_mask is None or attention_mask.shape[1] != 1 or not _is_worth_it(heads, new, key) or _asks(settings):
        attended, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **settings)
        return attended, None
    stacked = query.reshape(rows, shared, heads // shared * new, size)
    mask = attention_mask.repeat(1, 1, heads // shared, 1) if new > 1 else attention_mask
    attended = scaled_dot_product_attention(stacked, key, value, mask, scale=scaling)
    return attended.reshape(rows, heads, new, value.shape[-1]).transpose(1, 2).contiguous(), None


def _is_worth_it(heads: int, new: int, key: Tensor) -> bool:
    """Whether the mask for the stacked queries is smaller than repeated keys and values."""
    return heads > key.shape[1] and heads // key.shape[1] * new <= 2 * heads * key.shape[3]


def _asks(settings: dict[str, Any]) -> bool:
    return any(settings.get(name) is not None for name in ("position_bias", "softcap", "s_aux", "cache"))
