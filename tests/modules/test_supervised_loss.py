"""The chunked loss and its gradients are those of the plain one; a model that does more to its logits is refused."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from transformers import GraniteConfig, GraniteForCausalLM

from cai_lightning.data.batches import IGNORED
from cai_lightning.modules import losses as module
from cai_lightning.modules.losses import check_loss, supervised_loss
from cai_lightning.run.errors import UserError


def plain_loss(hidden, labels, head):
    """Every logit at once, and torch's own cross-entropy."""
    logits = head(hidden)[:, :-1]
    return nn.functional.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows_in_a_chunk", [1, 3, 1000])
@pytest.mark.parametrize("frozen", [False, True])
def test_loss_and_gradients_equal_the_plain_ones(bias, rows_in_a_chunk, frozen, monkeypatch):
    torch.manual_seed(0)
    head = nn.Linear(8, 31, bias=bias, dtype=torch.float64).requires_grad_(not frozen)
    monkeypatch.setattr(module, "CHUNK_BYTES", 4 * 31 * rows_in_a_chunk)
    hidden = torch.randn(3, 7, 8, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 31, (3, 7))
    labels[0, :4] = labels[1, 2:] = labels[2, 3] = IGNORED
    loss, tokens = supervised_loss(hidden, labels, head)
    learned = [hidden, *(p for p in head.parameters() if p.requires_grad)]
    expected = plain_loss(hidden, labels, head)
    assert tokens == int((labels[:, 1:] != IGNORED).sum())
    torch.testing.assert_close(loss, expected, atol=1e-10, rtol=0)
    ours, theirs = torch.autograd.grad(loss * 0.3, learned), torch.autograd.grad(expected * 0.3, learned)
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)
    assert all(gradient.abs().sum() > 0 for gradient in ours)


def test_no_label_is_no_loss_and_a_gradient_of_zeros():
    hidden = torch.randn(1, 4, 8, requires_grad=True)
    loss, tokens = supervised_loss(hidden, torch.full((1, 4), IGNORED), nn.Linear(8, 5))
    loss.backward()
    assert (loss.item(), tokens) == (0.0, 0)
    assert not hidden.grad.any()


@pytest.mark.parametrize("scaling", [1.0, 8.0])
def test_an_architecture_that_scales_its_logits_is_refused(scaling):
    torch.manual_seed(0)
    config = GraniteConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, logits_scaling=scaling, initializer_range=1.0,
    )  # fmt: skip
    model = GraniteForCausalLM(config)

    def summed(batch):
        return supervised_loss(model.model(batch["input_ids"]).last_hidden_state, batch["labels"], model.lm_head)

    with pytest.raises(UserError, match="does more to its logits") if scaling != 1 else nullcontext():
        check_loss(model, summed)
