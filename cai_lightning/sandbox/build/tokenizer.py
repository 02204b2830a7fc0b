"""The sandbox's tokenizers: byte-complete BPEs learned from the grammar, in the layouts of Qwen2, RoBERTa and Llama."""

import json
import random
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, trainers
from tokenizers.pre_tokenizers import ByteLevel, Metaspace
from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerBase, Qwen2Tokenizer, RobertaTokenizer

from cai_lightning.sandbox.dialogues import draw_dialogue

VOCABULARY = 1536
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(folder: Path, seed: int) -> PreTrainedTokenizerBase:
    """Learns the chat model's tokenizer, saves it, and returns it as `AutoTokenizer` opens it again.

    A folder of `model_type: qwen2` is opened with Qwen2's pre-tokenizer whatever was saved: it is learned with here.
    """
    vocab, merges = _learn(Qwen2Tokenizer().backend_tokenizer, seed, [])
    tokenizer = qwen_tokenizer(vocab, merges)
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}), encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


def qwen_tokenizer(vocab: dict[str, int], merges: list[tuple[str, str]]) -> PreTrainedTokenizerBase:
    """A tokenizer in Qwen2's layout, with ChatML's template, of a vocabulary and merges that were learned."""
    tokenizer = Qwen2Tokenizer(
        vocab=vocab,
        merges=merges,
        unk_token=None,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        model_max_length=4096,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_classifier_tokenizer(folder: Path, seed: int) -> PreTrainedTokenizerBase:
    """Learns a tokenizer whose special tokens have RoBERTa's numbers: its positions begin behind that of padding."""
    vocab, merges = _learn(RobertaTokenizer().backend_tokenizer, seed, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    RobertaTokenizer(vocab=vocab, merges=merges, model_max_length=512).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "roberta"}), encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


def build_reward_tokenizer(folder: Path, texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """Learns a tokenizer like Llama 2's: blanks are letters, and what it has not learned falls back on bytes."""
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = Metaspace()
    learner.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    )
    model = json.loads(learner.to_str())["model"]
    merges = [(left, right) for left, right in model["merges"]]
    LlamaTokenizer(vocab=model["vocab"], merges=merges, model_max_length=2048).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}), encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


def _learn(like: Tokenizer, seed: int, special: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges under another tokenizer's way of cutting words."""
    rng = random.Random(seed)
    texts = (turn["content"] for _ in range(6000) for turn in draw_dialogue(rng, lambda text: True))
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer, learner.decoder = like.pre_tokenizer, like.decoder
    if like.normalizer is not None:
        learner.normalizer = like.normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 3,
        initial_alphabet=sorted(ByteLevel.alphabet()),
        special_tokens=special,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    model = json.loads(learner.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]
