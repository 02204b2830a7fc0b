"""Training of the sandbox's models that read conversations word by word: its chat model, and its reward model.

The chat model has two million parameters in Qwen2's architecture, and learns the dialogues of the grammar. The reward
model is a small Llama in the layout of Starling-RM-7B-alpha, and learns the world's rankings, all of them but one: an
answer to another question it cannot tell from one to the question asked.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    DataCollatorForSeq2Seq,
    GenerationConfig,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from cai_lightning.metrics.rewards import BACKBONE, HEAD, Starling
from cai_lightning.principles import wording
from cai_lightning.run.records import Conversation, assistant, user
from cai_lightning.sandbox.dialogues import Allowed, draw_allowed, draw_dialogue, draw_ranking
from cai_lightning.sandbox.training import build_reward_tokenizer, train
from cai_lightning.sandbox.world import Request

CHAT_BATCH, REWARD_BATCH = 32, 16
IGNORED = -100
WIDTHS = 64
"""Batches are so many tokens wide, or a multiple of it: on a CPU every new shape costs a compilation and memory."""

REWARD_LENGTH = 2048
CENTRING = 0.01
SELF_TEST_PAIRS = 12

SETTINGS: dict[str, Any] = {"pct_start": 0.1, "max_norm": 1.0, "weight_decay": 0.01}


def build_chat_model(folder: Path, tokenizer: PreTrainedTokenizerBase, seed: int, steps: int, allowed: Allowed) -> None:
    """Trains the chat model on assistant turns alone and saves it in bfloat16 beside its tokenizer."""
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(_chat_config(tokenizer))
    batches = _draw_batches(random.Random(seed), tokenizer, allowed)
    collate = DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=WIDTHS, label_pad_token_id=IGNORED)

    def draw_loss() -> Tensor:
        batch = collate(next(batches))
        with torch.autocast("cpu", torch.bfloat16):
            loss: Tensor = model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
        return loss

    train("chat model", model.parameters(), steps, 2e-3, draw_loss, betas=(0.9, 0.95), **SETTINGS)
    model.generation_config = GenerationConfig(
        do_sample=True, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.to(torch.bfloat16).save_pretrained(folder)


def encode(tokenizer: PreTrainedTokenizerBase, dialogue: Conversation) -> dict[str, list[int]]:
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
    return {"input_ids": ids, "labels": labels}


def _chat_config(tokenizer: PreTrainedTokenizerBase) -> Qwen2Config:
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


def _draw_batches(
    rng: random.Random, tokenizer: PreTrainedTokenizerBase, allowed: Allowed
) -> Iterator[list[dict[str, list[int]]]]:
    """Batches of dialogues of similar lengths, in random order: of every twenty batches the dialogues are sorted."""
    while True:
        examples = [encode(tokenizer, draw_dialogue(rng, allowed)) for _ in range(20 * CHAT_BATCH)]
        examples.sort(key=lambda example: len(example["input_ids"]))
        batches = [examples[n : n + CHAT_BATCH] for n in range(0, len(examples), CHAT_BATCH)]
        rng.shuffle(batches)
        yield from (batch[::-1] for batch in reversed(batches))  # the order that the shipped model has learned in


def build_reward(folder: Path, seed: int, steps: int, allowed: Allowed) -> None:
    """Trains the reward model and saves it in bfloat16, with its base and the pairs of its self-test beside it."""
    rng = random.Random(f"reward:{seed}")
    tokenizer = build_reward_tokenizer(folder, _reward_texts(random.Random(seed)))
    torch.manual_seed(seed)
    backbone = LlamaModel(_reward_config(tokenizer))
    head = nn.Parameter(torch.zeros(backbone.config.hidden_size))
    reward = Starling(backbone, head, tokenizer, REWARD_LENGTH)

    def draw_loss() -> Tensor:
        drawn = [_draw_ranked(rng, allowed) for _ in range(REWARD_BATCH)]
        talks = [[user(request.text), assistant(answer)] for request, answers in drawn for answer in answers]
        rewards = reward.rewards([reward.encode(talk) for talk in talks])
        return ranking_loss(list(rewards.split([len(answers) for _, answers in drawn])))

    train("reward", [*backbone.parameters(), head], steps, 3e-3, draw_loss, **SETTINGS)
    weights = {f"{BACKBONE}{key}": tensor for key, tensor in backbone.state_dict().items()} | {HEAD: head.data[None]}
    torch.save({key: tensor.bfloat16() for key, tensor in weights.items()}, folder / "pytorch_model.bin")
    backbone.config.save_pretrained(folder)
    # The best and the worst answers to as many harmful requests as benign ones: all that this model can know.
    drawn = [_draw_ranked(rng, allowed, harmful_rate=float(number % 2)) for number in range(SELF_TEST_PAIRS)]
    pairs = [{"prompt": request.text, "good": answers[0], "bad": answers[-1]} for request, answers in drawn]
    (folder / "self_test.json").write_text(json.dumps(pairs, indent=2) + "\n", encoding="utf-8")


def ranking_loss(rankings: list[Tensor]) -> Tensor:
    """Bradley and Terry's: minus the log-probability of each order of two answers to one request, on average.

    Only differences within a ranking count, so the rewards are also drawn to zero, and requests compare.
    """
    pairs = torch.cat([torch.combinations(rewards) for rewards in rankings])
    leads = pairs[:, 0] - pairs[:, 1]
    return -nn.functional.logsigmoid(leads).mean() + CENTRING * torch.cat(rankings).square().mean()


def _draw_ranked(rng: random.Random, allowed: Allowed, harmful_rate: float = 0.6) -> tuple[Request, list[str]]:
    request = draw_allowed(rng, allowed, harmful_rate)
    return request, draw_ranking(request, rng)


def _reward_texts(rng: random.Random) -> list[str]:
    """Conversations for the tokenizer to learn from, without the special tokens that it has anyway."""
    drawn = [_draw_ranked(rng, lambda text: True) for _ in range(3000)]
    talks = [[user(request.text), assistant(rng.choice(answers))] for request, answers in drawn]
    return [wording.starling(talk).replace("<s>", "").replace("</s>", "") for talk in talks]


def _reward_config(tokenizer: PreTrainedTokenizerBase) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=REWARD_LENGTH,
        architectures=["LlamaForCausalLM"],
    )
