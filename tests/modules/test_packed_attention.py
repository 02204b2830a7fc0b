"""Conversations behind one another attend each to itself, whatever heads, windows and kernels there are."""

import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM

from cai_lightning.errors import UserError
from cai_lightning.modules import packed_attention
from cai_lightning.modules.packed_attention import boundaries

LENGTHS = [7, 1, 12, 4]


def packed_logits(model, ids):
    places = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    return model(ids, position_ids=places, **boundaries(LENGTHS, "packed", model.device)).logits


@pytest.mark.parametrize("window", [None, 5])
def test_each_conversation_is_read_as_if_alone(window):
    packed_attention.register()
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
        packed_attention.packed_attention(model, states, states, states, None, softcap=50.0)
