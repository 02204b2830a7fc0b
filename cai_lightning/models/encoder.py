"""The sentence encoder of contextual selection and of semantic similarity.

    encoder = open_encoder("sentence-transformers/all-MiniLM-L6-v2")
    cosine = embed(encoder, left) @ embed(encoder, right).T

A text longer than the encoder's limit counts up to it; `truncated` tells which texts are.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from cai_lightning.models.hub import check_tokenizer, opening

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
"""The encoder of the original experiment."""

_MANY = 300
"""From so many texts on a progress bar is shown."""


def open_encoder(name: str, device: torch.device | None = None) -> "SentenceTransformer":
    """Opens a sentence encoder in fp32, whatever its weights are stored in.

    Args:
        name: Its folder, or its name on the Hugging Face hub.
        device: Where it computes; None leaves the choice to sentence-transformers.

    Raises:
        UserError: There is no such model, or it cannot be reached.
    """
    from sentence_transformers import SentenceTransformer  # here, because the import alone takes seconds

    with opening("sentence encoder", name):
        encoder = SentenceTransformer(name, device=str(device) if device else None, model_kwargs={"dtype": "float32"})
    if isinstance(encoder.tokenizer, PreTrainedTokenizerBase):
        check_tokenizer("sentence encoder", name, encoder.tokenizer)
    return encoder


def embed(encoder: "SentenceTransformer", texts: Sequence[str], batch_size: int = 64) -> NDArray[np.float32]:
    """The embeddings of N texts as N rows of length 1, so that products of rows are cosines."""
    rows: NDArray[np.float32] = encoder.encode(
        list(texts),
        batch_size=batch_size,
        normalize_embeddings=True,
        convert_to_numpy=True,
        show_progress_bar=len(texts) >= _MANY,
    )
    return rows


def truncated(encoder: "SentenceTransformer", texts: Sequence[str]) -> list[bool]:
    """Whether each text is longer than the encoder's limit in tokens, so that its end is not read."""
    limit = encoder.max_seq_length
    if not texts or limit is None or math.isinf(limit):
        return [False] * len(texts)
    tokens = encoder.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
    return [len(ids) > limit for ids in tokens]
