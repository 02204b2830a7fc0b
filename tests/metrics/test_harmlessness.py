"""Harmlessness, against a brute-force reading of a tiny RoBERTa whose labels stand in reversed order."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import ByteLevelBPETokenizer
from transformers import RobertaConfig, RobertaForMaskedLM, RobertaForSequenceClassification, RobertaTokenizer

from cai_lightning.metrics import Harmlessness
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Response

CPU = torch.device("cpu")
LIMIT = 30
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
WORDS = ["you", "are", "kind", "and", "they", "hate", "all", "of", "us", "but", "we", "like", "cake"]
LONG = " ".join(WORDS[n * n % len(WORDS)] for n in range(100))


def response(text):
    return Response("0", "?", text, None, finish_reason="stop", model="m", adapter=None)


def save_tokenizer(folder):
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator([LONG], vocab_size=320, special_tokens=SPECIAL, show_progress=False)
    trained.save_model(str(folder))
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    merges = [tuple(line.split()) for line in (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]]
    RobertaTokenizer(vocab=vocab, merges=merges).save_pretrained(folder)


def save_model(folder, labels, kind=RobertaForSequenceClassification):
    config = RobertaConfig(
        vocab_size=320,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=LIMIT + 2,
        type_vocab_size=1,
        initializer_range=1.0,
        id2label=dict(enumerate(labels)),
        label2id={label: n for n, label in enumerate(labels)},
    )
    torch.manual_seed(0)
    kind(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("roberta")
    save_tokenizer(folder)
    save_model(folder, ["hate", "nothate"])
    return folder


@pytest.fixture
def metric(folder):
    metric = Harmlessness(model=str(folder), batch_size=3)
    metric.load(CPU)
    return metric


def brute_force(folder, text):
    """The probability of `nothate`, second of the labels here, in every window, each window on its own."""
    tokenizer = RobertaTokenizer.from_pretrained(folder)
    model = RobertaForSequenceClassification.from_pretrained(folder)
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    room, overlap = LIMIT - 2, LIMIT // 4
    starts = range(0, max(len(ids) - overlap, 1), room - overlap)
    windows = [[0, *ids[start : start + room], 2] for start in starts]
    with torch.inference_mode():
        return [model(torch.tensor([window])).logits.softmax(-1)[0, 1].item() for window in windows]


@pytest.mark.parametrize("text", ["you are kind", LONG, LONG[:120], "we hate all of us but " * 9])
def test_the_worst_window_counts(folder, metric, text):
    expected = brute_force(folder, text)
    scores = metric.score([response(text)])
    assert scores.values["harmlessness"].item() == pytest.approx(min(expected), abs=1e-6)
    assert scores.details == [{"windows": len(expected)}]


def test_rows_keep_their_order_whatever_their_length(folder, metric):
    texts = [LONG, "cake", "you are kind and they hate", LONG[50:300], "they"]
    scores = metric.score([response(text) for text in texts])
    expected = [min(brute_force(folder, text)) for text in texts]
    assert scores.values["harmlessness"].tolist() == pytest.approx(expected, abs=1e-6)
    assert scores.reasons == [None] * 5


@pytest.mark.parametrize("length", range(24, 32))
def test_a_window_is_opened_only_when_the_text_is_longer_than_the_model_reads(metric, length):
    scores = metric.score([response(" kind" * length)])
    tokens = len(metric._tokenizer(" kind" * length)["input_ids"])
    assert (scores.details[0]["windows"] == 1) == (tokens <= LIMIT)


def test_the_label_is_chosen_by_name(folder, metric):
    harmful = Harmlessness(model=str(folder), label="hate")
    harmful.load(CPU)
    one, other = (m.score([response("you are kind")]).values["harmlessness"] for m in (metric, harmful))
    torch.testing.assert_close(one + other, torch.ones(1))
    assert (one - other).abs() > 1e-3


def test_a_label_may_mean_harm(folder, metric):
    harmful = Harmlessness(model=str(folder), label="hate", label_means="harmful")
    harmful.load(CPU)
    rows = [response(LONG), response("you are kind")]
    values = (m.score(rows).values["harmlessness"] for m in (harmful, metric))
    torch.testing.assert_close(*values)


def test_labels_that_may_all_be_right_have_a_sigmoid_each(tmp_path):
    save_tokenizer(tmp_path)
    save_model(tmp_path, ["toxic", "threat", "insult"])
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["problem_type"] = "multi_label_classification"
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    metric = Harmlessness(model=str(tmp_path), label="threat", label_means="harmful")
    metric.load(CPU)
    model, ids = RobertaForSequenceClassification.from_pretrained(tmp_path), metric._tokenizer("cake")["input_ids"]
    with torch.inference_mode():
        logit = model(torch.tensor([ids])).logits[0, 1]
    assert metric.score([response("cake")]).values["harmlessness"].item() == pytest.approx(1 / (1 + logit.exp().item()))


def test_nothing_to_score(metric):
    assert [metric.inapplicable(response(text)) for text in (" ", "", "cake")] == ["empty response"] * 2 + [None]


def test_an_absent_label_names_those_there_are(folder):
    with pytest.raises(UserError, match="no label 'harmless'; its labels are 'hate', 'nothate'"):
        Harmlessness(model=str(folder), label="harmless").load(CPU)


def test_a_head_that_nobody_trained_is_an_error(tmp_path):
    save_tokenizer(tmp_path)
    save_model(tmp_path, ["hate", "nothate"], RobertaForMaskedLM)
    with pytest.raises(UserError, match=r"no fitting weights for classifier\.dense\.bias"):
        Harmlessness(model=str(tmp_path)).load(CPU)


def test_a_head_of_another_size_is_an_error(tmp_path):
    save_tokenizer(tmp_path)
    save_model(tmp_path, ["hate", "unsure", "nothate"])
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config |= {"id2label": {"0": "hate", "1": "nothate"}, "label2id": {"hate": 0, "nothate": 1}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UserError, match=r"no fitting weights for classifier\.out_proj\.bias"):
        Harmlessness(model=str(tmp_path)).load(CPU)


@pytest.fixture
def pickled(tmp_path):
    """A classifier whose weights lie in `pytorch_model.bin`, as the default one's do."""
    save_tokenizer(tmp_path)
    save_model(tmp_path, ["hate", "nothate"])
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    return tmp_path


def test_pickled_weights_score_alike(pickled, metric):
    other = Harmlessness(model=str(pickled))
    other.load(CPU)
    assert other.score([response("cake")]).values == metric.score([response("cake")]).values


def test_a_pickle_of_more_than_weights_is_refused(pickled):
    torch.save({"weights": Harmlessness(model=str(pickled))}, pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"cannot be opened \(Weights only load failed\)"):
        Harmlessness(model=str(pickled)).load(CPU)


def test_a_missing_tokenizer_is_an_error(tmp_path):
    save_model(tmp_path, ["hate", "nothate"])
    with pytest.raises(UserError, match=r"classifier '.*' has no tokenizer"):
        Harmlessness(model=str(tmp_path)).load(CPU)


def test_an_absent_model_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in (str(tmp_path / "absent"), "nobody/nothing"):
        with pytest.raises(UserError, match=r"classifier '.*' cannot be opened"):
            Harmlessness(model=name).load(CPU)
