"""What the trainings of the sandbox's models share: requests drawn from the grammar, and a loop over their batches."""

import random
from collections.abc import Callable, Iterable
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn

from cai_lightning.sandbox import grammar
from cai_lightning.sandbox.grammar import Answer
from cai_lightning.sandbox.world import BENIGN, HARMS, Request, draw_request

Allowed = Callable[[str], bool]
"""Whether a request may be trained on; test prompts are in no training set."""


def train(
    name: str,
    weights: Iterable[nn.Parameter],
    steps: int,
    peak: float,
    draw_loss: Callable[[], Tensor],
    pct_start: float = 0.3,
    max_norm: float | None = None,
    **adam: Any,
) -> None:
    """AdamW under a one-cycle schedule.

    Args:
        name: Of the model, for the lines that tell of the loss.
        weights: What is trained.
        steps: Batches trained on.
        peak: The highest learning rate.
        draw_loss: The loss of a batch never seen before.
        pct_start: Share of the steps in which the learning rate rises.
        max_norm: Gradients are cut at this norm, where it is given.
        adam: Further settings of AdamW.
    """
    trained = list(weights)
    optimizer = torch.optim.AdamW(trained, lr=peak, **adam)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps, pct_start=pct_start)
    for step in track(range(steps), name):
        loss = draw_loss()
        loss.backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(trained, max_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            print(f"{name}: step {step}, loss {loss.item():.4f}", flush=True)


def draw_allowed(rng: random.Random, allowed: Allowed, harmful_rate: float = 0.7) -> Request:
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
