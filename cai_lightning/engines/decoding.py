"""Writes the continuations of a batch token by token; rows that are finished leave it, so that nobody pays for them."""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import LogitsProcessorList, PreTrainedModel, StaticCache

from cai_lightning.engines.sampling import SeededDraw

CROWDED = 0.8
"""The batch is cut down to its unfinished rows once their share is at most this."""


@torch.inference_mode()
def decode(
    policy: PreTrainedModel,
    ids: Tensor,
    mask: Tensor,
    draws: LogitsProcessorList,
    max_new_tokens: int,
    finished: Callable[[Tensor], Tensor],
) -> list[list[int]]:
    """Continues every row until it is finished.

    The cache is made whole at the start: on a CPU one that grows is copied at every step, which takes most of the time.

    Args:
        policy: The model.
        ids: Tokens [B, L], padded on the left.
        mask: 1 where a token stands, 0 where padding does [B, L].
        draws: What turns logits into scores whose largest is the next token.
        max_new_tokens: Rows are cut after so many tokens.
        finished: Tells of token ids [B, L + n] which rows end with their last token, as booleans [B].

    Returns:
        The new tokens of each row, the one that ended it included.
    """
    cache = StaticCache(config=policy.config, max_cache_len=ids.shape[1] + max_new_tokens)
    written: list[list[int]] = [[] for _ in ids]
    rows = torch.arange(len(ids), device=ids.device)
    open_ = torch.ones_like(rows, dtype=torch.bool)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    step = ids
    for _ in range(max_new_tokens):
        logits = policy(
            input_ids=step, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
        ).logits[:, -1]
        step = draws(ids, logits.float()).argmax(dim=-1, keepdim=True)
        for row, token, is_open in zip(rows.tolist(), step[:, 0].tolist(), open_.tolist(), strict=True):
            if is_open:
                written[row].append(token)
        ids = torch.cat([ids, step], dim=1)
        open_ &= ~finished(ids)
        if not open_.any():
            break
        mask = torch.cat([mask, torch.ones_like(step)], dim=1)
        positions = positions[:, -1:] + 1
        if open_.float().mean() <= CROWDED:
            kept = open_.nonzero()[:, 0]
            _keep(cache, draws, kept)
            ids, mask, positions, step, rows, open_ = (t[kept] for t in (ids, mask, positions, step, rows, open_))
    return written


def _keep(cache: StaticCache, draws: LogitsProcessorList, kept: Tensor) -> None:
    """Cuts what is held for every row down to the rows that are kept."""
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys[kept], layer.values[kept]
    for draw in draws:
        if isinstance(draw, SeededDraw):
            draw.keep(kept.tolist())
