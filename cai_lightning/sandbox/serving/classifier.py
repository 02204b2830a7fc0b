"""A classifier with labels that do not exclude each other, behind a lock: requests come from many threads."""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from cai_lightning.run.errors import UserError

BATCH = 32
LONGEST = 512


class Classifier:
    """Reads texts, or pairs of texts, up to 512 tokens.

    Args:
        folder: Folder of a sequence classifier, as `scripts/build_sandbox.py` makes it.

    Raises:
        UserError: There is none.
    """

    def __init__(self, folder: Path) -> None:
        weights = folder / "model.safetensors"
        if not weights.is_file():
            raise UserError(
                f"{weights}: no such file; run this in the root of the project, or name its folder by --models"
            )
        self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        self._model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
        self._lock = threading.Lock()
        self.labels: list[str] = list((self._model.config.id2label or {}).values())
        self.digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        self.size = weights.stat().st_size
        self.modified = weights.stat().st_mtime

    def __call__(self, texts: Sequence[str], partners: Sequence[str] | None = None) -> list[dict[str, float]]:
        """The probability of each label, for each text.

        Args:
            texts: N texts.
            partners: N texts to be read behind the first ones, or None.
        """
        found: list[dict[str, float]] = []
        for start in range(0, len(texts), BATCH):
            chosen = slice(start, start + BATCH)
            rows = self._probabilities(texts[chosen], partners[chosen] if partners else None)
            found += [dict(zip(self.labels, row, strict=True)) for row in rows]
        return found

    def count(self, text: str) -> int:
        """The number of tokens of a text."""
        return len(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    @torch.inference_mode()
    def _probabilities(self, texts: Sequence[str], partners: Sequence[str] | None) -> list[list[float]]:
        inputs = self._tokenizer(
            list(texts),
            list(partners) if partners else None,
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=LONGEST,
        )
        with self._lock:
            logits = self._model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        rows: list[list[float]] = logits.sigmoid().tolist()
        return rows
