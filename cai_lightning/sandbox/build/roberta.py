"""The sandbox's classifiers: small RoBERTas that differ in what they read, what their labels say, and their loss."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor
from transformers import PreTrainedTokenizerBase, RobertaConfig, RobertaForSequenceClassification

from cai_lightning.sandbox.build.tokenizer import build_classifier_tokenizer

BATCH = 64
LEARNING_RATE = 1e-3


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


def build_roberta(
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
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for step in track(range(steps), folder.name):
        batch = draw(rng)
        encoded = tokenizer(batch.texts, batch.partners, return_tensors="pt", padding=True, pad_to_multiple_of=32)
        inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        loss = loss_of(model(**inputs).logits, batch.targets)
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            print(f"{folder.name}: step {step}, loss {loss.item():.4f}", flush=True)
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
