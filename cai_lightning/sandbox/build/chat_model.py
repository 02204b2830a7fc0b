"""The sandbox's chat model: two million parameters in Qwen2's architecture, trained on the dialogues of the grammar."""

import random
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from cai_lightning.run.records import Conversation
from cai_lightning.sandbox.build.training import Allowed, train
from cai_lightning.sandbox.dialogues import draw_dialogue

BATCH = 32
LEARNING_RATE = 2e-3
IGNORED = -100

Example = tuple[list[int], list[int]]


def build_chat_model(folder: Path, tokenizer: PreTrainedTokenizerBase, seed: int, steps: int, allowed: Allowed) -> None:
    """Trains the chat model on assistant turns alone and saves it in bfloat16 beside its tokenizer."""
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(_config(tokenizer))
    loss = _draw_losses(model, tokenizer, random.Random(seed), allowed)
    adam = {"betas": (0.9, 0.95), "weight_decay": 0.01}
    train("chat model", model.parameters(), steps, LEARNING_RATE, loss, pct_start=0.1, max_norm=1.0, **adam)
    model.generation_config = GenerationConfig(
        do_sample=True, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.to(torch.bfloat16).save_pretrained(folder)


def _draw_losses(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase, rng: random.Random, allowed: Allowed
) -> Callable[[], Tensor]:
    """The losses of batches of dialogues, one after the other, in bfloat16 autocast."""
    pool: list[Example] = []

    def loss() -> Tensor:
        nonlocal pool
        pool = pool or _draw_pool(rng, tokenizer, allowed)
        ids, labels = _collate([pool.pop() for _ in range(BATCH)], tokenizer.pad_token_id)
        with torch.autocast("cpu", torch.bfloat16):
            return _loss(model, ids, labels)

    return loss


def encode(tokenizer: PreTrainedTokenizerBase, dialogue: Conversation) -> Example:
    """Token ids and labels of a dialogue; a label stands where the assistant speaks, its end of turn included."""
    ids: list[int] = []
    labels: list[int] = []
    for turn in dialogue:
        head = tokenizer.encode(f"<|im_start|>{turn['role']}\n")
        body = tokenizer.encode(f"{turn['content']}<|im_end|>")
        tail = tokenizer.encode("\n")
        ids += head + body + tail
        spoken = body if turn["role"] == "assistant" else [IGNORED] * len(body)
        labels += [IGNORED] * len(head) + spoken + [IGNORED] * len(tail)
    return ids, labels


def _config(tokenizer: PreTrainedTokenizerBase) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _draw_pool(rng: random.Random, tokenizer: PreTrainedTokenizerBase, allowed: Allowed) -> list[Example]:
    """Twenty batches of dialogues, each of similar lengths, in random order."""
    examples = [encode(tokenizer, draw_dialogue(rng, allowed)) for _ in range(20 * BATCH)]
    examples.sort(key=lambda example: len(example[0]))
    batches = [examples[n : n + BATCH] for n in range(0, len(examples), BATCH)]
    rng.shuffle(batches)
    return [example for batch in batches for example in batch]


def _collate(examples: list[Example], pad: int) -> tuple[Tensor, Tensor]:
    width = _rounded(max(len(ids) for ids, _ in examples))
    ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in examples])
    labels = torch.tensor([labels + [IGNORED] * (width - len(labels)) for _, labels in examples])
    return ids, labels


def _loss(model: Qwen2ForCausalLM, ids: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the supervised tokens. Padding stands right, so the causal mask alone hides it."""
    logits = model(input_ids=ids).logits[:, :-1].float()
    return nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def _rounded(width: int) -> int:
    """A few widths recur, for on a CPU every new shape costs a compilation and memory."""
    return -(-width // 64) * 64
