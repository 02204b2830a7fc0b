"""Seeded sampling draws from the model's distribution, and each row from numbers of its own."""

import random

import pytest
import torch
from scipy.stats import chisquare

from cai_lightning.engines import Sampling
from cai_lightning.engines.sampling import draw

SCORES = torch.tensor([0.0, 1.5, -torch.inf, -1.0, 2.0])


def drawn(seeds, scores, **settings):
    randoms = [random.Random(seed) for seed in seeds]
    return draw(scores.expand(len(seeds), -1), Sampling(**settings), randoms)


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
    pairs = [draw(SCORES.expand(2, -1), Sampling(), both) for _ in range(50)]
    assert [pair[1] for pair in pairs] == [draw(SCORES[None], Sampling(), alone)[0] for _ in range(50)]


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


@pytest.mark.parametrize("settings", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"max_new_tokens": 0}])
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match="Sampling: temperature >= 0"):
        Sampling(**settings)
