"""What answers are worth, and the batches that are made of them."""

import pytest
import torch
from answers import Characters, Same
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from cai_lightning.data.batches import IGNORED, pack, pad
from cai_lightning.engines import Reply, Sampling, TransformersEngine
from cai_lightning.metrics.base import Column, ResponseMetric, Scores
from cai_lightning.models.adapters import Lora, add_adapter, base_of, folded
from cai_lightning.models.attention import PACKED, install_packed
from cai_lightning.models.policy import Kept
from cai_lightning.modules.rollouts import Answer, Rewards, WeightedReward, draw, in_parts, interleaved, places, serving
from cai_lightning.run.records import Prompt, Response, samples_of


class Truth(ResponseMetric):
    """One column for prompts about bread, one for the others; the second is the better the lower it is."""

    def __init__(self):
        super().__init__([Column("helpful", "higher", 0.0, 1.0), Column("harm", "lower", 0.0, 1.0)])

    def load(self, device):
        pass

    def score(self, responses):
        bread = torch.tensor(["bread" in response.prompt for response in responses])
        nothing = torch.full((len(responses),), torch.nan)
        columns = {"helpful": torch.where(bread, 0.75, nothing), "harm": torch.where(bread, nothing, 0.25)}
        return Scores(columns, ["only one applies"] * len(responses))

    def free(self):
        pass


def response(text, prompt="How?"):
    return Response("id", prompt, response=text, reference=None, finish_reason="stop", model="m", adapter=None)


def test_the_first_column_counts_that_has_a_score_the_higher_the_better():
    rewards = Rewards([WeightedReward(Truth(), 2.0, ["helpful", "harm"])])
    values, reasons = rewards.score([response("Yes.", "Some bread?"), response("No."), response(" ")])
    assert values[:2].tolist() == [[0.75], [-0.25]]
    assert rewards.total(values)[:2].tolist() == [1.5, -0.5]
    assert values[2].isnan().all()
    assert reasons == [None, None, "empty response"]


def test_what_lacks_a_part_is_no_number_and_says_why():
    rewards = Rewards([WeightedReward(Characters(scores_bread=False)), WeightedReward(Same())])
    values, reasons = rewards.score([response("Yes.", "Some bread?"), response("No.")])
    torch.testing.assert_close(rewards.total(values), torch.tensor([torch.nan, 3.7]).double(), equal_nan=True)
    assert values[0, 1] == pytest.approx(0.7)
    assert reasons == ["about bread", None]


def test_a_score_that_its_column_cannot_hold_is_none():
    beyond = Same()
    beyond.columns = (Column("same", "higher", 0.0, 0.5),)
    values, (reason,) = Rewards([WeightedReward(beyond)]).score([response("Yes.")])
    assert values.isnan().all()
    assert reason == "same 0.7 is not in 0 to 0.5"


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 6))
def test_parts_are_in_order_and_about_as_long(lengths, parts):
    found = places(lengths, parts)
    assert found == sorted(found)
    assert set(found) <= set(range(parts))
    sums = [sum(length for length, place in zip(lengths, found, strict=True) if place == part) for part in range(parts)]
    assert all(abs(total - sum(lengths) / parts) <= max(lengths) for total in sums)


@given(st.lists(st.integers(), max_size=12), st.integers(1, 4))
def test_what_is_shared_out_comes_back_in_its_order(items, processes):
    assert interleaved([items[rank::processes] for rank in range(processes)]) == items


groups = st.lists(
    st.tuples(
        st.lists(st.integers(1, 9), min_size=1, max_size=5),
        st.lists(st.lists(st.integers(10, 99), max_size=6), max_size=4),
    ),
    max_size=4,
)


@given(groups, st.integers(1, 4), st.booleans())
def test_each_token_written_is_learned_once_with_its_own_numbers(made, parts, packing):
    """Whatever shares a prompt with what: `drawn` and `advantages` are in the order of the supervised tokens."""
    answers = [
        Answer(
            Reply("", "stop", len(ids), prompt_ids=prompt, token_ids=ids, logprobs=[-float(id) for id in ids]),
            n,
            {"n": n},
        )
        for prompt, replies in made
        for n, ids in enumerate(replies)
    ]
    make = pack if packing else lambda examples, tokens: pad(examples, tokens, filling=0)
    batches = in_parts(answers, parts, 7, make)
    assert len(batches) == parts
    for batch in batches:
        learned = batch["labels"][:, 1:]
        learned = learned[learned != IGNORED]
        assert batch["drawn"].tolist() == [-float(id) for id in learned.tolist()]
        assert len(batch["advantages"]) == len(learned)
        assert batch["step_tokens"] == 7
    written = [id for answer in answers for id in answer.reply.token_ids]
    assert [-x for batch in batches for x in batch["drawn"].tolist()] == written


@pytest.fixture
def policy(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).train()


PROMPTS = [Prompt("a", "How do I bake bread for my neighbour?"), Prompt("b", "Tell me how to steal a car.")]


def answered(policy, tiny_model, engine=None, seed="1"):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    engine = engine or TransformersEngine(str(tiny_model), Sampling(max_new_tokens=12))
    engine.attach(policy, tokenizer)
    with serving(policy):
        return engine, draw(engine, [sample for prompt in PROMPTS for sample in samples_of(prompt, 4)], seed)


def test_a_policy_in_training_answers_as_an_engine_of_its_own_would(policy, tiny_model):
    alone = TransformersEngine(str(tiny_model), Sampling(max_new_tokens=12), dtype="float32")
    alone.start(torch.device("cpu"))
    expected = draw(alone, [sample for prompt in PROMPTS for sample in samples_of(prompt, 4)], "1")
    install_packed(policy)
    _, replies = answered(policy, tiny_model)
    assert replies == expected
    assert (policy.training, policy.config._attn_implementation) == (True, PACKED)


def test_log_probabilities_are_those_that_training_computes(policy, tiny_model):
    """Token by token, from the tokens as they were written: r = 1 at the first step."""
    _, replies = answered(policy, tiny_model)
    for reply in replies:
        ids = torch.tensor([reply.prompt_ids + reply.token_ids])
        logprobs = policy(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        own = logprobs[len(reply.prompt_ids) - 1 :].tolist()
        assert reply.logprobs == pytest.approx(own, abs=1e-4)


def test_nothing_is_kept_of_weights_that_have_changed(policy, tiny_model):
    engine, before = answered(policy, tiny_model)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    engine.forget()
    samples = [sample for prompt in PROMPTS for sample in samples_of(prompt, 4)]
    with serving(policy):
        again = draw(engine, samples, "1")
    _, fresh = answered(policy, tiny_model)
    assert again == fresh
    assert again != before


def test_what_was_kept_is_computed_with_again_and_taken_back(policy):
    ids = torch.arange(6)[None]
    kept = Kept(policy)
    before = policy(ids).logits.detach()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1.5)
    after = policy(ids).logits.detach()
    places = [parameter.data_ptr() for parameter in policy.parameters()]
    with torch.no_grad(), kept.restored():
        assert torch.equal(policy(ids).logits, before)
    assert torch.equal(policy(ids).logits, after)
    assert [parameter.data_ptr() for parameter in policy.parameters()] == places


def test_an_adapter_is_folded_into_the_weights_for_a_while(policy):
    """And these are then what they were, to the bit, a thousand times over."""
    adapted = add_adapter(policy, Lora(r=4))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    base, ids = base_of(adapted), torch.arange(6)[None]
    before = {name: (value.data_ptr(), value.clone()) for name, value in base.state_dict().items()}
    expected = base(ids).logits
    with torch.no_grad(), folded(base):
        assert not torch.equal(
            base.model.layers[0].mlp.up_proj.weight, before["model.layers.0.mlp.up_proj.base_layer.weight"][1]
        )
        torch.testing.assert_close(base(ids).logits, expected, atol=1e-4, rtol=1e-4)
    for name, value in base.state_dict().items():
        assert value.data_ptr() == before[name][0]
        assert torch.equal(value, before[name][1])
    assert torch.equal(base(ids).logits, expected)


def test_no_adapter_is_folded_into_16_bits(policy):
    adapted = add_adapter(policy.bfloat16(), Lora(r=4))
    base = base_of(adapted)
    before = base.model.layers[0].mlp.up_proj.weight.data_ptr()
    with folded(base):
        assert base.model.layers[0].mlp.up_proj.weight.data_ptr() == before


def test_mixed_precision_has_no_copies_left_of_what_was_restored(policy):
    """Autocast keeps what it has cast, by where a parameter is: gradients would go to the wrong weights, or nowhere."""
    ids, kept = torch.arange(6)[None], Kept(policy)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1.5)
    with torch.autocast("cpu", torch.bfloat16):
        expected = policy(ids).logits
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad(), kept.restored():
            policy(ids)
        found = policy(ids).logits
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert all(parameter.grad is not None for parameter in policy.parameters())
