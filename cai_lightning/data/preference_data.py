"""Preferences as Lightning's data module: AI labels and human comparisons, of which pairs fit learns."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, cast, runtime_checkable

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cai_lightning.data.batches import GRAIN, Batches, Planned, Sizes, TrainingData, apart, fill, plan
from cai_lightning.data.characters import Ascii
from cai_lightning.data.cleaning import clean
from cai_lightning.data.corpus import CutReplies, is_open
from cai_lightning.data.defects import is_cut
from cai_lightning.data.labelled import Labelled, Preference, read_labelled
from cai_lightning.data.pairs import Comparison, EncodedPair, PairBatch, pack_pairs, pad_pairs
from cai_lightning.data.prompt_data import check_numbers
from cai_lightning.data.prompts import Part, Shares, normalised, opening_text, part, prompt_text
from cai_lightning.principles import wording
from cai_lightning.run import jsonl, manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import read_records
from cai_lightning.run.records import prompt_id, shared_id

LEARNED: tuple[Part, Part] = ("train", "validation")


@runtime_checkable
class LearnsPairs(Protocol):
    """A module that says how it reads a pair."""

    def encode(self, comparison: Comparison, max_length: int) -> EncodedPair:
        """The pair as tokens."""


@dataclass(frozen=True)
class Comparisons:
    """Responses that people have compared, see `data.labelled`: hh-rlhf, or `chosen` and `rejected` of other data sets.

    Args:
        source: A JSON Lines file (plain or .gz), or a Hugging Face dataset: `hf:NAME`, or a folder of it, such as
            `hf:Anthropic/hh-rlhf:helpful-base`.
        weight: Pairs for each pair with an AI label, in each part; 0.74 are the paper's 135,296 to 182,831. Null takes
            all of them.
        split: Split of a Hugging Face dataset.
        limit: Reads the first so many rows.
    """

    source: str
    weight: float | None = None
    split: str = "train"
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and self.weight <= 0:
            raise ValueError(f"data.comparisons: weight: a number above 0 expected, found {self.weight}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"data.comparisons: limit: must be ≥ 1, not {self.limit}")


@dataclass(eq=False, repr=False)
class PreferenceData(TrainingData):
    """Reads pairs of responses with how likely the first is better, cleans them, and makes batches of whole pairs.

    Args:
        preferences: AI labels: `run` takes the run's own `preferences.jsonl`, a path another one (plain or .gz). Null
            learns from `comparisons` alone.
        comparisons: Human comparisons to learn from beside them. Their label is 1.
        clamp: Least and largest label of AI feedback, such as `[0.4, 0.6]`, which the paper takes for labels behind a
            chain of thought. Null leaves them as they are. Human ones are never clamped.
        labels: `given` learns from the labels; the controls are `shuffled`, which deals them out among the pairs of a
            part and source, and `flipped`, which takes the worse response for the better one.
        ascii: How plain the characters of both responses are made, as in `RevisionData`; with `all` a pair is dropped
            that holds other letters than English even so.
        cut_replies: What becomes of AI-labelled responses that were cut at their limit of tokens: `open` learns their
            words, and not that they end there; `drop` leaves out pairs with one; `learn` takes them as finished. All
            are counted.
        batch_size: Pairs in a batch, on each device; an optimizer step takes trainer.accumulate_grad_batches of them.
        max_tokens: Most tokens in a batch, which is closed earlier then; null sets no bound.
        max_length: Tokens kept of a prompt with either of its responses; of longer ones the beginning of the prompt is
            cut, for both responses at one place.
        packing: Lays the pairs of a batch one behind the other, both responses behind one prompt, instead of padding
            them; false is for architectures whose attention cannot do that.
        shares: Shares of the prompts set aside for testing (never read here) and for validation.
        limit: Takes the AI labels of the first so many prompts.
        seed: Seed of the order of batches, and of what is drawn: human comparisons, which of their responses comes
            first, and shuffled labels.
    """

    NOT_FINGERPRINTED = frozenset({"preferences", "packing"})

    preferences: str | None = "run"
    comparisons: list[Comparisons] | None = None
    clamp: tuple[float, float] | None = None
    labels: Literal["given", "shuffled", "flipped"] = "given"
    ascii: Ascii = "typography"
    cut_replies: CutReplies = "open"
    batch_size: int = 8
    max_tokens: int | None = None
    max_length: int = 1024
    packing: bool = True
    shares: Shares = Shares()
    limit: int | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        super().__init__()
        check_numbers(self, "batch_size", "max_tokens", "max_length", "limit")
        if self.clamp is not None and not 0 <= self.clamp[0] < self.clamp[1] <= 1:
            raise ValueError(f"data.clamp: two rising numbers from 0 to 1 expected, found {list(self.clamp)}")
        if self.preferences is None and not self.comparisons:
            raise ValueError("data.preferences: null, and there are no data.comparisons to learn from instead")
        if self.preferences is None and any(one.weight is not None for one in self.comparisons or ()):
            raise ValueError("data.comparisons: weight counts pairs for each AI label, and data.preferences is null")
        self.pairs: dict[Part, list[EncodedPair]] = {}
        self.references: dict[Part, Tensor] = {}
        self._read_before: dict[Path, _Read] = {}

    def inputs(self, run: Path) -> dict[str, str]:
        """Digest of the cleaned pairs with their labels."""
        found = [one for part in LEARNED for one in self._read(run).parts[part]]
        return {"preferences": manifest.digest([(p.id, p.responses, p.label, p.finished) for p in found])}

    def warning(self, run: Path) -> str | None:
        """What there is to be said of labels that predict has not made all of."""
        path = self._path(run)
        return manifest.check_predicted(path, "preferences", "data.preferences") if path else None

    def setup(self, stage: str) -> None:
        trainer = cast(Trainer, self.trainer)
        module = trainer.lightning_module
        if not isinstance(module, LearnsPairs):
            raise UserError(f"model: {type(module).__name__} does not learn from pairs, which data.PreferenceData has.")
        self._tokenizer = cast(PreTrainedTokenizerBase, module.tokenizer)
        self._found = self._read(Path(trainer.default_root_dir))
        for name in LEARNED:
            self.pairs[name] = [module.encode(pair, self.max_length) for pair in self._found.parts[name]]
            self.references[name] = torch.full((len(self.pairs[name]), 2), torch.nan)

    def train_dataloader(self) -> Batches[Planned, PairBatch]:
        trainer = cast(Trainer, self.trainer)
        sizes = Sizes(self.batch_size, self.max_tokens, trainer.accumulate_grad_batches, trainer.world_size)

        def planned() -> list[Planned]:
            return plan(self.pairs["train"], sizes, self.seed, trainer.current_epoch)[trainer.global_rank]

        return self.resumable(self._batches("train", planned))

    def val_dataloader(self) -> Batches[Planned, PairBatch]:
        return self.once("validation")

    def once(self, name: Part) -> Batches[Planned, PairBatch]:
        """Every pair of a part once, by length; each process has as many batches as the others."""
        trainer = cast(Trainer, self.trainer)
        every = [Planned(rows, 0) for rows in self.rows_once(name)]
        every += [Planned((), 0)] * (-len(every) % trainer.world_size)
        return self._batches(name, lambda: every[trainer.global_rank :: trainer.world_size])

    def rows_once(self, name: Part) -> list[tuple[int, ...]]:
        """The pairs of each batch of all processes, those of a part by length."""
        sizes = [pair.size for pair in self.pairs[name]]
        by_length = sorted(range(len(sizes)), key=lambda row: -sizes[row])
        return fill(by_length, sizes, Sizes(self.batch_size, self.max_tokens))

    def _batches(self, name: Part, planned: Callable[[], list[Planned]]) -> Batches[Planned, PairBatch]:
        pairs = self.pairs[name]
        filler = min(pairs, key=lambda pair: pair.size)
        grain = GRAIN if cast(Trainer, self.trainer).strategy.root_device.type == "cuda" else 1

        def make(batch: Planned) -> PairBatch:
            rows, references = [pairs[row] for row in batch.rows], self.references[name][list(batch.rows)]
            if self.packing:
                return pack_pairs(rows, batch.step_tokens, references, filler, grain)
            return pad_pairs(rows, batch.step_tokens, references, filler, cast(int, self._tokenizer.pad_token_id))

        return Batches(planned, make)

    @property
    def most_tokens(self) -> int:
        """Tokens of the largest batch of the first epoch, with its padding where it has any."""
        pairs = self.pairs["train"]
        (batches,) = plan(pairs, Sizes(self.batch_size, self.max_tokens), self.seed, 0)
        if self.packing:
            return max(sum(pairs[row].size for row in batch.rows) for batch in batches)
        return max(2 * len(b.rows) * max(_longer(pairs[row]) for row in b.rows) for b in batches)

    def statement(self) -> str:
        """What is learned from, and everything that was changed, cut or left out."""
        counts, pairs = self._found.counts, [pair for name in LEARNED for pair in self.pairs[name]]
        whole = sum(one.size for pair in pairs for one in apart(pair.examples))
        lines = [
            f"pairs: {counts['read']} read; left out {counts['equal']} whose responses are equal, {counts['empty']} "
            f"with an empty one, {counts['other_letters']} with letters that are not English, {counts['unusable']} "
            f"that compare nothing, {counts['held_out']} of test prompts or that hold a prompt which is set aside",
            f"cut at their limit of tokens: {counts['cut']} responses{_CUT[self.cut_replies]}",
            *self._told_labels(),
            f"learning from {len(self.pairs['train'])}, validating on {len(self.pairs['validation'])}: "
            f"{sum(pair.size for pair in pairs):,} tokens ({whole:,} without sharing prompts), "
            f"{sum(pair.first.truncated or pair.second.truncated for pair in pairs)} cut at {self.max_length} tokens",
        ]
        return "\n".join(lines)

    def _told_labels(self) -> Iterator[str]:
        """How many labels there are of either kind, and how hard they pull where both responses look alike."""
        for kind, is_human in (("AI", False), ("human", True)):
            given = [abs(p.label - 0.5) for name in LEARNED for p in self._found.parts[name] if p.is_human == is_human]
            if given:
                yield (
                    f"{kind} labels: {len(given)}, which at first pull with {sum(given) / len(given):.2f} each "
                    f"({sum(given):,.0f} together; a sure one pulls with 0.5){_CONTROLS[self.labels]}"
                )

    def _path(self, run: Path) -> Path | None:
        if self.preferences is None:
            return None
        return run / "preferences.jsonl" if self.preferences == "run" else Path(self.preferences)

    def _read(self, run: Path) -> "_Read":
        """All pairs of the run, which are asked for several times and read once."""
        if run not in self._read_before:
            read = _Read({"train": [], "validation": [], "test": []}, Counter())
            aside = self._read_ai(self._path(run), read)
            self._read_human(read, aside)
            for name in LEARNED:
                read.parts[name] = _controlled(read.parts[name], self.labels, f"{self.seed}:{name}")
                if not read.parts[name]:
                    dropped = ", ".join(f"{count} {why}" for why, count in read.counts.items())
                    raise UserError(
                        f"data: no pair is in the {name} part ({dropped}); take more, or change data.shares."
                    )
            self._read_before[run] = read
        return self._read_before[run]

    def _read_ai(self, path: Path | None, read: "_Read") -> dict[Part, frozenset[str]]:
        """Adds the pairs with AI labels, and tells for each part the prompts that it must not show."""
        rows = _preferences(path) if path else []
        chosen = set(list(dict.fromkeys(map(shared_id, rows)))[: self.limit])
        least, most = self.clamp or (0.0, 1.0)
        for row in rows:
            if shared_id(row) in chosen:
                said = row.first, row.second
                cut = [is_cut(text, reason) for text, reason in zip(said, row.finish_reasons, strict=True)]
                pair = Comparison(row.id, wording.opening(row), said, min(max(row.probability, least), most))
                self._add(pair, cut, part(prompt_text(row), self.shares), read)
        by_part = {normalised(text): part(text, self.shares) for text in map(prompt_text, rows)}
        test = frozenset(text for text, name in by_part.items() if name == "test")
        return {"train": frozenset(t for t, name in by_part.items() if name != "train"), "validation": test}

    def _read_human(self, read: "_Read", aside: dict[Part, frozenset[str]]) -> None:
        """Adds human comparisons to train and validation, as many as their weights say."""
        labelled = {name: len(read.parts[name]) for name in LEARNED}
        for source in self.comparisons or ():
            found: dict[Part, list[Comparison]] = {"train": [], "validation": [], "test": []}
            taken = _Read(found, read.counts)
            for comparison in self._human_pairs(source, read.counts):
                fits = [name for name in LEARNED if is_open(comparison.opening, aside[name], self.shares, name)]
                read.counts["held_out"] += not fits
                for name in fits:
                    self._add(comparison, (False, False), name, taken)
            for name in LEARNED:
                count = len(found[name])
                if source.weight is not None:
                    count = min(count, max(1, round(source.weight * labelled[name])))
                read.parts[name] += random.Random(f"{self.seed}:{source.source}:{name}").sample(found[name], count)

    def _human_pairs(self, source: Comparisons, counts: Counter[str]) -> Iterator[Comparison]:
        """The pairs of a source; which response comes first is drawn, for those who learn could else learn that."""
        labelled = _compared(source)
        counts["unusable"] += labelled.left_out.total()
        for number, pair in enumerate(labelled.pairs):
            id = f"{prompt_id(opening_text(pair.conversation))}.h{number}"
            better_first = random.Random(f"{self.seed}:{id}").random() < 0.5
            said = (pair.chosen, pair.rejected) if better_first else (pair.rejected, pair.chosen)
            yield Comparison(id, pair.conversation, said, float(better_first), is_human=True)

    def _add(self, comparison: Comparison, cut: Sequence[bool], name: Part, read: "_Read") -> None:
        """Cleans both responses alike and adds the pair to a part, or counts why not."""
        read.counts["read"] += 1
        if name == "test":
            read.counts["held_out"] += 1
            return
        first, second = (clean(said, self.ascii) for said in comparison.responses)
        changes = {*first.changes, *second.changes}
        if first.is_dropped or second.is_dropped:
            read.counts["other_letters" if "other_letters" in changes else "empty"] += 1
        elif first.text.strip() == second.text.strip():
            read.counts["equal"] += 1
        else:
            ended = [not is_cut or made.has_words_behind for is_cut, made in zip(cut, (first, second), strict=True)]
            read.counts["cut"] += 2 - sum(ended)
            if all(ended) or self.cut_replies != "drop":
                finished = (True, True) if self.cut_replies == "learn" else (ended[0], ended[1])
                read.parts[name].append(replace(comparison, responses=(first.text, second.text), finished=finished))


_CUT: dict[CutReplies, str] = {
    "open": ", whose end is not learned",
    "drop": ", whose pairs are left out",
    "learn": ", learned as if they were finished",
}
_CONTROLS = {"given": "", "shuffled": "; shuffled among the pairs", "flipped": "; flipped: the worse one is learned"}


@dataclass(frozen=True)
class _Read:
    """The comparisons of each part, and counts of what was left out."""

    parts: dict[Part, list[Comparison]]
    counts: Counter[str]


def _preferences(path: Path) -> list[Preference]:
    if not path.exists() and not jsonl.rank_files(path):
        raise UserError(f"{path}: no preferences there. Run predict first, or name others: data.preferences.")
    return list(read_records(path, Preference).values())


def _compared(source: Comparisons) -> Labelled:
    labelled = read_labelled(source.source, source.limit, source.split)
    if not labelled.pairs:
        raise UserError(f"{source.source}: single responses, where two are to be compared.")
    return labelled


def _controlled(pairs: list[Comparison], labels: str, seed: str) -> list[Comparison]:
    """The pairs with their labels as they are, flipped, or dealt out anew among those of one kind."""
    if labels == "flipped":
        return [replace(pair, label=1 - pair.label) for pair in pairs]
    if labels == "given":
        return pairs
    for is_human in (False, True):
        own = [row for row, pair in enumerate(pairs) if pair.is_human == is_human]
        dealt = random.Random(f"{seed}:{is_human}").sample(own, len(own))
        new = [pairs[row].label for row in dealt]
        pairs = list(pairs)
        for row, label in zip(own, new, strict=True):
            pairs[row] = replace(pairs[row], label=label)
    return pairs


def _longer(pair: EncodedPair) -> int:
    return max(one.size for one in apart(pair.examples))
