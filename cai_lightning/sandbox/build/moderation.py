"""The sandbox's moderation model: a small RoBERTa that tells the kinds of harm in a response."""

import random
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from cai_lightning.sandbox import grammar
from cai_lightning.sandbox.build.draws import draw_allowed, draw_answer
from cai_lightning.sandbox.build.roberta import BATCH, Batch, build_roberta
from cai_lightning.sandbox.world import HARMS

LABELS = tuple(harm.name for harm in HARMS)


def build_moderation(folder: Path, seed: int, steps: int, allowed: Callable[[str], bool]) -> None:
    """Trains the model to find each kind of harm by itself: one probability per kind."""
    loss = nn.functional.binary_cross_entropy_with_logits
    build_roberta(folder, LABELS, seed, steps, lambda rng: _draw_batch(rng, allowed), loss, spread=0.1)


def _draw_batch(rng: random.Random, allowed: Callable[[str], bool]) -> Batch:
    """Responses with and without commentary; a label is 1 where the grammar put harm of this kind in."""
    texts, labels = [], []
    for _ in range(BATCH):
        request = draw_allowed(rng, allowed)
        answer = draw_answer(rng, request)
        texts.append(grammar.comment(grammar.text_of(answer), request, rng, 0.1))
        harmful = bool(grammar.harms_in(answer, request.topic))
        labels.append([float(harmful and label == request.topic.name) for label in LABELS])
    return Batch(texts, torch.tensor(labels))
