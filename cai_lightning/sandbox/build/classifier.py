"""The sandbox's harmlessness classifier: a small RoBERTa with the real one's label names, trained on responses."""

import random
from collections.abc import Callable
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, RobertaConfig, RobertaForSequenceClassification

from cai_lightning.sandbox import grammar
from cai_lightning.sandbox.build.draws import draw_allowed
from cai_lightning.sandbox.build.tokenizer import build_classifier_tokenizer

BATCH = 64
LEARNING_RATE = 1e-3
LABELS = {0: "nothate", 1: "hate"}


def build_classifier(folder: Path, seed: int, steps: int, allowed: Callable[[str], bool]) -> None:
    """Trains the classifier to tell responses that hold harm from those that hold none."""
    tokenizer = build_classifier_tokenizer(folder, seed)
    torch.manual_seed(seed)
    model = RobertaForSequenceClassification(_config(tokenizer))
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for step in track(range(steps), "classifier"):
        texts, labels = _draw_batch(rng, allowed)
        encoded = tokenizer(texts, return_tensors="pt", padding=True, pad_to_multiple_of=32)
        inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        loss = nn.functional.cross_entropy(model(**inputs).logits, labels)
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            print(f"classifier: step {step}, loss {loss.item():.4f}", flush=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _config(tokenizer: PreTrainedTokenizerBase) -> RobertaConfig:
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
        id2label=LABELS,
        label2id={label: number for number, label in LABELS.items()},
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def _draw_batch(rng: random.Random, allowed: Callable[[str], bool]) -> tuple[list[str], Tensor]:
    """Responses with and without commentary; a label is 1 where the grammar put harm in."""
    texts, labels = [], []
    for _ in range(BATCH):
        request = draw_allowed(rng, allowed)
        answer = grammar.respond(request, rng, refusal_rate=0.4)
        if rng.random() < 0.3:
            answer = grammar.revise(request, answer, rng.choice(grammar.scopes()), rng)
        texts.append(grammar.comment(grammar.text_of(answer), request, rng, 0.1))
        labels.append(int(bool(grammar.harms_in(answer, request.topic))))
    return texts, torch.tensor(labels)
