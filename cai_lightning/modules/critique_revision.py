"""Constitutional AI's first stage: an initial response, then rounds of critique and revision (Bai et al. 2022, 3.1)."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from lightning.pytorch import LightningModule

from cai_lightning.callbacks.dry_run import Price
from cai_lightning.callbacks.recording import Sink, journals
from cai_lightning.engines import Engine, Reply
from cai_lightning.engines.base import reply_in_words
from cai_lightning.principles import wording
from cai_lightning.principles.constitution import Constitution, open_constitution
from cai_lightning.principles.few_shots import FewShots, open_few_shots
from cai_lightning.principles.selection import PrincipleSelector
from cai_lightning.run.errors import ReplyError
from cai_lightning.run.jsonl import read_records
from cai_lightning.run.manifest import Outputs
from cai_lightning.run.records import Conversation, Failure, Prompt, Revision, Round, about, timestamp
from cai_lightning.services.concurrency import for_each


@dataclass(eq=False, repr=False)
class CritiqueRevision(LightningModule):
    """Makes the revisions that fine-tuning learns from.

    The initial response is the model's own: few-shot examples stand in front of critiques and revisions alone, as in
    the paper (section 3.1), and change no response that they shall mend. All critiques share them as a prefix, and from
    the first critique on every turn extends the conversation before it, so that prefix caches hit.

    Args:
        engine: What serves the model.
        selector: How the principle of each round is chosen.
        constitution: `default` (this package's own), `anthropic` (the paper's 16 principles, fetched on first use), a
            JSON file in either's format or Hugging Face's, or a folder that holds Anthropic's file.
        few_shots: Examples in front of the dialogue, which keep critique and revision apart: `none`, `default` (this
            package's own), `anthropic` (the paper's, fetched on first use), a JSON file in either's format, or a folder
            that holds Anthropic's file.
        revisions: Rounds of critique and revision for each prompt; the paper takes 4.
        critique: Whether a critique comes before each revision; false revises directly (the paper's figure 7), and the
            examples then show no critique either.
        suffix: Sentence put behind every request for a revision.
        tries: Draws of a reply until one has words; a row whose replies stay empty, or unfinished thoughts, fails, and
            the next run goes on behind these draws. At temperature 0 there is one, for all would be the same.
        seed: Seed of the choice of principles and of sampling; a row depends on it and the prompt alone.
        price: What `--dry-run` reckons with; null leaves money out.
    """

    records = (Revision, Failure)
    outputs = Outputs("predict", journals(Revision), beside=journals(Failure))
    NOT_FINGERPRINTED = frozenset({"constitution", "few_shots", "tries", "price"})

    engine: Engine
    selector: PrincipleSelector
    constitution: str = "default"
    few_shots: str = "none"
    revisions: int = 1
    critique: bool = True
    suffix: str = wording.NO_META_COMMENTARY
    tries: int = 3
    seed: int = 42
    price: Price | None = None

    def __post_init__(self) -> None:
        super().__init__()
        for name in ("revisions", "tries"):
            if getattr(self, name) < 1:
                raise ValueError(f"CritiqueRevision: {name} >= 1 expected, found {getattr(self, name)}")
        self.sink = Sink()
        self._silent: defaultdict[str, Counter[str]] = defaultdict(Counter)

    @cached_property
    def principles(self) -> Constitution:
        """The constitution itself, read on first use."""
        return open_constitution(self.constitution)

    @cached_property
    def examples(self) -> FewShots:
        """The few-shot examples themselves, read on first use."""
        return open_few_shots(self.few_shots)

    def inputs(self, run: Path) -> dict[str, str]:
        """Digests of what this module reads."""
        return {"constitution": self.principles.digest, "few-shots": self.examples.digest}

    def setup(self, stage: str) -> None:
        self.sink = Sink.of(self.trainer)

    def prepare(self, prompts: Sequence[Prompt], total: int) -> None:
        """Loads the engine and readies the selector for this process's prompts, out of `total` with those done."""
        self.selector.prepare(self.principles.principles, prompts, self.seed)
        self.engine.start(self.device)
        self.sink.stage("revisions", total, total - len(prompts))

    def predict_step(self, prompts: Sequence[Prompt], batch_idx: int) -> None:
        """Revises every prompt of this process, a window of them at a time."""
        if not prompts:
            return
        failed = read_records(Path(self.trainer.default_root_dir) / "failed.jsonl", Failure)
        self._silent.update({failure.id: Counter(failure.silent_draws) for failure in failed.values()})
        self.prepare(prompts, len(prompts) + self.trainer.datamodule.done)  # type: ignore[attr-defined]
        try:
            asyncio.run(for_each(self._finish, prompts, self.engine.concurrency, self._set_aside))
        finally:
            self.engine.stop()

    async def revise(self, prompt: Prompt) -> Revision:
        """The whole conversation about one prompt."""
        opening = wording.opening(prompt)
        replies, rounds = [await self._ask(prompt, opening, "response", "response")], list[Round]()
        talk = self.examples.turns(self.suffix, self.critique) + wording.answered(opening, replies[0].text)
        for index in range(self.revisions):
            chosen = self.selector.select(prompt, index)
            critique: str | None = None
            if self.critique:
                talk = wording.critique(talk, chosen.principle)
                replies.append(await self._ask(prompt, talk, f"critique {index + 1}", f"critique{index}"))
                critique = replies[-1].text
                talk = wording.answered(talk, critique)
            talk = wording.revision(talk, chosen.principle, self.suffix)
            replies.append(await self._ask(prompt, talk, f"revision {index + 1}", f"revision{index}"))
            request, talk = talk[-1]["content"], wording.answered(talk, replies[-1].text)
            rounds.append(
                Round(
                    principle_id=chosen.principle.id,
                    similarity=chosen.similarity,
                    principle_used=chosen.principle.critique_request,
                    revision_request=request,
                    critique=critique,
                    revision=replies[-1].text,
                )
            )
        return self._record(prompt, rounds, replies)

    async def _finish(self, prompt: Prompt) -> None:
        self.sink.record(await self.revise(prompt))
        self.sink.row()

    def _set_aside(self, prompt: Prompt, error: ReplyError) -> None:
        failure = Failure(
            **about(prompt),
            stage=error.stage,
            reason=str(error),
            created=timestamp(),
            silent_draws=dict(+self._silent[prompt.id]) or None,
        )
        self.sink.record(failure)
        self.sink.row(failed=True)

    async def _ask(self, prompt: Prompt, conversation: Conversation, stage: str, name: str) -> Reply:
        seed, silent = f"{self.seed}:{prompt.id}:{name}", self._silent[prompt.id]
        return await reply_in_words(self.engine, conversation, seed, silent, stage, self.tries, self.sink.reply)

    def _record(self, prompt: Prompt, rounds: list[Round], replies: list[Reply]) -> Revision:
        constitution, examples = self.principles, self.examples
        thoughts = [reply.thought for reply in replies]
        return Revision(
            **about(prompt),
            initial_response=replies[0].text,
            rounds=rounds,
            revision=rounds[-1].revision,
            finish_reasons=[reply.finish_reason for reply in replies],
            model=self.engine.model,
            engine=type(self.engine).__name__,
            sampling=asdict(self.engine.sampling),
            seed=self.seed,
            constitution={"name": constitution.name, "digest": constitution.digest},
            few_shots={"name": examples.name, "digest": examples.digest} if examples.examples else None,
            created=timestamp(),
            thoughts=thoughts if any(thoughts) else None,
        )
