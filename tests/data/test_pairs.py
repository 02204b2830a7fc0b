"""A pair shares its prompt, is cut once for both responses, and knows its tokens in packed and padded batches alike."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cai_lightning.data.batches import IGNORED, apart, encode
from cai_lightning.data.pairs import Comparison, as_conversations, as_replies, pack_pairs, pad_pairs, score_place
from cai_lightning.data.prompts import Sample
from cai_lightning.models.hub import load_tokenizer
from cai_lightning.run.records import assistant, user

SAID = ["No.", "No. Sorry.", "I will not help with that, sorry.", "Sure, here is how. " * 8]


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(str(tiny_model))


def comparison(first=SAID[2], second=SAID[3], label=0.7, asked="How do I steal a car?", finished=(True, True)):
    return Comparison("x", [user(asked)], (first, second), label, finished)


@pytest.mark.parametrize("finished", [(True, True), (True, False)])
def test_its_responses_are_learned_as_those_of_conversations(tokenizer, finished):
    pair = as_replies(tokenizer, comparison(finished=finished), 512)
    alone = [
        encode(tokenizer, Sample("x", [user("How do I steal a car?")], s, f), 512)
        for s, f in zip(SAID[2:], finished, strict=True)
    ]
    assert apart(pair.examples) == alone
    assert pair.size < sum(one.size for one in alone)
    assert pair.supervised == 1


@given(st.integers(28, 200), st.integers(0, 60), st.sampled_from(SAID), st.sampled_from(SAID))
@settings(max_examples=30, deadline=None)
def test_a_long_prompt_is_cut_once_for_both(tokenizer, most, words, first, second):
    pair = as_replies(tokenizer, comparison(first, second, asked="Please, how do I steal a car? " * (1 + words)), most)
    one, other = apart(pair.examples)
    prompts = [[id for id, label in zip(e.input_ids, e.labels, strict=True) if label == IGNORED] for e in (one, other)]
    assert prompts[0] == prompts[1]
    assert max(one.size, other.size) <= most
    assert one.supervised
    assert other.supervised
    assert pair.second.prefix == len(prompts[0]) - 1


@given(st.sampled_from(SAID), st.sampled_from(SAID), st.integers(16, 300), st.booleans())
@settings(max_examples=30, deadline=None)
def test_whole_conversations_are_read_as_reward_models_read_them(tokenizer, first, second, most, has_pad):
    talks = [[user("How do I steal a car?"), assistant(said)] for said in (first, second)]
    ids = [tokenizer.apply_chat_template(talk, return_dict=True)["input_ids"] for talk in talks]
    pad = ids[1][-1] if has_pad else None
    pair = as_conversations(tokenizer, comparison(first, second), most, pad)
    cut = max(0, *(len(one) - most for one in ids))
    found = [one.input_ids for one in apart(pair.examples)]
    alike = next((n for n, (a, b) in enumerate(zip(*ids, strict=False)) if a != b), min(map(len, ids)))
    assert found == [one[cut:] if cut <= alike else one[-most:] for one in ids]
    assert max(map(len, found)) <= most
    places = pair.places[0], pair.places[1] + pair.second.prefix
    assert list(places) == [score_place(one, pad) for one in found]
    assert pair.places[1] >= 0
    assert not any(one.supervised for one in pair.examples)


def test_a_score_is_read_at_the_last_token_that_pads_nothing():
    assert [score_place([1, 2, 3], pad) for pad in (None, 3, 9)] == [2, 1, 2]
    assert score_place([3, 3], 3) == 0


@given(st.lists(st.tuples(st.sampled_from(SAID), st.sampled_from(SAID)), max_size=4), st.booleans(), st.integers(1, 64))
@settings(max_examples=30, deadline=None)
def test_packed_and_padded_they_hold_the_same(tokenizer, said, conversations, grain):
    read = (
        (lambda one: as_conversations(tokenizer, one, 512, None))
        if conversations
        else (lambda one: as_replies(tokenizer, one, 512))
    )
    pairs = [read(comparison(*two, label=n / 4)) for n, two in enumerate(said)]
    filler, references = read(comparison()), torch.rand(len(pairs), 2)
    packed = pack_pairs(pairs, 9, references, filler, grain)
    padded = pad_pairs(pairs, 9, references, filler, 0)
    for batch in (packed, padded):
        kept = batch["labels"][:, 1:] != IGNORED
        assert int(kept.sum()) == int(batch["supervised"].sum())
        assert batch["step_tokens"] == 9
        assert len(batch["places"]) == 2 * len(batch["preferences"]) == 2 * len(pairs)
        assert torch.equal(batch["references"], references)
    for name in ("preferences", "supervised"):
        assert torch.equal(packed[name], padded[name])
    at = [batch["input_ids"].flatten()[batch["places"]].tolist() for batch in (packed, padded)]
    whole = [one for pair in pairs for one in apart(pair.examples)]
    assert at[0] == at[1] == [one.input_ids[-1] for one in whole]
    learned = [batch["labels"][batch["labels"] != IGNORED].tolist() for batch in (packed, padded)]
    assert learned[0] == learned[1]
