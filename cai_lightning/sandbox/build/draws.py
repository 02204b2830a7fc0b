"""Requests to train on, drawn from the grammar without the prompts that are set aside, and answers to them."""

import random
from collections.abc import Callable

from cai_lightning.sandbox import grammar
from cai_lightning.sandbox.grammar import Answer
from cai_lightning.sandbox.world import BENIGN, HARMS, Request, draw_request


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


def draw_answer(rng: random.Random, request: Request) -> Answer:
    """A response to it as the classifiers meet them: harmful or not, some of them revised under some principle."""
    answer = grammar.respond(request, rng, refusal_rate=0.4)
    if rng.random() < 0.3:
        answer = grammar.revise(request, answer, rng.choice(grammar.scopes()), rng)
    return answer
