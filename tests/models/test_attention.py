"""Packed conversations attend each to itself alone; grouped attention is the plain one without repeated keys."""

import random
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

from cai_lightning.models import attention
from cai_lightning.models.attention import GROUPED, boundaries, grouped_attention, install_grouped
from cai_lightning.run.errors import UserError

LENGTHS = [7, 1, 12, 4]


def packed_logits(model, ids):
    places = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    return model(ids, position_ids=places, **boundaries(LENGTHS, "packed", model.device)).logits


@pytest.mark.parametrize("window", [None, 5])
def test_each_conversation_is_read_as_if_alone(window):
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=window, initializer_range=0.5,
    )  # fmt: skip
    model = MistralForCausalLM(config).eval()
    ids = torch.randint(0, 50, (1, sum(LENGTHS)))
    alone = torch.cat([model(part).logits for part in ids.split(LENGTHS, dim=1)], dim=1)
    model.set_attn_implementation("packed")
    torch.testing.assert_close(packed_logits(model, ids), alone, atol=1e-5, rtol=1e-5)


def plain_varlen(q, k, v, starts, ends, most, longest, scale, window_size, enable_gqa):
    """Torch's attention for one launch, by its documentation, in plain steps: [tokens, heads, size]."""
    assert torch.equal(starts, ends)
    assert most == longest == int(starts.diff().max())
    assert enable_gqa == (q.shape[1] != k.shape[1])
    back, ahead = window_size
    k, v = (states.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for states in (k, v))
    out = torch.empty_like(q)
    for start, end in starts.unfold(0, 2, 1).tolist():
        for t in range(start, end):
            seen = slice(start if back < 0 else max(start, t - back), t + ahead + 1)
            scores = torch.einsum("hd,shd->hs", q[t], k[seen]) * (scale or q.shape[-1] ** -0.5)
            out[t] = torch.einsum("hs,shd->hd", scores.softmax(-1), v[seen])
    return out


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("told", [{"scale", "window_size", "enable_gqa"}, {"scale", "window_size"}])
def test_one_launch_attends_as_one_conversation_after_the_other_does(monkeypatch, window, told):
    """On a GPU; the kernel itself is tried by `gpu_check.sh`."""
    torch.manual_seed(0)
    states = [torch.randn(1, heads, sum(LENGTHS), 8) for heads in (4, 2, 2)]
    settings = {"scaling": 0.3, "sliding_window": window, "conversation_lengths": LENGTHS}
    apart, _ = attention.packed_attention(None, *states, None, **settings)
    monkeypatch.setattr(attention, "TOLD", told)
    monkeypatch.setattr(attention, "_is_one_launch", lambda query, dropout: True)
    known = plain_varlen if "enable_gqa" in told else partial(plain_varlen, enable_gqa=True)
    monkeypatch.setattr(attention, "varlen_attn", known)
    for given in (None, boundaries(LENGTHS, "packed", torch.device("cpu"))["conversation_bounds"]):
        at_once, _ = attention.packed_attention(None, *states, None, conversation_bounds=given, **settings)
        torch.testing.assert_close(at_once, apart, atol=1e-5, rtol=1e-5)


def test_boundaries_are_named_as_flash_attention_reads_them(tiny_model):
    found = boundaries(LENGTHS, "flash_attention_2", torch.device("cpu"))
    assert found["cu_seq_lens_q"].tolist() == [0, 7, 8, 20, 24]
    assert found["cu_seq_lens_q"].dtype == torch.int32
    assert found["max_length_k"] == 12


def test_what_the_kernels_cannot_do_is_said(tiny_model):
    with pytest.raises(UserError, match=r"set data\.packing to false"):
        boundaries(LENGTHS, "eager", torch.device("cpu"))
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    states = torch.zeros(1, 4, 3, 16)
    with pytest.raises(UserError, match="caps its attention scores"):
        attention.packed_attention(model, states, states, states, None, softcap=50.0)


def repeated(query, key, value, mask, scale):
    key, value = (states.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for states in (key, value))
    return scaled_dot_product_attention(query, key, value, mask, scale=scale).transpose(1, 2)


def test_grouped_it_is_the_plain_form_for_any_shape():
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
        found, _ = grouped_attention(layer, query, key, value, mask, scaling=scale)
        torch.testing.assert_close(found, repeated(query, key, value, mask, scale), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [{}, {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}])
def test_a_model_without_a_mask_attends_as_before(window):
    """Whole conversations are read so where options are weighed; a window is a mask that the model makes itself."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    policy = Qwen2ForCausalLM(Qwen2Config(vocab_size=50, num_key_value_heads=2, **shape, **window)).eval()
    ids = torch.randint(50, (3, 20))
    with torch.no_grad():
        before = policy(ids).logits
        install_grouped(policy)
        assert policy.config._attn_implementation == GROUPED
        torch.testing.assert_close(policy(ids).logits, before, atol=1e-5, rtol=1e-5)


def test_eager_attention_stays_so():
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    policy = Qwen2ForCausalLM(Qwen2Config(vocab_size=50, attn_implementation="eager", **shape))
    install_grouped(policy)
    assert policy.config._attn_implementation == "eager"
