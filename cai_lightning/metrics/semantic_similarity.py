"""Semantic similarity: how close a response is to the held-out revision of its prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from cai_lightning.metrics.base import Column, ResponseMetric, Scores
from cai_lightning.models.hub import MINILM, embed, open_encoder, revision, truncated
from cai_lightning.run.records import Response

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass(eq=False, repr=False)
class SemanticSimilarity(ResponseMetric):
    """The cosine of response and reference under a sentence encoder, from -1 to 1; higher is better.

    A row without a reference or with an empty response is unscored. Texts beyond the encoder's limit (256 word pieces
    for all-MiniLM-L6-v2) count up to it, and the row's detail says so.

    Args:
        encoder: Folder or Hugging Face name of the sentence encoder.
        batch_size: Texts encoded at once.
    """

    NOT_FINGERPRINTED = frozenset({"batch_size"})
    uses_references = True

    encoder: str = MINILM
    batch_size: int = 64

    def __post_init__(self) -> None:
        super().__init__([Column("semantic_similarity", "higher", -1.0, 1.0)])
        self._encoder: SentenceTransformer | None = None

    def revision(self) -> str | None:
        return revision(self.encoder)

    def inapplicable(self, response: Response) -> str | None:
        has_reference = response.reference is not None and response.reference.strip()
        return super().inapplicable(response) or (None if has_reference else "no reference")

    def load(self, device: torch.device) -> None:
        self._encoder = open_encoder(self.encoder, device)

    def score(self, responses: Sequence[Response]) -> Scores:
        assert self._encoder is not None, "load() comes before score()"
        texts = [text for response in responses for text in (response.response, response.reference or "")]
        embeddings = torch.from_numpy(embed(self._encoder, texts, self.batch_size))
        cosine = (embeddings[::2] * embeddings[1::2]).sum(dim=1).clamp(-1, 1)
        cut = truncated(self._encoder, texts)
        details = [{"truncated": a or b} for a, b in zip(cut[::2], cut[1::2], strict=True)]
        return Scores({"semantic_similarity": cosine}, [None] * len(responses), details)

    def free(self) -> None:
        self._encoder = None
