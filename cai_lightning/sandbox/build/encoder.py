"""The sandbox's sentence encoder: a small BERT that puts a request near the principles that fit it."""

import random
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerBase

from cai_lightning.sandbox import grammar
from cai_lightning.sandbox.build.training import Allowed, draw_allowed, train
from cai_lightning.sandbox.dialogues import principle
from cai_lightning.sandbox.grammar import Scope
from cai_lightning.sandbox.world import HARMS, Request

BATCH = 64
LEARNING_RATE = 2e-3
TEMPERATURE = 0.05
MAX_TOKENS = 256


def build_encoder(folder: Path, tokenizer: PreTrainedTokenizerBase, seed: int, steps: int, allowed: Allowed) -> None:
    """Trains the encoder on requests against principles, and on two answers to one request against all others."""
    torch.manual_seed(seed)
    encoder = SentenceTransformer(modules=_modules(folder, tokenizer), device="cpu")
    rng = random.Random(seed)

    def draw_loss() -> Tensor:
        return _loss(encoder, [draw_allowed(rng, allowed) for _ in range(BATCH)], rng)

    train("encoder", encoder.parameters(), steps, LEARNING_RATE, draw_loss)
    encoder.bfloat16().save(str(folder), safe_serialization=True, create_model_card=False)


def ranks(scope: Scope, request: Request) -> float:
    """How near a principle shall stand to a request: its own kind first, then its family, then harm of any kind."""
    if not scope.fits(request.topic):
        return 0.0
    return {1: 1.0}.get(len(scope.kinds), 0.6 if len(scope.kinds) < len(HARMS) else 0.2)


def _modules(folder: Path, tokenizer: PreTrainedTokenizerBase) -> list[nn.Module]:
    """A freshly initialised encoder, by way of the folder that sentence-transformers reads."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformer = Transformer(str(folder), max_seq_length=MAX_TOKENS)
    return [transformer, Pooling(transformer.get_word_embedding_dimension(), "mean")]


def _loss(encoder: SentenceTransformer, requests: list[Request], rng: random.Random) -> Tensor:
    scopes = grammar.scopes()
    asked = _embed(encoder, [request.text for request in requests])
    principles = _embed(encoder, [principle(scope).critique_request for scope in scopes])
    wanted = torch.tensor([[ranks(scope, request) for scope in scopes] for request in requests])
    harmful = wanted.sum(dim=1) > 0
    nearness = (asked @ principles.T)[harmful]
    answers = [_embed(encoder, [grammar.text_of(grammar.respond(r, rng)) for r in requests]) for _ in range(2)]
    pairs = answers[0] @ answers[1].T / TEMPERATURE
    return nn.functional.mse_loss(nearness, wanted[harmful]) * 10 + nn.functional.cross_entropy(
        pairs, torch.arange(len(requests))
    )


def _embed(encoder: SentenceTransformer, texts: list[str]) -> Tensor:
    features = encoder.tokenize(texts)
    return nn.functional.normalize(encoder(features)["sentence_embedding"], dim=1)
