"""The prompts that predict revises and validate tests, and the responses that a run holds, as Lightning's data modules.

A process's whole share of the rows is one batch: which of them are computed together is the engine's business.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from cai_lightning.data.corpus import RecordedRevision, read_journal
from cai_lightning.data.prompts import Shares, part, prompt_text, read_prompts
from cai_lightning.run import jsonl, manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import read_records
from cai_lightning.run.records import Prompt, Response, about, samples_of, shared_id
from cai_lightning.run.text import split_thoughts

T = TypeVar("T")


def check_numbers(data: LightningDataModule, *names: str) -> None:
    """Makes sure that these settings of a data module are at least 1; null sets no bound.

    Raises:
        ValueError: One is smaller.
    """
    for name in names:
        number = getattr(data, name)
        if number is not None and number < 1:
            raise ValueError(f"data.{name}: must be ≥ 1, not {number}")


@dataclass(frozen=True)
class ReferencedPrompt:
    """A prompt and the revision it is compared with, null where there is none."""

    prompt: Prompt
    reference: str | None


class RowData(LightningDataModule):
    """Shares rows out among the processes: to each every n-th row, none repeated to make the shares even."""

    def share(self, rows: list[T]) -> list[T]:
        """This process's rows."""
        trainer = self.trainer
        return rows[trainer.global_rank :: trainer.world_size] if trainer else rows

    def one_batch(self, rows: list[T]) -> DataLoader[list[T]]:
        """Rows as Lightning's loops take them."""
        return DataLoader([rows], batch_size=None, collate_fn=list)  # type: ignore[arg-type]

    def transfer_batch_to_device(self, batch: T, device: torch.device, dataloader_idx: int) -> T:
        """Rows are text, and stay where they are."""
        return batch


@dataclass(eq=False, repr=False)
class PromptData(RowData):
    """Reads the prompts that predict revises and validate tests.

    Args:
        prompts: A JSON Lines file with a field `prompt`, a file of hh-rlhf transcripts (plain or .gz), a folder with
            Anthropic's evaluation files, `anthropic` (the 979 prompts of the original experiment, fetched on first
            use) or `hf:NAME` (a Hugging Face dataset).
        column: Field that holds the prompt.
        split: Split of a Hugging Face dataset.
        limit: Takes the first so many rows of the source; null takes all.
        samples: Revisions that predict makes of each prompt, from random numbers of their own; validate answers each
            prompt once.
        shares: Shares of the prompts set aside for testing and for validation.
        references: A run's `revisions.jsonl` whose test revisions are the references of validate; null takes the
            run's own.
    """

    NOT_FINGERPRINTED = frozenset({"prompts", "column", "split", "limit", "samples", "references"})

    prompts: str
    column: str = "prompt"
    split: str = "train"
    limit: int | None = None
    samples: int = 1
    shares: Shares = Shares()
    references: Path | None = None

    def __post_init__(self) -> None:
        super().__init__()
        check_numbers(self, "limit", "samples")
        self.done = 0
        self.missing: list[Prompt] = []
        self.first: int | None = None

    @cached_property
    def source(self) -> list[Prompt]:
        """Every prompt of the source, `limit` left aside."""
        return read_prompts(self.prompts, self.column, self.split)

    @property
    def rows(self) -> list[Prompt]:
        """The prompts of this run."""
        return self.source[: self.limit]

    @property
    def sampled(self) -> list[Prompt]:
        """The prompts of this run, each as often as it is sampled."""
        return [sample for prompt in self.rows for sample in samples_of(prompt, self.samples)]

    @property
    def order(self) -> list[str]:
        """The ids of the source in its order, with those of further samples."""
        return [sample.id for prompt in self.source for sample in samples_of(prompt, self.samples)]

    def inputs(self, run: Path) -> dict[str, str]:
        """Digests of what this module reads."""
        return {"prompts": manifest.digest([prompt.id for prompt in self.source])}

    def reference_digest(self, run: Path) -> str:
        """16 hex digits that stand for the references, in whatever order they were made; further samples are none."""
        return manifest.digest({id: _words(row) for id, row in self._references(run).items()})

    def setup(self, stage: str) -> None:
        """Finds what is missing while nobody writes yet, so that all processes find the same."""
        run = Path(self.trainer.default_root_dir)  # type: ignore[union-attr]
        if stage == "predict":
            made, failed = jsonl.read(run / "revisions.jsonl"), jsonl.read(run / "failed.jsonl")
            missing = [prompt for prompt in self.sampled if prompt.id not in made]
            self.missing = sorted(missing, key=lambda prompt: prompt.id in failed)  # who failed before comes last
        else:
            rows = self._references(run)
            by_prompt = {shared_id(row): row for row in reversed(rows.values())}
            found = [(prompt, rows.get(prompt.id) or by_prompt.get(shared_id(prompt))) for prompt in self._tested()]
            self.tests = [ReferencedPrompt(prompt, _words(row) if row else None) for prompt, row in found]

    def predict_dataloader(self) -> DataLoader[list[Prompt]]:
        """What this process shall make; of it the first so many where a dry run has set `first`."""
        mine = self.share(self.missing)
        self.done = len(self.share(self.sampled)) - len(mine)
        return self.one_batch(mine[: self.first])

    def val_dataloader(self) -> DataLoader[list[ReferencedPrompt]]:
        return self.one_batch(self.share(self.tests))

    def _references(self, run: Path) -> dict[str, RecordedRevision]:
        path = self.references or run / "revisions.jsonl"
        if not path.exists() and not jsonl.rank_files(path):
            raise UserError(f"{path}: the references are missing. Run predict first, or change data.references.")
        return {id: row for id, (_, row) in read_journal(path).items() if not row.sample}

    def _tested(self) -> list[Prompt]:
        parts = [part(prompt_text(prompt), self.shares) for prompt in self.rows]
        tested = [prompt for prompt, name in zip(self.rows, parts, strict=True) if name == "test"]
        if not tested:
            counts = ", ".join(f"{count} {name}" for name, count in Counter(parts).items())
            raise UserError(
                f"{self.prompts}: none of its {len(parts)} prompts is in the test part ({counts}); "
                "raise data.limit or data.shares."
            )
        return tested


def _words(row: RecordedRevision) -> str | None:
    return split_thoughts(row.revision).words or None


@dataclass(eq=False, repr=False)
class ResponseData(RowData):
    """Takes prompts and references from the run's own `responses.jsonl`, for validate with `engine: null`.

    Args:
        limit: Takes the first so many responses; null takes all.
    """

    NOT_FINGERPRINTED = frozenset({"limit"})

    limit: int | None = None

    def __post_init__(self) -> None:
        super().__init__()
        check_numbers(self, "limit")
        self.order: list[str] = []
        self.tests: list[ReferencedPrompt] = []

    def reference_digest(self, run: Path) -> str:
        """16 hex digits that stand for the references that came with the responses."""
        return manifest.digest({id: made.reference for id, made in _responses(run).items()})

    def setup(self, stage: str) -> None:
        responses = _responses(Path(self.trainer.default_root_dir))  # type: ignore[union-attr]
        self.order = list(responses)
        rows = list(responses.values())[: self.limit]
        self.tests = [ReferencedPrompt(Prompt(**about(row), category=row.category), row.reference) for row in rows]

    def val_dataloader(self) -> DataLoader[list[ReferencedPrompt]]:
        return self.one_batch(self.share(self.tests))


def _responses(run: Path) -> dict[str, Response]:
    return {str(id): response for id, response in read_records(run / "responses.jsonl", Response).items()}
