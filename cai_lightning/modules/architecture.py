"""Whether an architecture can be trained here: tried on a few tokens before the first step.

    check_architecture(model, hidden_states, packing=True)

Nothing else would tell: recurrent layers and convolutions run on from one packed conversation into the next, an
architecture with attention code of its own may drop the mask, another scales its logits behind the head, and all losses
still look well.
"""

from collections.abc import Callable

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor
from transformers import PreTrainedModel

from cai_lightning.data.batches import IGNORED, Batch, Example, pack, pad
from cai_lightning.modules.losses import supervised_loss
from cai_lightning.run.errors import UserError

LENGTH = 8
"""Tokens of each of the two conversations on which an architecture is tried; its loss on one of twice as many."""

ROUNDING = 0.05
"""Change of a hidden state, relative to its length, up to which it may be rounding, of 8 bits too."""

HiddenStates = Callable[[Batch], Tensor]


@torch.no_grad()
def check_architecture(model: PreTrainedModel, hidden_states: HiddenStates, packing: bool) -> None:
    """Makes sure that the loss is the model's own, and that it reads each conversation by itself and token by token.

    Args:
        model: A causal language model.
        hidden_states: Its last ones of a batch, as training computes them.
        packing: Whether training packs conversations.

    Raises:
        UserError: The model's own loss is another, as where logits are scaled or capped behind the head; or hidden
            states change with a later token, or with another conversation of the batch.
    """
    training = model.training
    model.eval()
    try:
        _check_loss(model, hidden_states)
        _check_isolation(model, hidden_states, packing)
    finally:
        model.train(training)


def _check_loss(model: PreTrainedModel, hidden_states: HiddenStates) -> None:
    ids = _tokens(model, 2 * LENGTH)
    example = Example("check", ids, [IGNORED, *ids[1:]], truncated=False)
    padded = pad([example], len(ids) - 1, filling=0)  # any attention kernel can do that
    batch = move_data_to_device(padded, model.device)
    loss, tokens = supervised_loss(hidden_states(batch), batch["labels"], model.get_output_embeddings())
    own = model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
    if not torch.allclose(loss / tokens, own.to(loss.dtype), rtol=0.02, atol=0.02):
        raise UserError(
            f"{model.name_or_path}: this architecture does more to its logits than project them (its own loss is "
            f"{own.item():.4f}, the chunked one {loss.item() / tokens:.4f}); it cannot be trained here."
        )


def _check_isolation(model: PreTrainedModel, hidden_states: HiddenStates, packing: bool) -> None:
    """Changes the second half of the first of two conversations, and looks which hidden states change with it."""
    ids = _tokens(model, 3 * LENGTH)
    first, second, other = ids[:LENGTH], ids[LENGTH : 2 * LENGTH], ids[2 * LENGTH :]
    changed = first[: LENGTH // 2] + other[LENGTH // 2 :]
    before, after = (
        hidden_states(move_data_to_device(_batch([one, second], packing), model.device)).reshape(2, LENGTH, -1).float()
        for one in (first, changed)
    )
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


def _tokens(model: PreTrainedModel, count: int) -> list[int]:
    return [token % model.config.get_text_config().vocab_size for token in range(1, 1 + count)]


def _batch(conversations: list[list[int]], packing: bool) -> Batch:
    examples = [Example("check", ids, [IGNORED] * len(ids), truncated=False) for ids in conversations]
    return pack(examples, step_tokens=1) if packing else pad(examples, step_tokens=1, filling=0)
