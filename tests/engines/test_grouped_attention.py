"""Stacked queries attend as those whose keys are repeated for them."""

import random

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import Qwen2Config, Qwen2ForCausalLM

from cai_lightning.engines import grouped_attention


def plain(query, key, value, mask, scale):
    key, value = (states.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for states in (key, value))
    return scaled_dot_product_attention(query, key, value, mask, scale=scale).transpose(1, 2)


def test_it_is_the_plain_form_for_any_shape():
    torch.manual_seed(0)
    for case in range(300):
        rng = random.Random(case)
        shared, groups, size = rng.randrange(1, 4), rng.randrange(1, 9), rng.choice([4, 16, 64])
        rows, new, width = rng.randrange(1, 5), rng.choice([1, 1, 2, 30]), rng.randrange(30, 70)
        query = torch.randn(rows, shared * groups, new, size)
        key, value = torch.randn(2, rows, shared, width, size)
        mask = torch.zeros(rows, 1, new, width).masked_fill(torch.rand(rows, 1, new, width) < 0.4, -torch.inf)
        mask[..., 0] = 0
        layer, scale = nn.Module(), rng.choice([None, 0.3])
        layer.num_key_value_groups = groups
        found, _ = grouped_attention.grouped_attention(layer, query, key, value, mask, scaling=scale)
        torch.testing.assert_close(found, plain(query, key, value, mask, scale), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [{}, {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}])
def test_a_model_without_a_mask_attends_as_before(window):
    """Whole conversations are read so where options are weighed; a window is a mask that the model makes itself."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    policy = Qwen2ForCausalLM(Qwen2Config(vocab_size=50, num_key_value_heads=2, **shape, **window)).eval()
    ids = torch.randint(50, (3, 20))
    with torch.no_grad():
        before = policy(ids).logits
        grouped_attention.install(policy)
        assert policy.config._attn_implementation == grouped_attention.NAME
        torch.testing.assert_close(policy(ids).logits, before, atol=1e-5, rtol=1e-5)


def test_eager_attention_stays_so():
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    policy = Qwen2ForCausalLM(Qwen2Config(vocab_size=50, attn_implementation="eager", **shape))
    grouped_attention.install(policy)
    assert policy.config._attn_implementation == "eager"
