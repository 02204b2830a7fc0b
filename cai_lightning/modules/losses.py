"""Cross-entropy of supervised tokens without the logits of all: in chunks, and only where there is a label.

    loss, tokens = supervised_loss(hidden, labels, head)

The projection to the vocabulary is where time and memory of fine-tuning go: 512 tokens of Qwen's 151,936 words are
300 MB of logits in float32. So the gradient is computed together with the loss, chunk by chunk, and no logits are kept.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

from cai_lightning.data.batches import IGNORED, Batch, Example, moved, pad
from cai_lightning.run.errors import UserError

CHUNK_BYTES = 64 * 2**20
"""Most bytes that the logits of one chunk take in float32."""

CHECKED = 16
"""Tokens of the conversation on which the loss is compared with the model's own."""


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
    chosen = hidden[:, :-1][kept]
    if torch.is_autocast_enabled(hidden.device.type):
        chosen = chosen.to(torch.get_autocast_dtype(hidden.device.type))
    loss: Tensor = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        chosen, target[kept], head.weight, head.bias
    )
    return loss, int(kept.sum())


@torch.no_grad()
def check_loss(model: PreTrainedModel, summed_loss: Callable[[Batch], tuple[Tensor, int]]) -> None:
    """Makes sure that the loss is the model's own: some architectures scale or cap their logits behind the head.

    Args:
        model: A causal language model.
        summed_loss: The loss of a batch as training computes it, in the same model.

    Raises:
        UserError: The two differ.
    """
    ids = torch.arange(1, 1 + CHECKED) % model.config.get_text_config().vocab_size
    example = Example("check", ids.tolist(), [IGNORED, *ids[1:].tolist()], truncated=False)
    batch = moved(pad([example], CHECKED - 1, filling=0), model.device)  # any attention kernel can do that
    training = model.training
    model.eval()
    loss, tokens = summed_loss(batch)
    own = model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
    model.train(training)
    if not torch.allclose(loss / tokens, own.to(loss.dtype), rtol=0.02, atol=0.02):
        raise UserError(
            f"{model.name_or_path}: this architecture does more to its logits than project them (its own loss is "
            f"{own.item():.4f}, the chunked one {loss.item() / tokens:.4f}); it cannot be trained here."
        )


class _ChunkedCrossEntropy(torch.autograd.Function):
    """The sum of the losses of N tokens; its gradients are ready when it is, and are scaled on the way back."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, target: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        by_hidden, by_weight, by_bias = ctx.needs_input_grad[0], ctx.needs_input_grad[2], ctx.needs_input_grad[3]
        grad_hidden = torch.empty_like(hidden) if by_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=exact) if by_weight else None
        grad_bias = torch.zeros_like(bias, dtype=exact) if by_bias and bias is not None else None
        total = hidden.new_zeros((), dtype=exact)
        typed = weight.to(hidden.dtype)
        step = max(1, CHUNK_BYTES // (4 * len(weight)))
        for start in range(0, len(hidden), step):
            rows = slice(start, start + step)
            logits = nn.functional.linear(hidden[rows], typed, None if bias is None else bias.to(hidden.dtype))
            logits = logits.to(exact)
            normalizer = logits.logsumexp(-1, keepdim=True)
            total += (normalizer - logits.gather(1, target[rows, None])).sum()
            if not (by_hidden or by_weight or by_bias):
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
