"""Starling's layout, against the plain computation: the score, the text, what is cut, and which batches it is in."""

import pytest
import torch
from tiny_starling import CPU, LIMIT, RESPONSES, WORDS, card, plainly, response, scores
from transformers import LlamaTokenizer

from cai_lightning.metrics import RewardModel
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import assistant, user


@pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
def test_it_is_the_head_at_the_last_token_whatever_the_batch(starling, base, weights, batch_tokens):
    found = scores(starling(batch_tokens=batch_tokens), RESPONSES)
    expected = [plainly(base, weights, card(one.prompt, one.response)) for one in RESPONSES]
    assert found.values["helpfulness"].tolist() == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.5
    assert found.reasons == [None] * 4


def test_the_text_is_the_cards_and_begins_once(starling, base):
    metric = starling(max_length=1000)
    metric.load(CPU)
    ids = metric._reward.encode([user("Hello?"), assistant("Hi!")]).ids
    tokenizer = LlamaTokenizer.from_pretrained(base)
    assert tokenizer.decode(ids) == "<s>[INST] Hello? </s> [/INST] Hi!</s>"
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer("Hello?")["input_ids"][0] == tokenizer.bos_token_id


def test_a_long_text_loses_its_beginning_and_says_so(starling, base, weights):
    long = response("no thank you", prompt=" ".join(WORDS * 3))
    found = scores(starling(), [long, RESPONSES[0]])
    expected = plainly(base, weights, card(long.prompt, long.response))
    assert found.values["helpfulness"][0].item() == pytest.approx(expected, abs=1e-5)
    assert [detail["truncated"] for detail in found.details] == [True, False]
    assert found.details[0]["tokens"] == LIMIT


def test_a_padding_token_in_the_response_ends_nothing(starling, base, weights):
    hostile = response("bread <unk> and water")
    found = scores(starling(), [hostile, RESPONSES[3]])
    expected = plainly(base, weights, card(hostile.prompt, hostile.response))
    assert found.values["helpfulness"][0].item() == pytest.approx(expected, abs=1e-5)


def test_a_transcript_is_read_whole(starling, base, weights):
    turns = [user("how do I bake ?"), assistant("mix flour"), user("and then ?")]
    found = scores(starling(), [response("wait an hour", "and then ?", turns)])
    text = card("how do I bake ?", "mix flour") + card("and then ?", "wait an hour")
    assert found.values["helpfulness"].item() == pytest.approx(plainly(base, weights, text), abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_other_formats_are_computed_in_float32(base, weights, write, dtype):
    stored = {key: tensor.to(dtype) for key, tensor in weights.items()}
    found = scores(RewardModel(str(write(stored)), base=str(base), self_test="none"), RESPONSES)
    rounded = {key: tensor.float() for key, tensor in stored.items()}
    expected = [plainly(base, rounded, card(one.prompt, one.response)) for one in RESPONSES]
    assert found.values["helpfulness"].tolist() == pytest.approx(expected, abs=1e-5)


def test_an_empty_response_has_no_score_whatever_the_model_says(starling):
    assert [starling().inapplicable(response(text)) for text in (" \n", "", "no")] == ["empty response"] * 2 + [None]


def test_an_absent_model_or_base_is_named(base, weights, write, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="reward model 'nobody/nothing' cannot be opened"):
        RewardModel("nobody/nothing", base=str(base)).load(CPU)
    with pytest.raises(UserError, match="base of the reward model 'nobody/gated' cannot be opened"):
        RewardModel(str(write(weights)), base="nobody/gated").load(CPU)


def test_the_revision_changes_with_the_weights_and_the_base(starling, base, weights, write):
    before = starling().revision()
    assert before == starling().revision()
    write(weights | {"v_head.weight": torch.zeros(1, 16)})
    changed = RewardModel(str(write(weights | {"v_head.weight": torch.ones(1, 16)})), base=str(base))
    assert changed.revision() != before
    assert changed.revision().partition("+")[2] == before.partition("+")[2] != ""
    assert RewardModel("nobody/nothing", base="nobody/gated").revision() is None


@pytest.mark.parametrize(("dtype", "on_cuda"), [("auto", "bfloat16"), ("float32", "float32"), ("float16", "float16")])
def test_the_revision_holds_the_number_format_that_the_device_decides(starling, dtype, on_cuda):
    metric = starling(model_dtype=dtype)
    weights, on_cpu = metric.revision().split(", ")
    assert on_cpu == ("float32" if dtype == "auto" else dtype)
    metric._device = torch.device("cuda")
    assert metric.revision() == f"{weights}, {on_cuda}"


def test_free_lets_go_of_the_model(starling):
    metric = starling()
    metric.load(CPU)
    metric.free()
    assert metric._reward is None
