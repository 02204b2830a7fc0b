"""What the sandbox's models are built with: tokenizers learned from the grammar, and a loop over batches drawn from it.

The tokenizers are byte-complete BPEs in the layouts of Qwen2, RoBERTa and Llama.
"""

import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from tokenizers import Tokenizer, models, trainers
from tokenizers.pre_tokenizers import ByteLevel, Metaspace
from torch import Tensor, nn
from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerBase, Qwen2Tokenizer, RobertaTokenizer

from cai_lightning.sandbox.dialogues import draw_dialogue

VOCABULARY = 1536
BYTES = tuple(sorted(ByteLevel.alphabet()))
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def train(
    name: str,
    weights: Iterable[nn.Parameter],
    steps: int,
    peak: float,
    draw_loss: Callable[[], Tensor],
    pct_start: float = 0.3,
    max_norm: float = torch.inf,
    **adam: Any,
) -> None:
    """AdamW under a one-cycle schedule.

    Args:
        name: Of the model, for the lines that tell of the loss.
        weights: What is trained.
        steps: Batches trained on.
        peak: The highest learning rate.
        draw_loss: The loss of a batch never seen before.
        pct_start: Share of the steps in which the learning rate rises.
        max_norm: Gradients are cut at this norm.
        adam: Further settings of AdamW.
    """
    trained = list(weights)
    optimizer = torch.optim.AdamW(trained, lr=peak, **adam)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps, pct_start=pct_start)
    for step in track(range(steps), name):
        loss = draw_loss()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, max_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            print(f"{name}: step {step}, loss {loss.item():.4f}", flush=True)


def build_chat_tokenizer(folder: Path, seed: int) -> PreTrainedTokenizerBase:
    """Learns the chat model's tokenizer from dialogues, saves it, and returns it as it is opened again."""
    return _save(qwen_tokenizer(_dialogue_texts(seed), VOCABULARY), folder, "qwen2")


def build_classifier_tokenizer(folder: Path, seed: int) -> PreTrainedTokenizerBase:
    """Likewise one whose special tokens have RoBERTa's numbers: its positions begin behind that of padding."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    learned = _learn(RobertaTokenizer().backend_tokenizer, _dialogue_texts(seed), VOCABULARY - 3, special)
    return _save(RobertaTokenizer(**learned, model_max_length=512), folder, "roberta")


def build_reward_tokenizer(folder: Path, texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """Likewise one like Llama 2's: blanks are letters, and what it has not learned falls back on bytes."""
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = Metaspace()
    learned = _learn(learner, texts, VOCABULARY, special, alphabet=())
    return _save(LlamaTokenizer(**learned, model_max_length=2048), folder, "llama")


def qwen_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerBase:
    """Learns a tokenizer of so many tokens in Qwen2's layout, with ChatML's template."""
    tokenizer = Qwen2Tokenizer(
        **_learn(Qwen2Tokenizer().backend_tokenizer, texts, size - 3),
        unk_token=None,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        model_max_length=4096,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _dialogue_texts(seed: int) -> Iterable[str]:
    rng = random.Random(seed)
    return (turn["content"] for _ in range(6000) for turn in draw_dialogue(rng, lambda text: True))


def _learn(
    like: Tokenizer, texts: Iterable[str], size: int, special: Sequence[str] = (), alphabet: Sequence[str] = BYTES
) -> dict[str, Any]:
    """Vocabulary and merges under another tokenizer's way of cutting words."""
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=list(alphabet), special_tokens=list(special), show_progress=False
    )
    like.train_from_iterator(texts, trainer)
    model = json.loads(like.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(pair) for pair in model["merges"]]}


def _save(tokenizer: PreTrainedTokenizerBase, folder: Path, model_type: str) -> PreTrainedTokenizerBase:
    """Saves a tokenizer and opens it again, with the pre-tokenizer of this type of model, whatever was saved."""
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
    reopened: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return reopened
