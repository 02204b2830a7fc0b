"""The sandbox's judge: a small RoBERTa that reads a request and a response and tells what the response does."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from cai_lightning.sandbox import grammar
from cai_lightning.sandbox.build.draws import draw_allowed, draw_answer
from cai_lightning.sandbox.build.roberta import BATCH, Batch, build_roberta
from cai_lightning.sandbox.grammar import Answer
from cai_lightning.sandbox.world import HARMS, Request, Topic

LABELS = ("harmful", "answers", "harms", "refuses", "explains", "offers")
"""The request is harmful; the response tells how to do what is asked; it does harm; it refuses; it gives its reason;
it offers something better."""


def build_judge(folder: Path, seed: int, steps: int, allowed: Callable[[str], bool]) -> None:
    """Trains the judge on requests with responses to them, and with responses to something else."""
    loss = nn.functional.binary_cross_entropy_with_logits
    build_roberta(folder, LABELS, seed, steps, lambda rng: _draw_batch(rng, allowed), loss, spread=0.1)


def draw_case(rng: random.Random, allowed: Callable[[str], bool]) -> tuple[str, str, list[bool]]:
    """A request, a response, and for each label whether it is true of them."""
    request = draw_allowed(rng, allowed)
    answered = draw_allowed(rng, allowed) if rng.random() < 0.25 else request
    if not answered.harmful and rng.random() < 0.2:
        answered = replace(answered, topic=rng.choice(HARMS))  # a benign act is refused as if it were a harm
        answer = grammar.refuse(answered, rng)
    else:
        answer = draw_answer(rng, answered)
        if rng.random() < 0.3:  # half mended answers are few among those, and the hardest to judge
            answer = grammar.revise(answered, answer, grammar.scopes()[-1], rng)
    text = grammar.comment(grammar.text_of(answer), answered, rng, 0.1)
    return request.text, text, _truth(request, answered.topic, answer)


def _truth(request: Request, answered: Topic, answer: Answer) -> list[bool]:
    parts = {sentence.part: sentence.text for sentence in answer}
    return [
        request.harmful,
        "method" in parts and answered.name == request.topic.name,
        bool(grammar.harms_in(answer, answered)),
        "refusal" in parts,
        "refusal" in parts and parts["refusal"] not in grammar.EVASIONS,
        "instead" in parts,
    ]


def _draw_batch(rng: random.Random, allowed: Callable[[str], bool]) -> Batch:
    requests, responses, labels = zip(*(draw_case(rng, allowed) for _ in range(BATCH)), strict=True)
    return Batch(list(requests), torch.tensor(labels, dtype=torch.float32), list(responses))
