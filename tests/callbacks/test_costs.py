"""Operations and bytes are counted as torch counts them."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cai_lightning.callbacks.costs import Costs, count_costs
from cai_lightning.models.adapters import Lora, base_of, head_of
from cai_lightning.models.policy import open_policy

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


COSTS = Costs(
    parameters=100_000_000,
    trained=1_000_000,
    bytes_held=202_000_000,
    exact=50_000_000,
    body=0,
    head=0,
    width=600_000,
    layers=30,
    hidden=500,
)


def test_the_statement_of_memory_is_the_sum_of_its_parts():
    """By hand: 202 + 12 of gradients and moments + 1,000 x 600,000 x 2 of activations + 134 of logits, in millions."""
    told = COSTS.statement(tokens=1000, bytes_each=4, checkpointing=False, logits=134_217_728)
    assert told.splitlines()[1] == (
        "memory: about 2.7 GB (0.20 weights, 0.01 gradients and optimizer, 2.40 activations of up to 1,000 tokens, "
        "0.13 logits)"
    )
    told = COSTS.statement(tokens=1000, bytes_each=2, checkpointing=False, logits=134_217_728)
    assert told.splitlines()[1] == (
        "memory: about 1.6 GB (0.20 weights, 0.10 copies of them in 16 bits, 0.01 gradients and optimizer, 1.20 "
        "activations of up to 1,000 tokens, 0.13 logits)"
    )


def test_on_a_cpu_the_heap_and_the_program_take_more():
    """1.4 times the activations, and 702 - 202 million bytes of libraries and what else there is."""
    told = COSTS.statement(tokens=1000, bytes_each=4, checkpointing=False, logits=134_217_728, process=702_000_000)
    assert told.splitlines()[1] == (
        "memory: about 4.2 GB (0.20 weights, 0.01 gradients and optimizer, 3.36 activations of up to 1,000 tokens, "
        "0.13 logits, 0.50 the program)"
    )


@pytest.mark.parametrize(("dtype", "lora"), [("float32", None), ("float32", Lora(r=4)), ("bfloat16", Lora(r=4))])
def test_what_mixed_precision_copies_is_what_it_keeps_whatever_the_tokens(tiny_model, dtype, lora):
    """Beside what autograd keeps, so many bytes for each token and so many for none; the head is left out here."""
    policy = open_policy(str(tiny_model), lora, dtype)
    few, many = (kept_bytes(base_of(policy), tokens) for tokens in (16, 48))
    constant = few - (many - few) / 2
    costs, head = count_costs(policy), head_of(policy).weight
    copied = costs.copied_bytes(2) - (2 * head.numel() if head.dtype == torch.float32 else 0)
    assert constant == pytest.approx(copied, rel=0.15, abs=2000)
    assert costs.copied_bytes(4) == 0


def kept_bytes(model, tokens):
    """The bytes that autograd keeps of a forward pass in mixed precision, the model's own left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage  # held, so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        last = model.base_model(torch.arange(tokens)[None]).last_hidden_state
    assert last.requires_grad
    return sum(storage.nbytes() for place, storage in kept.items() if place not in own)


def test_parameters_and_bytes_are_those_of_the_model(tiny_model):
    policy = open_policy(str(tiny_model), Lora(r=4), "bfloat16")
    costs = count_costs(policy)
    assert costs.parameters == sum(p.numel() for p in policy.parameters())
    assert costs.trained == sum(p.numel() for p in policy.parameters() if p.requires_grad)
    assert costs.bytes_held == 2 * (costs.parameters - costs.trained) + 4 * costs.trained
    assert costs.activation_bytes(100, 2, checkpointing=True) < costs.activation_bytes(100, 2, checkpointing=False)
