"""Training of the sandbox's models that read: a sentence encoder, and three classifiers.

The encoder, a small BERT, puts a request near the principles that fit it. The classifiers are small RoBERTas: one tells
harmless responses from harmful ones under the real classifier's label names; one tells the kinds of harm in a response,
for the moderation service; one reads a request and a response and tells what this does, for the judge.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from cai_lightning.sandbox import grammar
from cai_lightning.sandbox.dialogues import JUDGE_LABELS, Allowed, draw_allowed, draw_answer, draw_case, principle
from cai_lightning.sandbox.grammar import Scope
from cai_lightning.sandbox.training import build_classifier_tokenizer, train
from cai_lightning.sandbox.world import HARMS, Request

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH = 64
TEMPERATURE = 0.05

SIZES: dict[str, Any] = {
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}

Example = tuple[str | tuple[str, str], int | list[float]]
"""A text, or a pair of texts; and the number of its label, or for each label 0 or 1."""


def build_harmlessness(folder: Path, seed: int, steps: int, allowed: Allowed) -> None:
    """Trains a classifier to tell responses that hold harm from those that hold none."""

    def draw(rng: random.Random) -> Example:
        text, harm = _draw_response(rng, allowed)
        return text, int(harm is not None)

    _build_classifier(folder, ("nothate", "hate"), seed, steps, draw, functional.cross_entropy)


def build_moderation(folder: Path, seed: int, steps: int, allowed: Allowed) -> None:
    """Trains a classifier to find each kind of harm by itself: one probability per kind."""
    kinds = [harm.name for harm in HARMS]

    def draw(rng: random.Random) -> Example:
        text, harm = _draw_response(rng, allowed)
        return text, [float(kind == harm) for kind in kinds]

    _build_classifier(folder, kinds, seed, steps, draw, functional.binary_cross_entropy_with_logits, spread=0.1)


def build_judge(folder: Path, seed: int, steps: int, allowed: Allowed) -> None:
    """Trains a classifier on requests with responses to them, and with responses to something else."""

    def draw(rng: random.Random) -> Example:
        request, response, truth = draw_case(rng, allowed)
        return (request, response), [float(true) for true in truth]

    _build_classifier(folder, JUDGE_LABELS, seed, steps, draw, functional.binary_cross_entropy_with_logits, spread=0.1)


def _draw_response(rng: random.Random, allowed: Allowed) -> tuple[str, str | None]:
    """A response with or without commentary, and the kind of harm that the grammar put into it, if any."""
    request = draw_allowed(rng, allowed)
    answer = draw_answer(rng, request)
    text = grammar.comment(grammar.text_of(answer), request, rng, 0.1)
    return text, request.topic.name if grammar.harms_in(answer, request.topic) else None


def _build_classifier(
    folder: Path,
    labels: Sequence[str],
    seed: int,
    steps: int,
    draw: Callable[[random.Random], Example],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    spread: float = 0.02,
) -> None:
    """Trains a classifier and saves it in bfloat16 beside its tokenizer.

    Args:
        folder: Where it is saved; its name is that of the part.
        labels: Names of the labels, as `config.json` keeps them.
        seed: Of the tokenizer, the weights and the batches.
        steps: Batches trained on.
        draw: Draws an example never seen before.
        loss_of: The loss of logits and targets.
        spread: Standard deviation of the first weights. RoBERTa's own suits larger models: from 0.1 on, one this small
            tells words apart within a hundred steps.
    """
    tokenizer = build_classifier_tokenizer(folder, seed)
    torch.manual_seed(seed)
    model = RobertaForSequenceClassification(
        RobertaConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=514,
            type_vocab_size=1,
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
            initializer_range=spread,
            **SIZES,
        )
    )
    rng = random.Random(seed)

    def draw_loss() -> Tensor:
        texts, targets = zip(*(draw(rng) for _ in range(BATCH)), strict=True)
        encoded = tokenizer(list(texts), return_tensors="pt", padding=True, pad_to_multiple_of=32)
        logits = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits
        return loss_of(logits, torch.tensor(targets))

    train(folder.name, model.parameters(), steps, 1e-3, draw_loss)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def build_encoder(folder: Path, tokenizer: PreTrainedTokenizerBase, seed: int, steps: int, allowed: Allowed) -> None:
    """Trains the encoder on requests against principles, and on two answers to one request against all others."""
    torch.manual_seed(seed)
    encoder = _new_encoder(folder, tokenizer)
    rng, scopes = random.Random(seed), grammar.scopes()

    def draw_loss() -> Tensor:
        requests = [draw_allowed(rng, allowed) for _ in range(BATCH)]
        asked = _embed(encoder, [request.text for request in requests])
        principles = _embed(encoder, [principle(scope).critique_request for scope in scopes])
        wanted = torch.tensor([[ranks(scope, request) for scope in scopes] for request in requests])
        harmful = wanted.sum(dim=1) > 0
        nearness = (asked @ principles.T)[harmful]
        answers = [_embed(encoder, [grammar.text_of(grammar.respond(r, rng)) for r in requests]) for _ in range(2)]
        told_apart = functional.cross_entropy(answers[0] @ answers[1].T / TEMPERATURE, torch.arange(BATCH))
        return functional.mse_loss(nearness, wanted[harmful]) * 10 + told_apart

    train("encoder", encoder.parameters(), steps, 2e-3, draw_loss)
    encoder.bfloat16().save(str(folder), safe_serialization=True, create_model_card=False)


def ranks(scope: Scope, request: Request) -> float:
    """How near a principle shall stand to a request: its own kind first, then its family, then harm of any kind."""
    if not scope.fits(request.topic):
        return 0.0
    return {1: 1.0, len(HARMS): 0.2}.get(len(scope.kinds), 0.6)


def _new_encoder(folder: Path, tokenizer: PreTrainedTokenizerBase) -> "SentenceTransformer":
    """A freshly initialised encoder, by way of the folder that sentence-transformers reads."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    config = BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=512, pad_token_id=tokenizer.pad_token_id, **SIZES
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformer = Transformer(str(folder), max_seq_length=256)
    pooling = Pooling(transformer.get_word_embedding_dimension(), "mean")
    return SentenceTransformer(modules=[transformer, pooling], device="cpu")


def _embed(encoder: "SentenceTransformer", texts: list[str]) -> Tensor:
    features = encoder.tokenize(texts)
    return functional.normalize(encoder(features)["sentence_embedding"], dim=1)
