"""Semantic similarity: how close a response is to the held-out revision of its prompt."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from cai_lightning.metrics.base import Column, ResponseMetric, Scores
from cai_lightning.models.hub import MINILM, embed, open_encoder, revision, truncated
from cai_lightning.run.records import Response

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


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

    def __init__(self, encoder: str = MINILM, batch_size: int = 64) -> None:
        super().__init__([Column("semantic_similarity", "higher", -1.0, 1.0)])
        self.encoder = encoder
        self.batch_size = batch_size
        self._encoder: SentenceTransformer | None = None

    def revision(self) -> str | None:
        return revision(self.encoder)

    def inapplicable(self, response: Response) -> str | None:
        if not response.response.strip():
            return "empty response"
        return None if response.reference and response.reference.strip() else "no reference"

    def load(self, device: torch.device) -> None:
        self._encoder = open_encoder(self.encoder, device)

    def score(self, responses: Sequence[Response]) -> Scores:
        reasons = [self.inapplicable(response) for response in responses]
        values = torch.full((len(responses),), torch.nan)
        details: list[dict[str, Any]] = [{} for _ in responses]
        rows = [row for row, reason in enumerate(reasons) if reason is None]
        if rows:
            pairs = [(responses[row].response, responses[row].reference or "") for row in rows]
            values[rows], cuts = self._compare(pairs)
            for row, cut in zip(rows, cuts, strict=True):
                details[row] = {"truncated": cut}
        return Scores({"semantic_similarity": values}, reasons, details)

    def free(self) -> None:
        self._encoder = None

    def _compare(self, pairs: Sequence[tuple[str, str]]) -> tuple[torch.Tensor, list[bool]]:
        """The cosine of each pair of texts, and whether one of the two was cut."""
        assert self._encoder is not None, "load() comes before score()"
        texts = [text for pair in pairs for text in pair]
        embeddings = torch.from_numpy(embed(self._encoder, texts, self.batch_size))
        cut = truncated(self._encoder, texts)
        cosine = (embeddings[::2] * embeddings[1::2]).sum(dim=1)
        return cosine.clamp(-1, 1), [a or b for a, b in zip(cut[::2], cut[1::2], strict=True)]
