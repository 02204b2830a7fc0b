"""Log-probabilities, losses and their gradients are those of torch's own functions over all logits at once."""

import pytest
import torch
from torch import nn

from cai_lightning.data.batches import IGNORED
from cai_lightning.modules import losses as module
from cai_lightning.modules.losses import supervised_loss, token_logprobs

TOKENS, WIDTH, WORDS = 7, 8, 31


@pytest.fixture(params=[1, 3, 1000])
def rows_in_a_chunk(request, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 4 * WORDS * request.param)


def made_head(bias, frozen):
    torch.manual_seed(0)
    return nn.Linear(WIDTH, WORDS, bias=bias, dtype=torch.float64).requires_grad_(not frozen)


def same_gradients(ours, theirs, learned):
    gradients = [torch.autograd.grad(value, learned) for value in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=0)
    assert all(gradient.abs().sum() > 0 for gradient in gradients[0])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_log_probabilities_are_those_of_a_log_softmax(rows_in_a_chunk, bias, frozen):
    """So are the gradients of a loss that is not linear in them, as those of preferences are."""
    head = made_head(bias, frozen)
    hidden = torch.randn(TOKENS, WIDTH, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, WORDS, (TOKENS,))
    ours = token_logprobs(hidden, targets, head)
    theirs = head(hidden).log_softmax(-1)[torch.arange(TOKENS), targets]
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    learned = [hidden, *(p for p in head.parameters() if p.requires_grad)]
    same_gradients(ours.sigmoid().log().sum(), theirs.sigmoid().log().sum(), learned)


def test_no_token_has_no_log_probability_and_a_gradient_of_zeros():
    hidden = torch.randn(0, WIDTH, requires_grad=True)
    found = token_logprobs(hidden, torch.zeros(0, dtype=torch.int64), nn.Linear(WIDTH, WORDS))
    found.sum().backward()
    assert found.shape == (0,)
    assert hidden.grad is not None


def test_no_logits_are_kept_for_the_way_back(monkeypatch):
    """What autograd keeps grows with the hidden states, and not with the words of the vocabulary."""
    monkeypatch.setattr(module, "CHUNK_BYTES", 4 * 1000 * 2)
    head = nn.Linear(WIDTH, 1000, bias=False).requires_grad_(False)
    hidden = torch.randn(TOKENS, WIDTH, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda t: t):
        token_logprobs(hidden, torch.arange(TOKENS), head)
    assert sum(n for n in kept if n != head.weight.numel()) < 1000


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mixed", [False, True])
def test_the_loss_is_the_sum_of_negative_log_probabilities(dtype, mixed):
    """In whatever type it is computed; both take the same logits."""
    torch.manual_seed(0)
    head = nn.Linear(WIDTH, WORDS, bias=False, dtype=dtype).requires_grad_(False)
    hidden = torch.randn(1, TOKENS, WIDTH, dtype=dtype, requires_grad=True)
    labels = torch.randint(0, WORDS, (1, TOKENS))
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        fused, _ = supervised_loss(hidden, labels, head)
        plain = -token_logprobs(hidden[0, :-1], labels[0, 1:], head).sum()
        assert fused.dtype == plain.dtype == torch.float32
    torch.testing.assert_close(fused, plain)
    (ours,), (theirs,) = (torch.autograd.grad(loss, hidden) for loss in (fused, plain))
    torch.testing.assert_close(ours, theirs, atol=1e-6 if dtype == torch.float32 and not mixed else 0.02, rtol=0.02)


def plain_loss(hidden, labels, head):
    """Every logit at once, and torch's own cross-entropy."""
    logits = head(hidden)[:, :-1]
    return nn.functional.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_loss_and_gradients_equal_the_plain_ones(rows_in_a_chunk, bias, frozen):
    head = made_head(bias, frozen)
    hidden = torch.randn(3, TOKENS, WIDTH, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, WORDS, (3, TOKENS))
    labels[0, :4] = labels[1, 2:] = labels[2, 3] = IGNORED
    loss, tokens = supervised_loss(hidden, labels, head)
    expected = plain_loss(hidden, labels, head)
    assert tokens == int((labels[:, 1:] != IGNORED).sum())
    torch.testing.assert_close(loss, expected, atol=1e-10, rtol=0)
    same_gradients(loss * 0.3, expected * 0.3, [hidden, *(p for p in head.parameters() if p.requires_grad)])


def test_no_label_is_no_loss_and_a_gradient_of_zeros():
    hidden = torch.randn(1, 4, 8, requires_grad=True)
    loss, tokens = supervised_loss(hidden, torch.full((1, 4), IGNORED), nn.Linear(8, 5))
    loss.backward()
    assert (loss.item(), tokens) == (0.0, 0)
    assert not hidden.grad.any()
