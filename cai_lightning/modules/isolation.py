"""Makes sure that a model reads each conversation by itself, and every token of it without those that follow.

Nothing else would tell: recurrent layers and convolutions run on from one packed conversation into the next, and an
architecture with attention code of its own may drop the mask, and all losses still look well.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from cai_lightning.data.batches import IGNORED, Batch, Example, moved, pack, pad
from cai_lightning.run.errors import UserError

LENGTH = 8
"""Tokens of each of the two conversations that are looked at."""

ROUNDING = 0.05
"""Change of a hidden state, relative to its length, up to which it may be rounding, of 8 bits too."""


@torch.no_grad()
def check_isolation(model: PreTrainedModel, hidden_states: Callable[[Batch], Tensor], packing: bool) -> None:
    """Changes the second half of the first of two conversations, and looks which hidden states change with it.

    Args:
        model: A causal language model.
        hidden_states: Its last ones of a batch, as training computes them.
        packing: Whether training packs conversations.

    Raises:
        UserError: Those of the first half change, or those of the other conversation do.
    """
    ids = (torch.arange(1, 1 + 3 * LENGTH) % model.config.get_text_config().vocab_size).tolist()
    first, second, other = ids[:LENGTH], ids[LENGTH : 2 * LENGTH], ids[2 * LENGTH :]
    changed = first[: LENGTH // 2] + other[LENGTH // 2 :]
    training = model.training
    model.eval()
    before, after = (
        hidden_states(moved(_batch([one, second], packing), model.device)).reshape(2, LENGTH, -1).float()
        for one in (first, changed)
    )
    model.train(training)
    change = (after - before).norm(dim=-1) / before.norm(dim=-1)
    if change[0, : LENGTH // 2].max() > ROUNDING:
        raise UserError(
            f"{model.name_or_path}: with attn_implementation {model.config._attn_implementation!r} this architecture "
            "sees the tokens that it is to predict; leave model.attn_implementation out, or set it to eager."
        )
    if change[1].max() > ROUNDING:
        raise UserError(
            f"{model.name_or_path}: this architecture carries over from one packed conversation into the next, as "
            "recurrent layers do; set data.packing to false."
        )


def _batch(conversations: list[list[int]], packing: bool) -> Batch:
    examples = [Example("check", ids, [IGNORED] * len(ids), truncated=False) for ids in conversations]
    return pack(examples, step_tokens=1) if packing else pad(examples, step_tokens=1, filling=0)
