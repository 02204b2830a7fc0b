"""Constitutional AI's first stage: an initial response, then rounds of critique and revision (Bai et al. 2022, 3.1)."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from cai_lightning import chat
from cai_lightning.callbacks.base import listeners
from cai_lightning.concurrency import for_each
from cai_lightning.constitution import Constitution
from cai_lightning.data.constitutions import open_constitution
from cai_lightning.engines import Engine, Reply
from cai_lightning.records import Conversation, Prompt, Revision, Round
from cai_lightning.selection import PrincipleSelector


class CritiqueRevision(LightningModule):
    """Makes the revisions that fine-tuning learns from.

    Args:
        engine: What serves the model.
        selector: How the principle of each round is chosen.
        constitution: `default` (this package's own), `anthropic` (the paper's 16 principles, fetched on first use), a
            JSON file in either's format or Hugging Face's, or a folder that holds Anthropic's file.
        revisions: Rounds of critique and revision for each prompt; the paper takes 4.
        suffix: Sentence put behind every request for a revision.
        seed: Seed of the choice of principles and of sampling; a row depends on it and the prompt alone.
    """

    INCIDENTAL = frozenset({"constitution"})

    def __init__(
        self,
        engine: Engine,
        selector: PrincipleSelector,
        constitution: str = "default",
        revisions: int = 1,
        suffix: str = chat.NO_META_COMMENTARY,
        seed: int = 42,
    ) -> None:
        super().__init__()
        if revisions < 1:
            raise ValueError(f"CritiqueRevision: revisions >= 1 expected, found {revisions}")
        self.engine = engine
        self.selector = selector
        self.constitution = constitution
        self.revisions = revisions
        self.suffix = suffix
        self.seed = seed
        self._principles: Constitution | None = None

    @property
    def principles(self) -> Constitution:
        """The constitution itself, read on first use."""
        if self._principles is None:
            self._principles = open_constitution(self.constitution)
        return self._principles

    def inputs(self, run: Path) -> dict[str, str]:
        """Digests of what this module reads."""
        return {"constitution": self.principles.digest}

    def prepare(self, prompts: Sequence[Prompt], total: int) -> None:
        """Loads the engine and readies the selector for this process's prompts, out of `total` with those done."""
        self.selector.prepare(self.principles.principles, prompts, self.seed)
        self.engine.start(self.device)
        for listener in listeners(self._trainer):
            listener.on_stage("revisions", total, total - len(prompts))

    def predict_step(self, dataloader_iter: Iterator[Any]) -> None:
        """Revises every prompt of this process, a window of them at a time."""
        prompts = [prompt for batch, *_ in dataloader_iter for prompt in batch]
        self.prepare(prompts, len(prompts) + self.trainer.datamodule.done)  # type: ignore[attr-defined]
        asyncio.run(for_each(self._finish, prompts, self.engine.concurrency))

    def on_predict_end(self) -> None:
        self.engine.stop()

    async def revise(self, prompt: Prompt) -> Revision:
        """The whole conversation about one prompt."""
        reply = await self._ask(opening := chat.opening(prompt), f"{prompt.id}:response")
        talk = chat.answered(opening, reply.text)
        initial, rounds = reply.text, list[Round]()
        reasons: list[str] = [reply.finish_reason]
        for turn in range(self.revisions):
            chosen = self.selector.select(prompt, turn)
            talk = chat.critique(talk, chosen.principle)
            critique = await self._ask(talk, f"{prompt.id}:critique{turn}")
            talk = chat.revision(chat.answered(talk, critique.text), chosen.principle, self.suffix)
            reply = await self._ask(talk, f"{prompt.id}:revision{turn}")
            request = talk[-1]["content"]
            talk = chat.answered(talk, reply.text)
            reasons += [critique.finish_reason, reply.finish_reason]
            rounds.append(
                Round(
                    principle_id=chosen.principle.id,
                    similarity=chosen.similarity,
                    principle_used=chosen.principle.critique_request,
                    revision_request=request,
                    critique=critique.text,
                    revision=reply.text,
                )
            )
        return self._record(prompt, initial, rounds, reasons)

    async def _finish(self, prompt: Prompt) -> None:
        revision = await self.revise(prompt)
        for listener in listeners(self.trainer):
            listener.on_record(revision)
            listener.on_row()

    async def _ask(self, conversation: Conversation, draw: str) -> Reply:
        reply = await self.engine.reply(conversation, f"{self.seed}:{draw}")
        for listener in listeners(self._trainer):
            listener.on_reply(reply.tokens)
        return reply

    def _record(self, prompt: Prompt, initial: str, rounds: list[Round], reasons: list[str]) -> Revision:
        constitution = self.principles
        return Revision(
            id=prompt.id,
            prompt=prompt.prompt,
            initial_response=initial,
            rounds=rounds,
            revision=rounds[-1].revision,
            finish_reasons=reasons,
            model=self.engine.model,
            engine=type(self.engine).__name__,
            sampling=asdict(self.engine.sampling),
            seed=self.seed,
            constitution={"name": constitution.name, "digest": constitution.digest},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            turns=prompt.turns,
        )
