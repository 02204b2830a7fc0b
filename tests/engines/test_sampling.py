"""Seeded sampling draws from the model's distribution, and each row from numbers of its own."""

import asyncio
import json
import random
import shutil

import pytest
import torch
from scipy.stats import chisquare
from transformers import GenerationConfig

from cai_lightning.engines import OpenAIEngine, Sampling, TransformersEngine, VLLMEngine
from cai_lightning.engines.base import draw, processed
from cai_lightning.engines.batching import ContinuousBatch
from cai_lightning.models.hub import load_model
from cai_lightning.run.errors import UserError
from cai_lightning.run.manifest import settings as settings_of

SCORES = torch.tensor([0.0, 1.5, -torch.inf, -1.0, 2.0])


def drawn(seeds, scores, **settings):
    randoms = [random.Random(seed) for seed in seeds]
    return draw(scores.expand(len(seeds), -1), Sampling(**settings), randoms, ())


def inverse(seed, scores):
    """A reference: walks up the cumulative distribution until it passes the row's random number."""
    place, total = random.Random(seed).random(), 0.0
    for token, probability in enumerate(scores.double().softmax(-1).tolist()):
        total += probability
        if place < total:
            return token
    raise AssertionError


def test_it_agrees_with_a_walk_up_the_distribution():
    seeds = [str(n) for n in range(500)]
    assert drawn(seeds, SCORES) == [inverse(seed, SCORES) for seed in seeds]


def test_frequencies_are_those_of_the_softmax():
    count = 20_000
    tokens = torch.tensor(drawn([f"f{n}" for n in range(count)], SCORES))
    kept = [0, 1, 3, 4]
    observed = tokens.bincount(minlength=5)
    assert observed[2] == 0
    assert chisquare(observed[kept], SCORES.softmax(-1)[kept] * count, sum_check=False).pvalue > 0.001


def test_a_row_goes_on_in_its_own_numbers():
    both, alone = [random.Random("a"), random.Random("b")], [random.Random("b")]
    pairs = [draw(SCORES.expand(2, -1), Sampling(), both, ()) for _ in range(50)]
    assert [pair[1] for pair in pairs] == [draw(SCORES[None], Sampling(), alone, ())[0] for _ in range(50)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_large_vocabulary_is_never_left(dtype):
    scores = torch.randn(150_000, generator=torch.Generator().manual_seed(0)).to(dtype)
    scores[-1000:] = -torch.inf
    assert max(drawn([str(n) for n in range(20)], scores)) < 149_000


def test_top_p_and_temperature_come_before_the_draw():
    def shares(**settings):
        tokens = drawn([str(n) for n in range(4000)], SCORES, **settings)
        return torch.tensor(tokens).bincount(minlength=5) / 4000

    torch.testing.assert_close(shares(temperature=2.0), (SCORES / 2).softmax(-1), atol=0.03, rtol=0)
    assert shares(top_p=0.5).tolist() == [0, 0, 0, 0, 1]
    assert drawn(["a", "b"], SCORES, temperature=0) == [4, 4]


NAN = float("nan")


@pytest.mark.parametrize(
    "settings",
    [
        *({"temperature": value} for value in (-1, NAN, float("inf"))),
        *({"top_p": value} for value in (0, 1.1, NAN)),
        *({"min_p": value} for value in (-0.1, 1.1, NAN)),
        *({"repetition_penalty": value} for value in (0, -1, NAN, float("inf"))),
        {"top_k": -1},
        {"max_new_tokens": 0},
    ],
)
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match="Sampling: temperature >= 0"):
        Sampling(**settings)


def test_what_is_null_is_neutral_and_changes_no_draw():
    neutral = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
    seeds = [str(n) for n in range(200)]
    assert drawn(seeds, SCORES) == drawn(seeds, SCORES, **neutral) == [inverse(seed, SCORES) for seed in seeds]


@pytest.fixture(scope="module")
def policy(tiny_model):
    return load_model(str(tiny_model), "float32").eval()


def some_settings(chance):
    """Settings of which some are off; a penalty below 1 rewards repetition."""
    choices = {
        "temperature": [None, 1.0, chance.uniform(0.2, 3)],
        "top_p": [None, 1.0, chance.uniform(0.05, 1)],
        "top_k": [None, 0, 1, chance.randint(2, 400)],
        "min_p": [None, 0.0, chance.uniform(0, 1), 1.0],
        "repetition_penalty": [None, 1.0, chance.uniform(1, 2), chance.uniform(0.5, 1)],
    }
    return {name: chance.choice(values) for name, values in choices.items()}


def generated(policy, rows, **settings):
    """What transformers' own `generate` does with conversations of several lengths, padded on the left."""
    width = max(map(len, rows))
    padding = [width - len(row) for row in rows]
    with torch.no_grad():
        return policy.generate(
            torch.tensor([[0] * count + row for count, row in zip(padding, rows, strict=True)]),
            attention_mask=torch.tensor([[0] * count + [1] * (width - count) for count in padding]),
            generation_config=GenerationConfig(pad_token_id=0, eos_token_id=[], max_new_tokens=5),
            return_dict_in_generate=True,
            output_logits=True,
            output_scores=True,
            **settings,
        )


@pytest.mark.parametrize("seed", range(60))
def test_the_distribution_is_that_of_transformers_own_generate(policy, seed):
    chance = random.Random(seed)
    rows = [[chance.randrange(1, 60) for _ in range(chance.randint(1, 20))] for _ in range(3)]
    ours = some_settings(chance)
    neutral = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}
    torch.manual_seed(seed)
    theirs = generated(policy, rows, do_sample=True, **{k: v if v is not None else neutral[k] for k, v in ours.items()})
    written = theirs.sequences[:, max(map(len, rows)) :].tolist()
    for step, (logits, scores) in enumerate(zip(theirs.logits, theirs.scores, strict=True)):
        seen = [row + new[:step] for row, new in zip(rows, written, strict=True)]
        assert torch.equal(processed(logits, Sampling(**ours), seen), scores)


@pytest.mark.parametrize("penalty", [1.0, 1.1, 1.5, 3.0, 0.8])
def test_the_likeliest_tokens_are_those_of_generate_under_a_penalty(policy, penalty):
    chance = random.Random(penalty)
    rows = [[chance.randrange(1, 60) for _ in range(chance.randint(1, 20))] for _ in range(7)]
    batch = ContinuousBatch(policy, 3, Sampling(temperature=0, repetition_penalty=penalty), ends=set())

    async def write():
        return await asyncio.gather(*(batch.write(row, "s", 24) for row in rows))

    ours = asyncio.run(asyncio.wait_for(write(), 60))
    for row, (tokens, _) in zip(rows, ours, strict=True):
        theirs = policy.generate(
            torch.tensor([row]),
            attention_mask=torch.ones(1, len(row), dtype=torch.long),
            generation_config=GenerationConfig(pad_token_id=0, eos_token_id=[], max_new_tokens=24, do_sample=False),
            repetition_penalty=penalty,
        )
        assert tokens == theirs[0, len(row) :].tolist()


def test_a_drawn_reply_under_a_penalty_depends_on_no_company(policy):
    sampling = Sampling(repetition_penalty=1.3, top_k=50, min_p=0.01)
    rows = [[7, 8, 9] * n for n in range(1, 8)]

    def write(slots, rows):
        batch = ContinuousBatch(policy, slots, sampling, ends=set())

        async def every():
            return await asyncio.gather(*(batch.write(row, str(len(row)), 16) for row in rows))

        return asyncio.run(asyncio.wait_for(every(), 60))

    assert write(4, rows) == [write(1, [row])[0] for row in rows]


OWN = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}


@pytest.fixture
def speaking(tiny_model, tmp_path):
    """A copy of a model that says how it wants to be drawn from."""

    def copy(own):
        folder = tmp_path / "speaking"
        shutil.copytree(tiny_model, folder, dirs_exist_ok=True)
        path = folder / "generation_config.json"
        path.unlink(missing_ok=True)
        if own is not None:
            path.write_text(json.dumps(own))
        return str(folder)

    return copy


@pytest.mark.parametrize("engine", [TransformersEngine, VLLMEngine])
def test_a_models_own_settings_count_where_they_are_asked_for_and_nothing_is_set(engine, speaking):
    model = speaking(OWN)
    mine = engine(model, Sampling(top_p=1.0, min_p=0.1, preset="model"))
    assert {key: value for key, value in settings_of(mine).items() if key.startswith("sampling.")} == {
        "sampling.temperature": 0.7,
        "sampling.top_p": 1.0,
        "sampling.max_new_tokens": 512,
        "sampling.top_k": 20,
        "sampling.min_p": 0.1,
        "sampling.repetition_penalty": 1.05,
        "sampling.preset": "model",
    }
    neutral = Sampling(1.0, 1.0, 512, [], 0, 0.0, 1.0)
    assert engine(model).sampling == neutral
    assert engine(model, Sampling(temperature=0.3)).sampling.temperature == 0.3


def test_a_model_may_say_little_nothing_or_that_it_is_not_sampled_from(speaking, caplog):
    def settled(own):
        sampling = TransformersEngine(speaking(own), Sampling(preset="model")).sampling
        return sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p, sampling.repetition_penalty

    neutral = (1.0, 1.0, 0, 0.0, 1.0)
    assert settled(None) == settled({}) == settled({"do_sample": True, "eos_token_id": 2}) == neutral
    assert settled({"do_sample": False}) == (0.0, 1.0, 0, 0.0, 1.0)
    assert settled({"min_p": 0.05, "top_k": 40}) == (1.0, 1.0, 40, 0.05, 1.0)
    assert "not heeded" not in caplog.text
    assert settled({"no_repeat_ngram_size": 3, "temperature": 0.5}) == (0.5, 1.0, 0, 0.0, 1.0)
    assert "no_repeat_ngram_size" in caplog.text


@pytest.mark.parametrize("own", [{"top_p": 7.0, "do_sample": True}, {"repetition_penalty": -1.0}])
def test_a_models_impossible_settings_are_an_error(speaking, own):
    with pytest.raises(UserError, match=r"speaking: its generation_config.json"):
        TransformersEngine(speaking(own), Sampling(preset="model"))


def test_a_model_that_is_not_there_cannot_be_asked(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        TransformersEngine(str(tmp_path / "nowhere"), Sampling(preset="model"))


def test_paged_batching_refuses_a_penalty_which_transformers_would_drop(tiny_model):
    with pytest.raises(ValueError, match=r"`paged` knows no repetition_penalty, which is 1.1"):
        TransformersEngine(str(tiny_model), Sampling(repetition_penalty=1.1), batching="paged")


@pytest.mark.parametrize(
    ("sampling", "temperature", "top_p", "top_k"),
    [
        (Sampling(), 1.0, 1.0, None),
        (Sampling(top_k=0), 1.0, 1.0, 0),
        (Sampling(top_p=0.9, preset="model"), *(None, 0.9, None)),
    ],
)
def test_of_a_server_the_record_holds_what_it_is_sent(sampling, temperature, top_p, top_k):
    sent = OpenAIEngine("m", ["http://127.0.0.1:1/v1"], sampling).sampling
    assert (sent.temperature, sent.top_p, sent.top_k, sent.min_p) == (temperature, top_p, top_k, None)
