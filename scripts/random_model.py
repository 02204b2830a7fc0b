"""Models of random weights in Qwen2's architecture, with a tokenizer learned from a text: what benchmarks run on."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from cai_lightning.sandbox.training import qwen_tokenizer

LEARNED = 16_000
"""Tokens of the tokenizer, whatever the model's vocabulary is."""

ENDING = 2.0
"""How much longer than the others' the output vector of the end of turn is, so that replies end at varied lengths."""

SPREAD = 0.1
"""Standard deviation of the weights: with less, greedy replies fall into loops that end either at once or never."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a model."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int = 2
    tie_word_embeddings: bool = False

    @property
    def cache_bytes(self) -> int:
        """Bytes of the cache of one token, in bfloat16."""
        size = self.hidden_size // self.num_attention_heads
        return 4 * self.num_hidden_layers * self.num_key_value_heads * size

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights that one token needs, in bfloat16: all but the input embedding."""
        keys_and_values = self.cache_bytes // 2 // self.num_hidden_layers
        attention = self.hidden_size * (2 * self.hidden_size + keys_and_values)
        layer = attention + 3 * self.hidden_size * self.intermediate_size
        return 2 * (self.num_hidden_layers * layer + self.hidden_size * self.vocab_size)


SHAPES = {
    "tiny": Shape(16_000, 64, 128, 2, 4),
    "50m": Shape(16_000, 512, 2048, 9, 8),
    "45m": Shape(151_936, 256, 1024, 6, 4, tie_word_embeddings=True),
    "qwen2.5-3b": Shape(151_936, 2048, 11_008, 36, 16, tie_word_embeddings=True),
    "mistral-7b": Shape(32_768, 4096, 14_336, 32, 32, num_key_value_heads=8),
}


def make_model(shape: Shape, text: Path, folder: Path, ends: bool) -> None:
    """Saves a model that says nothing its tokenizer has not heard of.

    Args:
        shape: Its sizes.
        text: What its tokenizer is learned from.
        folder: Where it is saved.
        ends: Whether its replies end, at varied lengths, or never.
    """
    tokenizer = qwen_tokenizer(text.read_text(encoding="utf-8").splitlines(), LEARNED)
    tokenizer.save_pretrained(folder)
    config = Qwen2Config(
        **vars(shape), max_position_embeddings=4096, eos_token_id=tokenizer.eos_token_id, initializer_range=SPREAD
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):  # there billions of weights are drawn in seconds
        model = Qwen2ForCausalLM(config)
    outputs = model.lm_head.weight.data
    outputs[len(tokenizer) :] = 0
    outputs[tokenizer.all_special_ids] *= 0
    if ends:
        torch.nn.init.normal_(outputs[tokenizer.eos_token_id], std=ENDING * SPREAD)
    model.to(torch.bfloat16).save_pretrained(folder)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"model: {parameters / 1e6:,.0f} M parameters, vocabulary {config.vocab_size:,}", file=sys.stderr)
