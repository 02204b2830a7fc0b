"""The cleaned revisions as Lightning's data module: what fit trains and validates on."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from lightning.pytorch import Trainer
from transformers import PreTrainedTokenizerBase

from cai_lightning.data.batches import (
    GRAIN,
    IGNORED,
    Batch,
    Batches,
    Example,
    Planned,
    Sizes,
    TrainingData,
    encode,
    fill,
    pack,
    pad,
    plan,
)
from cai_lightning.data.characters import Ascii
from cai_lightning.data.corpus import Corpus, CutReplies, Mixture, Target, Wanted, mix, read_corpus
from cai_lightning.data.defects import LOOPING, repeated_ngrams
from cai_lightning.data.prompt_data import check_numbers
from cai_lightning.data.prompts import Part, Shares, read_prompts
from cai_lightning.run import manifest

_CUT_REPLIES: dict[CutReplies, str] = {
    "open": "whose end is not learned",
    "drop": "which are left out",
    "learn": "learned as if they were finished",
}


@dataclass(eq=False, repr=False)
class RevisionData(TrainingData):
    """Cleans a run's revisions, adds other conversations to them where asked, and makes batches of their tokens.

    Args:
        corpus: A run's `revisions.jsonl`, or a file like it (plain or .gz), perhaps put together from several runs:
            rows with the same id are then different answers to one prompt. Null takes the run's own.
        target: Learns from the last `revision`, from those of all `rounds` (as the paper does), or from the `initial`
            response (the control of the experiment).
        ascii: How plain the characters of the responses are made outside of code. `typography` mends curly quotes,
            dashes, ellipses, odd spaces and invisible characters, and takes the accents off words of an English text;
            other scripts, languages and symbols stay. `all` takes off every accent and drops a response that has other
            letters than English even so; nothing is transliterated. `off` changes nothing. All are counted.
        cut_replies: What is learned from replies that were cut at their limit of tokens, told by their finish reason
            or, where none was recorded, by their text: `open` learns their words, and not that they end there; `drop`
            leaves them out; `learn` takes them as finished.
        max_repetition: Leaves out responses in which a larger share of the runs of four words (4-grams) has stood
            before, such as 0.3, above which a response loops; null takes all. Both are counted.
        mixture: Conversations to learn from beside the revisions, such as helpfulness data in the paper.
        batch_size: Conversations in a batch, on each device; an optimizer step takes
            trainer.accumulate_grad_batches of them.
        max_tokens: Most tokens in a batch, which is closed earlier then; null sets no bound.
        max_length: Tokens of a conversation that are kept; of longer ones the beginning of the prompt is cut, down to
            half of this, then the end of the response. Both are counted.
        packing: Lays the conversations of a batch one behind the other instead of padding them, each attending to
            itself alone; false is for architectures whose attention cannot do that.
        shares: Shares of the prompts set aside for testing (never read here) and for validation.
        prompts: Source of prompts; rows of other prompts are left out. Null takes every row.
        column: Field of that source that holds the prompt.
        split: Split of it, where it is a Hugging Face dataset.
        limit: Takes the first so many prompts of the source, or of the corpus where none is given, with all answers to
            them.
        seed: Seed of the order of batches.
    """

    NOT_FINGERPRINTED = frozenset({"corpus", "prompts", "column", "split", "packing"})

    corpus: Path | None = None
    target: Target = "revision"
    ascii: Ascii = "typography"
    cut_replies: CutReplies = "open"
    max_repetition: float | None = None
    mixture: list[Mixture] | None = None
    batch_size: int = 8
    max_tokens: int | None = None
    max_length: int = 2048
    packing: bool = True
    shares: Shares = Shares()
    prompts: str | None = None
    column: str = "prompt"
    split: str = "train"
    limit: int | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        super().__init__()
        check_numbers(self, "batch_size", "max_tokens", "max_length", "limit")
        if self.max_repetition is not None and not 0 <= self.max_repetition <= 1:
            raise ValueError(f"data.max_repetition: must be a share from 0 to 1, not {self.max_repetition}")
        self.examples: dict[Part, list[Example]] = {}
        self._corpora: dict[Path, Corpus] = {}

    def inputs(self, run: Path) -> dict[str, str]:
        """Digest of the cleaned corpus."""
        corpus = self._read(run)
        samples = [(s.id, s.response, s.finished) for part in corpus.parts.values() for s in part]
        return {"corpus": manifest.digest(samples)}

    def warning(self, run: Path) -> str | None:
        """What there is to be said of revisions that predict has not made all of."""
        return manifest.check_predicted(self.corpus or run / "revisions.jsonl", "revisions", "data.corpus")

    def counts(self, run: Path) -> Counter[str]:
        """What was changed and left out of the corpus, see `Corpus`."""
        return self._read(run).counts

    def setup(self, stage: str) -> None:
        trainer = cast(Trainer, self.trainer)
        self._tokenizer = cast(PreTrainedTokenizerBase, trainer.lightning_module.tokenizer)
        self._corpus = self._read(Path(trainer.default_root_dir))
        for part in ("train", "validation"):
            samples = self._corpus.parts[part]
            self.examples[part] = [encode(self._tokenizer, sample, self.max_length) for sample in samples]

    def train_dataloader(self) -> Batches[Planned, Batch]:
        trainer = cast(Trainer, self.trainer)
        sizes = Sizes(self.batch_size, self.max_tokens, trainer.accumulate_grad_batches, trainer.world_size)

        def planned() -> list[Planned]:
            return plan(self.examples["train"], sizes, self.seed, trainer.current_epoch)[trainer.global_rank]

        return self.resumable(self._batches("train", planned))

    def val_dataloader(self) -> Batches[Planned, Batch]:
        """Every row once, by length."""
        lengths = [len(example.input_ids) for example in self.examples["validation"]]
        by_length = sorted(range(len(lengths)), key=lambda row: -lengths[row])
        trainer = cast(Trainer, self.trainer)
        every = [Planned(rows, 0) for rows in fill(by_length, lengths, Sizes(self.batch_size, self.max_tokens))]
        every += [Planned((), 0)] * (-len(every) % trainer.world_size)
        return self._batches("validation", lambda: every[trainer.global_rank :: trainer.world_size])

    def _read(self, run: Path) -> Corpus:
        """The run's corpus, which is asked for several times and read once."""
        path = self.corpus or run / "revisions.jsonl"
        if path not in self._corpora:
            prompts = read_prompts(self.prompts, self.column, self.split) if self.prompts else None
            wanted = Wanted(self.target, self.ascii, self.cut_replies, self.max_repetition)
            corpus = read_corpus(path, wanted, self.shares, prompts, self.limit, own=self.corpus is None)
            self._corpora[path] = mix(corpus, self.mixture or (), self.shares, self.seed)
        return self._corpora[path]

    def _batches(self, part: Part, planned: Callable[[], list[Planned]]) -> Batches[Planned, Batch]:
        examples = self.examples[part]
        shortest = min(examples, key=lambda example: len(example.input_ids))
        idle = replace(shortest, labels=[IGNORED] * len(shortest.labels))
        grain = GRAIN if cast(Trainer, self.trainer).strategy.root_device.type == "cuda" else 1

        def make(batch: Planned) -> Batch:
            rows = [examples[row] for row in batch.rows] or [idle]
            if self.packing:
                return pack(rows, batch.step_tokens, grain)
            return pad(rows, batch.step_tokens, cast(int, self._tokenizer.pad_token_id))

        return Batches(planned, make)

    @property
    def most_tokens(self) -> int:
        """Tokens of the largest batch of the first epoch, with its padding where it has any."""
        (batches,) = plan(self.examples["train"], Sizes(self.batch_size, self.max_tokens), self.seed, 0)
        lengths = [[len(self.examples["train"][row].input_ids) for row in batch.rows] for batch in batches]
        return max(sum(rows) if self.packing else len(rows) * max(rows) for rows in lengths)

    def statement(self) -> str:
        """What is learned from, and everything that was changed, cut or left out."""
        counts = self._corpus.counts
        rows = [example for part in self.examples.values() for example in part]
        thoughts = (
            f"thoughts: taken out of {counts['thoughts']} responses; {counts['unfinished_thought']} of these were "
            "nothing but an unfinished thought, and are dropped"
        )
        mixture = (
            f"mixture: {counts['mixed']} conversations of {counts['chats']} drawn, "
            f"{counts['held_out']} left out because they hold a test or validation prompt"
        )
        lines = [
            f"rows: {counts['rows']} taken, {counts['further']} of them further answers to a prompt; left out "
            f"{counts['repeated']} that repeat another exactly and {counts['other_prompt']} of prompts not chosen",
            thoughts if counts["thoughts"] else "",
            f"corpus: {counts['rows']} rows with {counts['read']} responses read, "
            f"{counts['meta_commentary']} stripped of meta-commentary, {counts['empty']} dropped as empty, "
            f"{len(self._corpus.parts['test'])} of the test part left out",
            mixture if self.mixture else "",
            f"characters: {counts['typography']} responses with marks made plain, {counts['accents']} with accents "
            f"taken off, {counts['other_letters']} dropped for letters that are not English, "
            f"{counts['not_ascii'] - counts['other_letters']} with other characters kept",
            f"cut at their limit of tokens: {counts['cut']} of {counts['read']} ({counts['look_cut']} told by their "
            f"text alone), {_CUT_REPLIES[self.cut_replies]}",
            self._repetition(),
            f"learning from {len(self.examples['train'])}, validating on {len(self.examples['validation'])}: "
            f"{sum(example.supervised for example in rows):,} supervised of "
            f"{sum(len(example.input_ids) for example in rows):,} tokens, "
            f"{sum(example.truncated for example in rows)} cut at {self.max_length} tokens",
        ]
        return "\n".join(filter(None, lines))

    def _repetition(self) -> str:
        """How much of what is learned says again what it has said before."""
        learned = [sample for part in self.examples for sample in self._corpus.parts[part]]
        found = [repeated_ngrams(sample.response) for sample in learned]
        looping = sum(share > LOOPING for share in found)
        most, count = self.max_repetition, self._corpus.counts["repetitive"]
        dropped = "" if most is None else f"; {count} dropped for more than {100 * most:g} %"
        return (
            f"repetition: {100 * sum(found) / len(found):.1f} % of a response's 4-grams have stood before in it on "
            f"average, over {100 * LOOPING:g} % in {looping} of {len(found)} responses{dropped}"
        )
