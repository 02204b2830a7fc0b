"""The cleaned revisions as Lightning's data module: what fit trains and validates on."""

from functools import partial
from pathlib import Path
from typing import cast

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from cai_lightning import provenance
from cai_lightning.data.batches import LengthBatches
from cai_lightning.data.collate import collate
from cai_lightning.data.corpus import Corpus, Sample, Target, read_corpus
from cai_lightning.data.encoding import Example, encode
from cai_lightning.data.prompts import read_prompts
from cai_lightning.data.split import Part, Shares


class RevisionData(LightningDataModule):
    """Cleans a run's revisions and batches them by length.

    Args:
        corpus: A run's `revisions.jsonl`; null takes the run's own.
        target: Learns from the last `revision`, from those of all `rounds` (as the paper does), or from the `initial`
            response (the control of the experiment).
        batch_size: Conversations in a batch.
        max_length: Tokens of a conversation that are kept; longer ones are cut at the end and counted.
        shares: Shares of the prompts set aside for testing (never read here) and for validation.
        prompts: Source of prompts; rows of other prompts are left out. Null takes every row.
        column: Field of that source that holds the prompt.
        split: Split of it, where it is a Hugging Face dataset.
        limit: Takes the first so many prompts of the source, or of the corpus where none is given, with all their
            samples.
        seed: Seed of the order of batches.
    """

    INCIDENTAL = frozenset({"corpus", "prompts", "column", "split"})

    def __init__(
        self,
        corpus: Path | None = None,
        target: Target = "revision",
        batch_size: int = 8,
        max_length: int = 2048,
        shares: Shares = Shares(),
        prompts: str | None = None,
        column: str = "prompt",
        split: str = "train",
        limit: int | None = None,
        seed: int = 42,
    ) -> None:
        super().__init__()
        if batch_size < 1 or max_length < 1 or (limit is not None and limit < 1):
            raise ValueError(
                f"RevisionData: batch_size, max_length, limit >= 1 expected: {batch_size}, {max_length}, {limit}"
            )
        self.corpus = corpus
        self.target: Target = target
        self.batch_size = batch_size
        self.max_length = max_length
        self.shares = shares
        self.prompts = prompts
        self.column = column
        self.split = split
        self.limit = limit
        self.seed = seed
        self.examples: dict[Part, list[Example]] = {}

    def inputs(self, run: Path) -> dict[str, str]:
        """Digest of the cleaned corpus."""
        corpus = self._read(run)
        return {"corpus": provenance.digest([(s.id, s.response) for part in corpus.parts.values() for s in part])}

    def setup(self, stage: str) -> None:
        trainer = self.trainer
        assert trainer is not None
        self._tokenizer = cast(PreTrainedTokenizerBase, trainer.lightning_module.tokenizer)
        corpus = self._read(Path(trainer.default_root_dir))
        for part in ("train", "validation"):
            self.examples[part] = [self._encode(sample) for sample in corpus.parts[part]]
        rank_zero_info(self._report(corpus))

    def train_dataloader(self) -> DataLoader[Example]:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Example]:
        return self._loader("validation", shuffle=False)

    def _read(self, run: Path) -> Corpus:
        prompts = read_prompts(self.prompts, self.column, self.split) if self.prompts else None
        return read_corpus(self.corpus or run / "revisions.jsonl", self.target, self.shares, prompts, self.limit)

    def _encode(self, sample: Sample) -> Example:
        return encode(self._tokenizer, sample.id, sample.opening, sample.response, self.max_length)

    def _loader(self, part: Part, shuffle: bool) -> DataLoader[Example]:
        trainer = self.trainer
        assert trainer is not None
        rows = self.examples[part]
        lengths = [len(example.input_ids) for example in rows]
        expected = self.batch_size * sum(example.supervised for example in rows) / len(rows)
        batches = LengthBatches(lengths, self.batch_size, trainer.global_rank, trainer.world_size, self.seed, shuffle)
        return DataLoader(
            rows,  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=partial(collate, pad=self._tokenizer.pad_token_id, expected_tokens=expected),
        )

    def _report(self, corpus: Corpus) -> str:
        counts = corpus.counts
        rows = [example for part in self.examples.values() for example in part]
        truncated = sum(example.truncated for example in rows)
        return (
            f"corpus: {counts['rows']} rows with {counts['read']} responses read, {counts['ascii']} put into ASCII, "
            f"{counts['meta_commentary']} stripped of meta-commentary, {counts['empty']} dropped as empty, "
            f"{len(corpus.parts['test'])} of the test part left out\n"
            f"learning from {len(self.examples['train'])}, validating on {len(self.examples['validation'])}: "
            f"{sum(example.supervised for example in rows):,} supervised tokens, "
            f"{truncated} cut at {self.max_length} tokens"
        )
