"""Operations and bytes are counted as torch counts them."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cai_lightning.modules.costs import count_costs
from cai_lightning.modules.policy import Lora, base_of, head_of, open_policy

TOKENS = 24


@pytest.mark.parametrize("lora", [Lora(r=4), None], ids=["adapter", "whole model"])
def test_operations_are_those_of_the_matrix_products(tiny_model, lora):
    policy = open_policy(str(tiny_model), lora, "float32")
    ids = torch.arange(TOKENS)[None]
    with FlopCounterMode(display=False) as counter:
        hidden = base_of(policy).base_model(ids).last_hidden_state
        head_of(policy)(hidden).sum().backward()
    products = ("aten.mm", "aten.addmm")
    counted = sum(n for name, n in counter.get_flop_counts()["Global"].items() if str(name) in products)
    flops = count_costs(policy).flops(TOKENS, TOKENS)
    # In an adapter's first layer nothing is handed back to the embeddings, which are frozen.
    assert flops == pytest.approx(counted, rel=0.12 if lora else 1e-6)
    assert flops >= counted


def test_parameters_and_bytes_are_those_of_the_model(tiny_model):
    policy = open_policy(str(tiny_model), Lora(r=4), "bfloat16")
    costs = count_costs(policy)
    assert costs.parameters == sum(p.numel() for p in policy.parameters())
    assert costs.trained == sum(p.numel() for p in policy.parameters() if p.requires_grad)
    assert costs.bytes_held == 2 * (costs.parameters - costs.trained) + 4 * costs.trained
    assert costs.activation_bytes(100, 2, checkpointing=True) < costs.activation_bytes(100, 2, checkpointing=False)
