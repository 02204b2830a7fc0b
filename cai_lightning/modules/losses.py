"""What objectives are made of: log-probabilities and cross-entropy of tokens, and the losses of pairs and groups.

    logprobs = token_logprobs(hidden[kept], targets, head)  # [N], for any loss
    loss, tokens = supervised_loss(hidden, labels, head)    # their negative sum, faster
    loss = soft_dpo(delta, label, beta=0.1).sum()           # so are soft_bradley_terry, ipo, grpo and k2_kl: one each

The projection to the vocabulary is where time and memory of fine-tuning go: 512 tokens of Qwen's 151,936 words are
300 MB of logits in float32. So it is made chunk by chunk, of the tokens that are asked for alone, and no logits are
kept: `token_logprobs` makes those of a chunk once more on the way back; `supervised_loss`, whose gradient is known as
soon as its value, computes both together.

The losses of pairs and groups give one number a pair or a token. Summing them, and dividing by all of a step, is for
whoever makes the steps.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint

from cai_lightning.data.batches import IGNORED

CHUNK_BYTES = 64 * 2**20
"""Most bytes that the logits of one chunk take in float32."""


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


def soft_bradley_terry(difference: Tensor, label: Tensor) -> Tensor:
    """How badly two rewards tell which of two responses is better (Bradley & Terry 1952, with soft labels).

    With d = r1 - r2 and the label p it is -p log s(d) - (1 - p) log s(-d), s being the sigmoid; its gradient for d is
    s(d) - p. It is never below `label_entropy(label)`, so that the excess over that is what can be learned.

    Args:
        difference: The reward of the first response less that of the second, [N].
        label: The probability in [0, 1] that the first is better, [N].

    Returns:
        [N] in nats.
    """
    return -label * logsigmoid(difference) - (1 - label) * logsigmoid(-difference)


def label_entropy(label: Tensor) -> Tensor:
    """What no model can take from a loss with soft labels: -p log p - (1 - p) log(1 - p), 0 where a label is hard.

    Args:
        label: Probabilities in [0, 1], [N].

    Returns:
        [N] in nats.
    """
    entropy: Tensor = torch.special.entr(label) + torch.special.entr(1 - label)
    return entropy


def soft_dpo(delta: Tensor, label: Tensor, beta: float) -> Tensor:
    """Direct preference optimization (Rafailov et al. 2023) towards a probability instead of a winner.

    It is `soft_bradley_terry` of the rewards that a policy stands for, beta log(policy / reference): lowest where
    beta delta is the log-odds of the label, and so bounded for every label that is not hard. A label of 1 - e is
    conservative DPO (Mitchell 2023).

    Args:
        delta: log(policy / reference) of the first response, summed over its tokens, less that of the second, [N].
        label: The probability in [0, 1] that the first is better, [N].
        beta: How much a policy pays for leaving its reference, above 0.

    Returns:
        [N] in nats.
    """
    return soft_bradley_terry(beta * delta, label)


def ipo(delta: Tensor, label: Tensor, tau: float) -> Tensor:
    """Identity preference optimization (Azar et al. 2023): the square of how far delta is from (2p - 1) / (2 tau).

    Args:
        delta: As in `soft_dpo`; where it is summed over tokens or a mean of them, tau is meant for that.
        label: The probability in [0, 1] that the first response is better, [N].
        tau: How much a policy pays for leaving its reference, above 0.

    Returns:
        [N].
    """
    return (delta - (2 * label - 1) / (2 * tau)).square()


def nll_of_better(mean_logprobs: Tensor, label: Tensor) -> Tensor:
    """The negative log-likelihood of the response that is held to be better, as far as it is.

    It keeps a policy from learning a preference by making both responses unlikely (Pang et al. 2024; Razin et al.
    2024). It counts |2p - 1| times: fully where the label is hard, not at all where neither response is better.

    Args:
        mean_logprobs: Log-probabilities of both responses, means over their tokens, [N, 2].
        label: The probability in [0, 1] that the first is better, [N].

    Returns:
        [N] in nats a token.
    """
    certainty = 2 * label - 1
    return -certainty.abs() * torch.where(certainty > 0, mean_logprobs[:, 0], mean_logprobs[:, 1])


def group_advantages(rewards: Tensor, floor: float) -> Tensor:
    """How much better each answer is than the others to its prompt, in deviations of the whole batch.

    The baseline is the group's mean, as in group relative policy optimization (Shao et al. 2024). The deviation is that
    of all answers from the mean of their own group: a group's own would blow up differences that are next to nothing.

    Args:
        rewards: Of n answers to each of G prompts, [G, n]; NaN is unscored.
        floor: The least deviation, in units of the reward and above 0; rewards closer together than it teach little.

    Returns:
        [G, n] in float64: 0 for what is unscored, which is in no mean and no deviation, and exactly 0 in a group whose
        rewards are all equal.
    """
    exact = rewards.double()
    is_scored = ~exact.isnan()
    least = exact.nan_to_num(nan=torch.inf).amin(1, keepdim=True)
    above = torch.where(is_scored, exact - least, 0.0)  # of equal rewards exactly 0, and so is their mean
    mean = above.sum(1, keepdim=True) / is_scored.sum(1, keepdim=True).clamp(min=1)
    centred = torch.where(is_scored, above - mean, 0.0)
    deviation = (centred.square().sum() / is_scored.sum().clamp(min=1)).sqrt()
    return centred / deviation.clamp(min=floor)


def grpo(logprobs: Tensor, drawn: Tensor, advantages: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """The clipped loss of tokens that a policy has drawn: -min(r A, clip(r, 1 - low, 1 + high) A).

    r is how likely a token is now against when it was drawn. Its clipping (Schulman et al. 2017) takes the gradient
    where a step has gone far enough, with more room above than below (Yu et al. 2025), and never where it has gone the
    wrong way: A < 0 with r > 1 + high is not clipped.

    Args:
        logprobs: Of N tokens under the policy, with gradients, [N].
        drawn: Of the same tokens when they were drawn, [N].
        advantages: Of the answers that they belong to, [N].
        clip_low: How far r may fall below 1.
        clip_high: How far it may rise above 1.

    Returns:
        [N]; summed and divided by all tokens of a step, long answers count as much as they are long.
    """
    ratio = (logprobs - drawn).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)


def k2_kl(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Half the square of log(policy / reference): a loss whose gradient is that of KL(policy || reference).

    So it is in expectation over tokens that the policy draws. That of the log-ratio itself is 0, and that of the
    estimator called k3 belongs to KL(reference || policy), though their values estimate better (Schulman 2020).

    Args:
        logprobs: Of N tokens under the policy, with gradients, [N].
        reference: Of the same tokens under the reference, [N].

    Returns:
        [N] in nats, squared.
    """
    return (logprobs - reference).square() / 2


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
