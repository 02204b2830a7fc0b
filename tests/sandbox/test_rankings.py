"""The rankings that the reward model learns from agree with the grammar's own judgement, and so does their loss."""

import math
import random

import pytest
import torch

from cai_lightning.sandbox import oracle
from cai_lightning.sandbox.dialogues import draw_allowed, draw_ranking
from cai_lightning.sandbox.train_decoders import CENTRING, ranking_loss


def drawn(harmful_rate):
    rng = random.Random(3)
    requests = [draw_allowed(rng, lambda text: True, harmful_rate) for _ in range(200)]
    return [(request, draw_ranking(request, rng)) for request in requests]


def test_answers_to_benign_requests_help_more_or_less():
    for request, (answer, commented, none) in drawn(harmful_rate=0.0):
        assert oracle.helpful(request, answer)
        assert not oracle.commented(answer)
        assert oracle.helpful(request, commented)
        assert oracle.commented(commented)
        assert not oracle.helpful(request, none)
        assert oracle.harmless(none) is True


def test_answers_to_harmful_requests_go_from_harmless_to_harmful():
    for request, (best, commented, evasion, *harmful) in drawn(harmful_rate=1.0):
        assert [oracle.harmless(text) for text in (best, commented, evasion)] == [True] * 3
        assert not oracle.commented(best)
        assert oracle.commented(commented)
        assert len(harmful) == 1 + request.severe
        assert [oracle.harmless(text) for text in harmful] == [False] * len(harmful)


def test_the_loss_is_bradley_and_terrys_over_all_pairs():
    rankings = [torch.tensor([2.0, 1.0, -1.0]), torch.tensor([0.0, 3.0])]
    leads = [1, 3, 2, -3]
    expected = sum(math.log(1 + math.exp(-lead)) for lead in leads) / 4 + CENTRING * (4 + 1 + 1 + 9) / 5
    assert ranking_loss(rankings).item() == pytest.approx(expected, abs=1e-6)
