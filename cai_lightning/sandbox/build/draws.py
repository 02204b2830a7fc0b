"""Requests to train on: drawn from the grammar, without the prompts that are set aside."""

import random
from collections.abc import Callable

from cai_lightning.sandbox.requests import Request, draw_request
from cai_lightning.sandbox.world import BENIGN, HARMS


def draw_allowed(rng: random.Random, allowed: Callable[[str], bool], harmful_rate: float = 0.7) -> Request:
    """A random request that may be trained on.

    Args:
        rng: Source of every choice.
        allowed: Whether a request's text may be used; test prompts are in no training set.
        harmful_rate: Share of harmful requests.
    """
    while True:
        request = draw_request(rng, HARMS if rng.random() < harmful_rate else BENIGN)
        if allowed(request.text):
            return request
