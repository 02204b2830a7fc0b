"""Sequence classifiers as reward models, against transformers reading one text at a time."""

import json

import pytest
import torch
from tiny_starling import CPU, LIMIT, RESPONSES, WORDS, config, response, save_tokenizer, scores
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaTokenizer,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaTokenizer,
)

from cai_lightning.metrics import RewardModel
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import assistant, user

CHAT = "{{ '<s>' }}{% for message in messages %}[INST] {{ message['content'] }} [/INST]{% endfor %}"


@pytest.fixture
def chat_model(tmp_path):
    """A Llama with a sequence-classification head of one label, and a chat template."""

    def chat_model(pad, labels=1, template=CHAT):
        vocabulary = save_tokenizer(tmp_path)
        tokenizer = LlamaTokenizer.from_pretrained(tmp_path)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(tmp_path)
        torch.manual_seed(0)
        settings = config(vocabulary)
        settings.num_labels, settings.pad_token_id, settings.max_position_embeddings = labels, pad, 512
        LlamaForSequenceClassification(settings).save_pretrained(tmp_path)
        return str(tmp_path)

    return chat_model


@pytest.mark.parametrize("pad", [0, None])
@pytest.mark.parametrize("batch_tokens", [1, 10_000])
def test_a_classifier_reads_its_chat_template(chat_model, pad, batch_tokens):
    name = chat_model(pad)
    metric = RewardModel(name, layout="chat", self_test="none", batch_tokens=batch_tokens)
    found = scores(metric, RESPONSES).values["helpfulness"]
    model, tokenizer = LlamaForSequenceClassification.from_pretrained(name), LlamaTokenizer.from_pretrained(name)
    expected = []
    for one in RESPONSES:
        text = f"<s>[INST] {one.prompt} [/INST][INST] {one.response} [/INST]"
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            expected.append(model(input_ids=torch.tensor([ids])).logits.item())
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.1


def test_a_chat_that_is_too_long_loses_its_beginning(chat_model):
    name = chat_model(0)
    metric = RewardModel(name, layout="chat", self_test="none", max_length=20)
    found = scores(metric, [response(" ".join(WORDS)), response("no")])
    assert found.details[0] == {"tokens": 20, "truncated": True}
    whole = RewardModel(name, layout="chat", self_test="none")
    whole.load(CPU)
    talk = [user(RESPONSES[0].prompt), assistant(" ".join(WORDS))]
    assert metric._reward.encode(talk).ids == whole._reward.encode(talk).ids[-20:]


@pytest.mark.parametrize(
    ("labels", "template", "message"),
    [(2, CHAT, "has 2 labels; a reward is one number"), (1, None, "no chat template")],
)
def test_a_classifier_that_is_no_reward_model_is_refused(chat_model, labels, template, message):
    with pytest.raises(UserError, match=message):
        RewardModel(chat_model(0, labels, template), layout="chat").load(CPU)


def test_a_head_that_nobody_trained_is_refused(base, weights, tmp_path):
    """What became of the original experiment: Starling's checkpoint, opened as a sequence classifier."""
    torch.save(weights, tmp_path / "pytorch_model.bin")
    save_tokenizer(tmp_path)
    LlamaConfig.from_pretrained(base, num_labels=1).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"no fitting weights for model\.embed_tokens\.weight.*\(21 in all\)"):
        RewardModel(str(tmp_path), layout="pair").load(CPU)


@pytest.fixture(scope="module")
def pair_model(tmp_path_factory):
    """A RoBERTa with one label, which reads two texts."""
    folder = tmp_path_factory.mktemp("pair")
    tokenizer = roberta_tokenizer(folder)
    torch.manual_seed(0)
    settings = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=LIMIT + 2,
        type_vocab_size=1,
        initializer_range=1.0,
        num_labels=1,
    )
    RobertaForSequenceClassification(settings).save_pretrained(folder)
    return folder


def roberta_tokenizer(folder):
    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator([" ".join(WORDS)], vocab_size=320, special_tokens=special, show_progress=False)
    learned = json.loads(trained.to_str())["model"]
    tokenizer = RobertaTokenizer(vocab=learned["vocab"], merges=[tuple(pair) for pair in learned["merges"]])
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.mark.parametrize("batch_tokens", [1, 10_000])
def test_a_classifier_reads_a_pair_of_texts(pair_model, batch_tokens):
    metric = RewardModel(str(pair_model), layout="pair", self_test="none", batch_tokens=batch_tokens)
    found = scores(metric, RESPONSES[:2])
    tokenizer = roberta_tokenizer(pair_model)
    model = RobertaForSequenceClassification.from_pretrained(pair_model)
    with torch.inference_mode():
        expected = [
            model(torch.tensor([tokenizer(one.prompt, one.response)["input_ids"]])).logits.item()
            for one in RESPONSES[:2]
        ]
    assert found.values["helpfulness"].tolist() == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.01


def test_a_pair_that_is_too_long_keeps_the_end_of_both(pair_model):
    metric = RewardModel(str(pair_model), layout="pair", self_test="none")
    metric.load(CPU)
    long = metric._reward.encode([user(" ".join(WORDS * 4)), assistant("no thank you")])
    short = metric._reward.encode([user("how do I"), assistant("no thank you")])
    assert long.truncated
    assert len(long.ids) == LIMIT
    assert not short.truncated
    assert long.ids[-6:] == short.ids[-6:]
