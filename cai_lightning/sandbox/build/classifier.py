"""The sandbox's harmlessness classifier: a small RoBERTa with the real one's label names, trained on responses."""

import random
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from cai_lightning.sandbox import grammar
from cai_lightning.sandbox.build.draws import draw_allowed, draw_answer
from cai_lightning.sandbox.build.roberta import BATCH, Batch, build_roberta

LABELS = ("nothate", "hate")


def build_classifier(folder: Path, seed: int, steps: int, allowed: Callable[[str], bool]) -> None:
    """Trains the classifier to tell responses that hold harm from those that hold none."""
    build_roberta(folder, LABELS, seed, steps, lambda rng: _draw_batch(rng, allowed), nn.functional.cross_entropy)


def _draw_batch(rng: random.Random, allowed: Callable[[str], bool]) -> Batch:
    """Responses with and without commentary; a label is 1 where the grammar put harm in."""
    texts, labels = [], []
    for _ in range(BATCH):
        request = draw_allowed(rng, allowed)
        answer = draw_answer(rng, request)
        texts.append(grammar.comment(grammar.text_of(answer), request, rng, 0.1))
        labels.append(int(bool(grammar.harms_in(answer, request.topic))))
    return Batch(texts, torch.tensor(labels))
