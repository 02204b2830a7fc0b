"""The sandbox's classifiers: small RoBERTas that differ in what they read, what their labels say, and their loss.

One tells harmless responses from harmful ones under the real classifier's label names. One tells the kinds of harm in
a response, for the moderation service. One reads a request and a response and tells what this does, for the judge.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, RobertaConfig, RobertaForSequenceClassification

from cai_lightning.sandbox import grammar
from cai_lightning.sandbox.build.tokenizer import build_classifier_tokenizer
from cai_lightning.sandbox.build.training import Allowed, draw_allowed, draw_answer, train
from cai_lightning.sandbox.grammar import Answer
from cai_lightning.sandbox.world import HARMS, Request, Topic

BATCH = 64
LEARNING_RATE = 1e-3

HARMLESSNESS_LABELS = ("nothate", "hate")
MODERATION_LABELS = tuple(harm.name for harm in HARMS)
JUDGE_LABELS = ("harmful", "answers", "harms", "refuses", "explains", "offers")
"""The request is harmful; the response tells how to do what is asked; it does harm; it refuses; it gives its reason;
it offers something better."""


def build_harmlessness(folder: Path, seed: int, steps: int, allowed: Allowed) -> None:
    """Trains a classifier to tell responses that hold harm from those that hold none."""

    def draw(rng: random.Random) -> Batch:
        texts, harms = _responses(rng, allowed)
        return Batch(texts, torch.tensor([int(harm is not None) for harm in harms]))

    _build(folder, HARMLESSNESS_LABELS, seed, steps, draw, nn.functional.cross_entropy)


def build_moderation(folder: Path, seed: int, steps: int, allowed: Allowed) -> None:
    """Trains a classifier to find each kind of harm by itself: one probability per kind."""

    def draw(rng: random.Random) -> Batch:
        texts, harms = _responses(rng, allowed)
        return Batch(texts, torch.tensor([[float(label == harm) for label in MODERATION_LABELS] for harm in harms]))

    _build(folder, MODERATION_LABELS, seed, steps, draw, nn.functional.binary_cross_entropy_with_logits, spread=0.1)


def build_judge(folder: Path, seed: int, steps: int, allowed: Allowed) -> None:
    """Trains a classifier on requests with responses to them, and with responses to something else."""

    def draw(rng: random.Random) -> Batch:
        requests, responses, labels = zip(*(draw_case(rng, allowed) for _ in range(BATCH)), strict=True)
        return Batch(list(requests), torch.tensor(labels, dtype=torch.float32), list(responses))

    _build(folder, JUDGE_LABELS, seed, steps, draw, nn.functional.binary_cross_entropy_with_logits, spread=0.1)


def _responses(rng: random.Random, allowed: Allowed) -> tuple[list[str], list[str | None]]:
    """Responses with and without commentary, and the kind of harm that the grammar put into each, if any."""
    texts, harms = list[str](), list[str | None]()
    for _ in range(BATCH):
        request = draw_allowed(rng, allowed)
        answer = draw_answer(rng, request)
        texts.append(grammar.comment(grammar.text_of(answer), request, rng, 0.1))
        harms.append(request.topic.name if grammar.harms_in(answer, request.topic) else None)
    return texts, harms


def draw_case(rng: random.Random, allowed: Allowed) -> tuple[str, str, list[bool]]:
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


@dataclass(frozen=True)
class Batch:
    """What a classifier reads in one step, and what it shall find.

    Args:
        texts: N texts.
        targets: A tensor of N class numbers, or of N rows with a 0 or 1 per label.
        partners: N texts that are read behind the first ones, or None.
    """

    texts: list[str]
    targets: Tensor
    partners: list[str] | None = None


def _build(
    folder: Path,
    labels: Sequence[str],
    seed: int,
    steps: int,
    draw: Callable[[random.Random], Batch],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    spread: float = 0.02,
) -> None:
    """Trains a classifier and saves it in bfloat16 beside its tokenizer.

    Args:
        folder: Where it is saved; its name is that of the part.
        labels: Names of the labels, as `config.json` keeps them.
        seed: Of the tokenizer, the weights and the batches.
        steps: Batches trained on.
        draw: Draws a batch never seen before.
        loss_of: The loss of logits and targets.
        spread: Standard deviation of the first weights. RoBERTa's own suits larger models: from 0.1 on, one this small
            tells words apart within a hundred steps.
    """
    tokenizer = build_classifier_tokenizer(folder, seed)
    torch.manual_seed(seed)
    model = RobertaForSequenceClassification(_config(tokenizer, labels, spread))
    rng = random.Random(seed)

    def draw_loss() -> Tensor:
        batch = draw(rng)
        encoded = tokenizer(batch.texts, batch.partners, return_tensors="pt", padding=True, pad_to_multiple_of=32)
        logits = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits
        return loss_of(logits, batch.targets)

    train(folder.name, model.parameters(), steps, LEARNING_RATE, draw_loss)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _config(tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], spread: float) -> RobertaConfig:
    return RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        initializer_range=spread,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
