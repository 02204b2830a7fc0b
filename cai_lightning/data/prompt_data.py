"""Prompts as Lightning's data modules: those that predict revises and validate tests, and those a policy learns on;
and the responses that a run holds.

A process's whole share of the rows is one batch: which of them are computed together is the engine's business.
"""

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar, cast, runtime_checkable

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from cai_lightning.data.batches import Batch, Batches, TrainingData
from cai_lightning.data.corpus import RecordedRevision, read_journal
from cai_lightning.data.prompts import Shares, part, prompt_text, read_prompts
from cai_lightning.models.template import render, tokens
from cai_lightning.principles import wording
from cai_lightning.run import jsonl, manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import read_records
from cai_lightning.run.records import Prompt, Response, about, samples_of, shared_id
from cai_lightning.run.text import split_thoughts

T = TypeVar("T")

VALIDATED_TOGETHER = 16
"""Answers that are looked at together on each process where a policy in training is validated."""


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
        self.unmade: list[str] = []
        self.first: int | None = None
        self.ask_for("revisions.jsonl", lambda prompt: [prompt])

    def ask_for(self, file: str, rows_of: Callable[[str], list[str]]) -> None:
        """Says what predict makes of each prompt.

        Args:
            file: The run's file of its rows.
            rows_of: The ids of the rows of a prompt, by the prompt's.
        """
        self._file, self._rows_of, self.rows_each = file, rows_of, len(rows_of(""))

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
        """The ids of all rows that the source comes to, in its order, further samples included."""
        samples = (sample for prompt in self.source for sample in samples_of(prompt, self.samples))
        return [id for sample in samples for id in self._rows_of(sample.id)]

    @property
    def wanted(self) -> list[str]:
        """The ids of the rows that predict makes in this run."""
        return [id for prompt in self.sampled for id in self._rows_of(prompt.id)]

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
            made, failed = jsonl.read(run / self._file), jsonl.read(run / "failed.jsonl")
            self.unmade = [id for id in self.wanted if id not in made]
            lacking = {prompt.id: set(self._rows_of(prompt.id)) - made.keys() for prompt in self.sampled}
            missing = [prompt for prompt in self.sampled if lacking[prompt.id]]
            self.missing = sorted(missing, key=lambda prompt: not lacking[prompt.id].isdisjoint(failed))  # failed last
        else:
            rows = self._references(run)
            by_prompt = {shared_id(row): row for row in reversed(rows.values())}
            found = [(prompt, rows.get(prompt.id) or by_prompt.get(shared_id(prompt))) for prompt in self._tested()]
            self.tests = [ReferencedPrompt(prompt, _words(row) if row else None) for prompt, row in found]

    def predict_dataloader(self) -> DataLoader[list[Prompt]]:
        """What this process shall make; of it the first so many where a dry run has set `first`."""
        mine = self.share(self.missing)
        self.done = len(self.share(self.wanted)) - len(self.share(self.unmade))
        return self.one_batch(mine[: self.first])

    def val_dataloader(self) -> DataLoader[list[ReferencedPrompt]]:
        return self.one_batch(self.share(self.tests))

    def _references(self, run: Path) -> dict[str, RecordedRevision]:
        path = self.references or run / "revisions.jsonl"
        if not path.exists() and not jsonl.rank_files(path):
            raise UserError(
                f"{path}: the references are missing. Run predict of that run first, or change data.references."
            )
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


@dataclass(frozen=True)
class Asked:
    """What a batch is made of in a training that lets its policy answer: the prompts of a whole step.

    Args:
        prompts: Of all processes.
        part: Which of its batches this is, from 0, on each process.
        parts: How many it has.
        learned: Whether the policy learns from its answers; else it is validated.
    """

    prompts: tuple[Prompt, ...]
    part: int
    parts: int
    learned: bool


@runtime_checkable
class Answering(Protocol):
    """What is to be known of a module that answers prompts in its training."""

    tokenizer: PreTrainedTokenizerBase
    answers: int
    """Answers to each prompt."""
    longest: int
    """Tokens of an answer at most."""

    def answered(self, asked: Asked) -> Batch:
        """The prompts' answers as tokens."""


@dataclass(eq=False, repr=False)
class TrainingPrompts(TrainingData):
    """Reads the prompts that a policy answers in its training, to learn from what its answers are worth.

    Args:
        prompts: A JSON Lines file with a field `prompt`, a file of hh-rlhf transcripts (plain or .gz), a folder with
            Anthropic's evaluation files, `anthropic` (the 979 prompts of the original experiment, fetched on first
            use) or `hf:NAME` (a Hugging Face dataset).
        column: Field that holds the prompt.
        split: Split of a Hugging Face dataset.
        limit: Takes the first so many prompts of the source; null takes all.
        shares: Shares of the prompts set aside for testing (never asked here) and for validation.
        validated: Takes the first so many prompts of the validation part; null takes all.
        batch_size: Prompts of an optimizer step, over all devices; each is answered several times. The step is
            computed in trainer.accumulate_grad_batches batches of about as many tokens.
        max_length: A prompt of more tokens is left out.
        packing: Lays the answers of a batch one behind the other, and those to one prompt behind a single copy of it;
            false is for architectures whose attention cannot do that.
        seed: Seed of the order of the prompts.
    """

    NOT_FINGERPRINTED = frozenset({"prompts", "column", "split", "limit", "packing"})

    prompts: str
    column: str = "prompt"
    split: str = "train"
    limit: int | None = None
    shares: Shares = Shares()
    validated: int | None = None
    batch_size: int = 8
    max_length: int = 1024
    packing: bool = True
    seed: int = 42

    def __post_init__(self) -> None:
        super().__init__()
        check_numbers(self, "limit", "validated", "batch_size", "max_length")
        self.order: list[str] = []

    @cached_property
    def rows(self) -> list[Prompt]:
        """The prompts of this run."""
        return read_prompts(self.prompts, self.column, self.split)[: self.limit]

    def inputs(self, run: Path) -> dict[str, str]:
        """Digest of the prompts."""
        return {"prompts": manifest.digest([prompt.id for prompt in self.rows])}

    def setup(self, stage: str) -> None:
        found: dict[str, list[Prompt]] = {"train": [], "validation": [], "test": []}
        for prompt in self.rows:
            found[part(prompt_text(prompt), self.shares)].append(prompt)
        module = cast(Trainer, self.trainer).lightning_module
        if not isinstance(module, Answering):
            raise UserError(f"model: {type(module).__name__} does not answer prompts, which data.TrainingPrompts has.")
        tokenizer = module.tokenizer
        asked = [*found["train"], *found["validation"]]
        lengths = {
            one.id: len(tokens(tokenizer, render(tokenizer, wording.opening(one), prompt=True))) for one in asked
        }
        short = {id for id, length in lengths.items() if length <= self.max_length}
        kept = [[prompt for prompt in found[name] if prompt.id in short] for name in ("train", "validation")]
        self.learned, self.tested = kept[0], kept[1][: self.validated]
        if not self.learned or not self.tested:
            raise UserError(
                f"{self.prompts}: of its {len(self.rows)} prompts {len(self.learned)} are there to learn on and "
                f"{len(self.tested)} to validate on; raise data.limit, data.max_length or data.shares."
            )
        if len(self.tested) < cast(Trainer, self.trainer).world_size:
            raise UserError("data.validated: every process needs a prompt to validate on; take more, or fewer devices.")
        self._left_out, self._longest = len(asked) - len(short), max(lengths[id] for id in short)

    def train_dataloader(self) -> Batches[Asked, Batch]:
        trainer = cast(Trainer, self.trainer)
        parts = trainer.accumulate_grad_batches

        def planned() -> list[Asked]:
            draw = random.Random(f"{self.seed}:{trainer.current_epoch}")
            order = draw.sample(self.learned, len(self.learned))
            steps = [tuple(order[start : start + self.batch_size]) for start in range(0, len(order), self.batch_size)]
            return [Asked(step, number, parts, learned=True) for step in steps for number in range(parts)]

        return self.resumable(Batches(planned, self._answered))

    def val_dataloader(self) -> Batches[Asked, Batch]:
        """All prompts are answered together, and then looked at in as many batches as take little memory."""
        parts = math.ceil(len(self.tested) / (VALIDATED_TOGETHER * cast(Trainer, self.trainer).world_size))
        batches = [Asked(tuple(self.tested), number, parts, learned=False) for number in range(parts)]
        return Batches(lambda: batches, self._answered)

    def _answered(self, asked: Asked) -> Batch:
        """When the trainer asks for a batch, and not before: Lightning fetches none ahead of loaders that tell their
        length."""
        return cast(Answering, cast(Trainer, self.trainer).lightning_module).answered(asked)

    @property
    def most_tokens(self) -> int:
        """Tokens of the largest batch that there can be."""
        trainer = cast(Trainer, self.trainer)
        module = cast(Answering, trainer.lightning_module)
        batches = trainer.accumulate_grad_batches * trainer.world_size
        written = math.ceil(self.batch_size * module.answers / batches) * module.longest
        return written + math.ceil(self.batch_size / batches) * self._longest

    def statement(self) -> str:
        """How many prompts there are, and how many were left out."""
        return (
            f"prompts: {len(self.learned)} to learn on, {self.batch_size} a step, and {len(self.tested)} to validate "
            f"on; {self._left_out} left out, of more than {self.max_length:,} tokens"
        )


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
