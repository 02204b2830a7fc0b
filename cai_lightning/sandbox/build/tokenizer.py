"""The sandbox's tokenizer: a byte-complete BPE in Qwen2's layout with a ChatML template."""

import json
import random
from pathlib import Path

from tokenizers import Tokenizer, models, trainers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2Tokenizer

from cai_lightning.sandbox.dialogues import draw_dialogue

VOCABULARY = 1536
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(folder: Path, seed: int) -> PreTrainedTokenizerBase:
    """Learns the tokenizer from the grammar, saves it, and returns it as `AutoTokenizer` opens it again.

    A folder of `model_type: qwen2` is opened with Qwen2's pre-tokenizer whatever was saved, so that one is learned with.
    """
    rng = random.Random(seed)
    texts = (turn["content"] for _ in range(6000) for turn in draw_dialogue(rng, lambda text: True))
    vocab, merges = _learn(texts)
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
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}), encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


def _learn(texts: object) -> tuple[dict[str, int], list[tuple[str, str]]]:
    qwen = Qwen2Tokenizer().backend_tokenizer
    learner = Tokenizer(models.BPE())
    learner.normalizer, learner.pre_tokenizer, learner.decoder = qwen.normalizer, qwen.pre_tokenizer, qwen.decoder
    alphabet = sorted(ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY - 3, initial_alphabet=alphabet, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    model = json.loads(learner.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]
