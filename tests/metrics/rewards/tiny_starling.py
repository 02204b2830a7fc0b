"""A tiny reward model in Starling-RM-7B-alpha's own layout, and what it has to answer, worked out with matrices."""

import json
import math

import torch
from tokenizers import Tokenizer, models, trainers
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.processors import TemplateProcessing
from torch.nn.functional import silu, softmax
from transformers import LlamaConfig, LlamaTokenizer

from cai_lightning.run.records import Response

CPU = torch.device("cpu")
LIMIT = 48
SENTENCE = "how do I bake bread ? mix flour and water then wait an hour"
WORDS = [*SENTENCE.split(), "[INST]", "[/INST]", "no", "thank", "you"]
TEXTS = [" ".join(WORDS[n * (n + k) % len(WORDS)] for n in range(2, size)) for k, size in enumerate((4, 9, 15, 23))]
PARTS = ("q_proj", "k_proj", "v_proj", "o_proj")


def response(text, prompt="how do I bake bread ?", turns=None):
    return Response("0", prompt, text, None, finish_reason="stop", model="m", adapter=None, turns=turns)


RESPONSES = [response(text) for text in TEXTS]


def save_tokenizer(folder):
    """Like Llama 2's, it puts `<s>` in front of every text by itself."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = Metaspace()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=special, show_progress=False)
    learner.train_from_iterator([" ".join(WORDS)], trainer)
    model = json.loads(learner.to_str())["model"]
    tokenizer = LlamaTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def config(vocabulary):
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LIMIT,
        initializer_range=0.5,
        pad_token_id=None,
    )


def scores(metric, responses):
    metric.load(CPU)
    return metric.score(responses)


def plainly(base, weights, text):
    """A Llama worked out with nothing but matrices, on one text without padding; the head reads its last token."""
    tokenizer = LlamaTokenizer.from_pretrained(base)
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    ids = ids if len(ids) <= LIMIT else [1, *ids[-LIMIT + 1 :]]
    x = weights["transformer.embed_tokens.weight"][ids]
    angles = torch.arange(len(ids))[:, None] * 10_000 ** (-torch.arange(0, 8, 2) / 8)
    cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
    future = torch.ones(len(ids), len(ids)).triu(1).bool()
    for layer in range(2):
        own = {k.split(f"layers.{layer}.")[1]: w for k, w in weights.items() if f"layers.{layer}." in k}
        normed = norm(x, own["input_layernorm.weight"])
        heads = []
        q, k, v = (normed @ own[f"self_attn.{part}.weight"].T for part in PARTS[:3])
        for head in (slice(0, 8), slice(8, 16)):
            logits = turned(q[:, head], cos, sin) @ turned(k[:, head], cos, sin).T / math.sqrt(8)
            heads.append(softmax(logits.masked_fill(future, -math.inf), -1) @ v[:, head])
        x = x + torch.cat(heads, -1) @ own["self_attn.o_proj.weight"].T
        normed = norm(x, own["post_attention_layernorm.weight"])
        gated = silu(normed @ own["mlp.gate_proj.weight"].T) * (normed @ own["mlp.up_proj.weight"].T)
        x = x + gated @ own["mlp.down_proj.weight"].T
    return (norm(x, weights["transformer.norm.weight"]) @ weights["v_head.weight"][0])[-1].item()


def norm(x, weight):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def turned(x, cos, sin):
    return x * cos + torch.cat([-x[:, 4:], x[:, :4]], -1) * sin


def card(prompt, text):
    return f"<s>[INST] {prompt} </s> [/INST] {text}</s>"
