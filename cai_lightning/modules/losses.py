"""What objectives are made of: log-probabilities and cross-entropy of tokens, without the logits of all.

    check_architecture(model, hidden_states, packing=True)  # whether these are the model's own
    logprobs = token_logprobs(hidden[kept], targets, head)  # [N], for any loss
    loss, tokens = supervised_loss(hidden, labels, head)    # their negative sum, faster

The projection to the vocabulary is where time and memory of fine-tuning go: 512 tokens of Qwen's 151,936 words are
300 MB of logits in float32. So it is made chunk by chunk, of the tokens that are asked for alone, and no logits are
kept: `token_logprobs` makes those of a chunk once more on the way back; `supervised_loss`, whose gradient is known as
soon as its value, computes both together.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from cai_lightning.data.batches import IGNORED, Batch, Example, pack, pad
from cai_lightning.run.errors import UserError

CHUNK_BYTES = 64 * 2**20
"""Most bytes that the logits of one chunk take in float32."""

LENGTH = 8
"""Tokens of each of the two conversations on which an architecture is tried; its loss on one of twice as many."""

ROUNDING = 0.05
"""Change of a hidden state, relative to its length, up to which it may be rounding, of 8 bits too."""

HiddenStates = Callable[[Batch], Tensor]


def token_logprobs(hidden: Tensor, targets: Tensor, head: nn.Linear) -> Tensor:
    """The log-probabilities of tokens, with gradients for the hidden states and the head.

    Args:
        hidden: The hidden states [N, H] from which they are predicted.
        targets: The tokens [N].
        head: From hidden states to logits over the vocabulary of V tokens.

    Returns:
        [N] in float32 (float64 where `hidden` is).
    """
    hidden, weight = _autocast(hidden), head.weight
    weight = weight if weight.requires_grad else weight.to(hidden.dtype)  # gradients add up in the type it is held in
    again = partial(checkpoint, _logprobs, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([again(hidden[n], targets[n], weight, head.bias) for n in _chunks(len(hidden), len(weight))])


def supervised_loss(hidden: Tensor, labels: Tensor, head: nn.Linear) -> tuple[Tensor, int]:
    """Summed cross-entropy of the next token over the supervised places, the only ones that get logits.

    Args:
        hidden: Last hidden states [B, L, H].
        labels: Tokens [B, L], `IGNORED` where nothing is learned; place t is predicted from place t - 1.
        head: From hidden states to logits over the vocabulary of V tokens.

    Returns:
        The sum of the losses in float32 (float64 where `hidden` is), and over how many tokens it is summed.
    """
    target = labels[:, 1:]
    kept = target != IGNORED
    chosen = _autocast(hidden[:, :-1][kept])
    loss: Tensor = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        chosen, target[kept], head.weight, head.bias
    )
    return loss, int(kept.sum())


def _autocast(hidden: Tensor) -> Tensor:
    """Hidden states in the type that mixed precision multiplies in."""
    device = hidden.device.type
    return hidden.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else hidden


def _exact(hidden: Tensor) -> torch.dtype:
    return torch.promote_types(hidden.dtype, torch.float32)


def _chunks(tokens: int, vocabulary: int) -> Iterator[slice]:
    step = max(1, CHUNK_BYTES // (4 * vocabulary))
    return (slice(start, start + step) for start in range(0, max(tokens, 1), step))  # one, if there is no token


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    typed = None if bias is None else bias.to(hidden.dtype)
    return nn.functional.linear(hidden, weight.to(hidden.dtype), typed).to(_exact(hidden))


def _logprobs(hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    logits = _logits(hidden, weight, bias)
    return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(-1)


class _ChunkedCrossEntropy(torch.autograd.Function):
    """The sum of the losses of N tokens; its gradients are ready when it is, and are scaled on the way back."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, target: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        exact = _exact(hidden)
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight, dtype=exact) if ctx.needs_input_grad[2] else None
        grad_bias = torch.zeros_like(bias, dtype=exact) if bias is not None and ctx.needs_input_grad[3] else None
        total = hidden.new_zeros((), dtype=exact)
        typed = weight.to(hidden.dtype)
        for rows in _chunks(len(hidden), len(weight)):
            logits = _logits(hidden[rows], typed, bias)
            normalizer = logits.logsumexp(-1, keepdim=True)
            total += (normalizer - logits.gather(1, target[rows, None])).sum()
            if not any(ctx.needs_input_grad):
                continue
            change = logits.sub_(normalizer).exp_()
            change.scatter_add_(1, target[rows, None], change.new_full((len(change), 1), -1.0))
            if grad_bias is not None:
                grad_bias += change.sum(0)
            change = change.to(hidden.dtype)
            if grad_hidden is not None:
                torch.mm(change, typed, out=grad_hidden[rows])
            if grad_weight is not None:
                grad_weight += change.T @ hidden[rows]
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight, grad_bias = ctx.saved_tensors
        return (
            None if grad_hidden is None else grad_hidden * grad.to(grad_hidden.dtype),
            None,
            None if grad_weight is None else (grad_weight * grad).to(ctx.weight_dtype),
            None if grad_bias is None else (grad_bias * grad).to(ctx.weight_dtype),
        )


@torch.no_grad()
def check_architecture(model: PreTrainedModel, hidden_states: HiddenStates, packing: bool) -> None:
    """Makes sure that the loss is the model's own, and that it reads each conversation by itself and token by token.

    Nothing else would tell: recurrent layers and convolutions run on from one packed conversation into the next, an
    architecture with attention code of its own may drop the mask, another scales its logits behind the head, and all
    losses still look well. So it is tried on a few tokens before the first step.

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
