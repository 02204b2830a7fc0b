"""Opening a sequence classifier with nothing silently initialised, and how long a text it can read."""

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from cai_lightning.models.hub import check_tokenizer, opening
from cai_lightning.run.errors import UserError


def open_classifier(
    kind: str, name: str, device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A sequence classifier and its tokenizer; transformers fills missing weights with random numbers, an error here.

    Args:
        kind: What it is called in messages, such as `classifier` or `reward model`.
        name: Its folder, or its name on the Hugging Face hub.
        device: Where it computes.
        dtype: In which number format.

    Raises:
        UserError: It cannot be had, lacks weights, or has no tokenizer.
    """
    with opening(kind, name):
        classifier, info = AutoModelForSequenceClassification.from_pretrained(
            name, dtype=dtype, weights_only=True, ignore_mismatched_sizes=True, output_loading_info=True
        )
    absent = sorted([*info["missing_keys"], *(str(key[0]) for key in info["mismatched_keys"])])
    if absent:
        raise UserError(
            f"{kind} {name!r} has no fitting weights for {', '.join(absent[:4])} ({len(absent)} in all): it is no"
            " trained sequence classifier; name one that is."
        )
    with opening(f"tokenizer of the {kind}", name):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name)
    check_tokenizer(kind, name, tokenizer)
    return classifier.to(device), tokenizer


def longest_input(classifier: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, most: int) -> int:
    """The most tokens of a text, special ones included. RoBERTa counts positions from behind its padding index.

    Args:
        classifier: Of 514 positions in RoBERTa's embeddings 512 hold text.
        tokenizer: Its `model_max_length` counts too.
        most: What is wanted at most.
    """
    embeddings = [module for name, module in classifier.named_modules() if name.endswith("position_embeddings")]
    positions: list[int] = [e.num_embeddings - (0 if e.padding_idx is None else e.padding_idx + 1) for e in embeddings]
    stated = getattr(classifier.config, "max_position_embeddings", None) or most
    return min([most, int(stated), int(tokenizer.model_max_length), *positions])
