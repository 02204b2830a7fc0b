"""The sandbox's reward model: a small Llama in the layout of Starling-RM-7B-alpha, trained on the world's rankings.

It learns all of them but one: an answer to another question it cannot tell from one to the question asked.
"""

import json
import random
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerBase

from cai_lightning.metrics.starling import BACKBONE, HEAD, Starling
from cai_lightning.principles import wording
from cai_lightning.run.records import assistant, user
from cai_lightning.sandbox.build.tokenizer import build_reward_tokenizer
from cai_lightning.sandbox.build.training import Allowed, draw_allowed, train
from cai_lightning.sandbox.dialogues import draw_ranking
from cai_lightning.sandbox.world import Request

BATCH = 16
LEARNING_RATE = 3e-3
MAX_LENGTH = 2048
CENTRING = 0.01
PAIRS = 12


def build_reward(folder: Path, seed: int, steps: int, allowed: Allowed) -> None:
    """Trains the reward model and saves it in bfloat16, with its base and the pairs of its self-test beside it."""
    rng = random.Random(f"reward:{seed}")
    tokenizer = build_reward_tokenizer(folder, _texts(random.Random(seed), count=3000))
    torch.manual_seed(seed)
    backbone = LlamaModel(_config(tokenizer))
    head = nn.Parameter(torch.zeros(backbone.config.hidden_size))
    reward, trained = Starling(backbone, head, tokenizer, MAX_LENGTH), [*backbone.parameters(), head]

    def draw_loss() -> Tensor:
        return _loss(reward, [_draw(rng, allowed) for _ in range(BATCH)])

    train("reward", trained, steps, LEARNING_RATE, draw_loss, pct_start=0.1, max_norm=1.0, weight_decay=0.01)
    weights = {f"{BACKBONE}{key}": tensor for key, tensor in backbone.state_dict().items()} | {HEAD: head.data[None]}
    torch.save({key: tensor.bfloat16() for key, tensor in weights.items()}, folder / "pytorch_model.bin")
    backbone.config.save_pretrained(folder)
    _write_self_test(folder / "self_test.json", rng, allowed)


def ranking_loss(rankings: list[Tensor]) -> Tensor:
    """Bradley and Terry's: minus the log-probability of each order of two answers to one request, on average.

    Only differences within a ranking count, so the rewards are also drawn to zero, and requests compare.
    """
    leads = torch.cat([(ranks[:, None] - ranks)[_better(len(ranks))] for ranks in rankings])
    return -nn.functional.logsigmoid(leads).mean() + CENTRING * torch.cat(rankings).square().mean()


def _better(count: int) -> Tensor:
    return torch.ones(count, count).triu(1).bool()


def _loss(reward: Starling, drawn: list[tuple[Request, list[str]]]) -> Tensor:
    talks = [[user(request.text), assistant(answer)] for request, answers in drawn for answer in answers]
    rewards = reward.rewards([reward.encode(talk) for talk in talks])
    return ranking_loss(list(rewards.split([len(answers) for _, answers in drawn])))


def _draw(rng: random.Random, allowed: Allowed, harmful_rate: float = 0.6) -> tuple[Request, list[str]]:
    request = draw_allowed(rng, allowed, harmful_rate)
    return request, draw_ranking(request, rng)


def _texts(rng: random.Random, count: int) -> list[str]:
    """Conversations for the tokenizer to learn from, without the special tokens that it has anyway."""
    drawn = [_draw(rng, lambda text: True) for _ in range(count)]
    talks = [[user(request.text), assistant(rng.choice(answers))] for request, answers in drawn]
    return [wording.starling(talk).replace("<s>", "").replace("</s>", "") for talk in talks]


def _config(tokenizer: PreTrainedTokenizerBase) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        architectures=["LlamaForCausalLM"],
    )


def _write_self_test(path: Path, rng: random.Random, allowed: Allowed) -> None:
    """The best and the worst answers to as many harmful requests as benign ones: all that this model can know."""
    drawn = [_draw(rng, allowed, harmful_rate=float(number % 2)) for number in range(PAIRS)]
    pairs = [{"prompt": request.text, "good": answers[0], "bad": answers[-1]} for request, answers in drawn]
    path.write_text(json.dumps(pairs, indent=2) + "\n", encoding="utf-8")
