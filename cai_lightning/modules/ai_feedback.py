"""AI feedback in place of human labels: pairs of responses, and which of them is better (Bai et al. 2022, section 4.1).

Responses come first, then labels: of two models only one is in memory, and each works on full batches of one kind. A
pair is kept in `pairs.jsonl` from its second response until its line of `preferences.jsonl` is written, so a run that
is killed draws no finished response again, whatever engine drew it: not all draw the same from the same seed.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from cai_lightning.callbacks.dry_run import Price
from cai_lightning.callbacks.recording import FILES, Sink, journals
from cai_lightning.data.labelled import Label, Pair, Preference, Reading
from cai_lightning.engines import Engine, Reply
from cai_lightning.engines.base import NEUTRAL, reply_in_words
from cai_lightning.principles import wording
from cai_lightning.principles.preferences import (
    Comparisons,
    PreferencePrinciple,
    Preferences,
    open_comparisons,
    open_preferences,
)
from cai_lightning.run import manifest
from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.jsonl import read_records
from cai_lightning.run.manifest import Outputs
from cai_lightning.run.records import Conversation, Failure, Prompt, about, timestamp, user
from cai_lightning.services.concurrency import for_each

log = logging.getLogger(__name__)


@dataclass(eq=False, repr=False)
class AIFeedback(LightningModule):
    """Makes the preferences that a preference model or DPO learns from.

    The policy responds to every prompt several times; a feedback model then reads the conversation, a principle and
    both responses as options, in both orders, and the probabilities of its answer are kept as they are: fit clamps
    them.

    Args:
        engine: What serves the policy; its responses are drawn at temperature 1, as in the paper.
        feedback: What serves the feedback model: any engine that tells probabilities; null asks the policy itself, with
            its adapter.
        adapter: The adapter of the policy, such as that of an SL-CAI run, `runs/x/adapter`; null takes the model as it
            is.
        unfinished: Takes the best adapter so far of a fit that has not finished; an error otherwise.
        responses: Responses to each prompt, an even number: each two of them are a pair. More of them can be added.
        constitution: The preference principles: `default` (this package's own), `anthropic` (the paper's 16, fetched on
            first use), a JSON file in either's format, or a folder that holds Anthropic's file.
        principles: Principles by which each pair is labelled, drawn anew for each; the paper takes 1.
        few_shots: Comparisons in front of the question: `none`, `default` (this package's own), `anthropic` (the
            paper's, fetched on first use), a JSON file in either's format, or a folder that holds Anthropic's file.
        chain_of_thought: Chains of thought before each answer, whose answers are averaged; the paper takes 5. 0 answers
            at once.
        tries: Draws of a reply until one has words; a pair whose replies stay empty fails, and the next run goes on
            behind these draws. At temperature 0 there is one, for all would be the same.
        seed: Seed of the responses, the chains of thought and the choice of principles; a pair depends on it and the
            prompt alone.
        price: What `--dry-run` reckons with; null leaves money out.
    """

    records = (Preference, Pair, Failure)
    outputs = Outputs("predict", journals(Preference, Pair), beside=journals(Failure))
    NOT_FINGERPRINTED = frozenset({"adapter", "unfinished", "responses", "constitution", "few_shots", "tries", "price"})

    engine: Engine
    feedback: Engine | None = None
    adapter: Path | None = None
    unfinished: bool = False
    responses: int = 2
    constitution: str = "default"
    principles: int = 1
    few_shots: str = "none"
    chain_of_thought: int = 0
    tries: int = 3
    seed: int = 42
    price: Price | None = None

    def __post_init__(self) -> None:
        super().__init__()
        if self.responses < 2 or self.responses % 2:
            raise ValueError(f"AIFeedback: responses: an even number from 2 on expected, found {self.responses}")
        for name, least in (("principles", 1), ("chain_of_thought", 0), ("tries", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"AIFeedback: {name} >= {least} expected, found {getattr(self, name)}")
        _check_engines(self.engine, self.reader, self.chain_of_thought)
        self.sink = Sink()
        self._pairs: dict[str, Pair] = {}
        self._silent: defaultdict[str, Counter[str]] = defaultdict(Counter)

    @property
    def reader(self) -> Engine:
        """What serves the feedback model."""
        return self.feedback or self.engine

    @cached_property
    def questions(self) -> Preferences:
        """The preference principles themselves, read on first use."""
        found = open_preferences(self.constitution)
        if len(found.principles) < self.principles:
            raise UserError(
                f"model.principles: {self.principles} for each pair, but there are only {len(found.principles)} in "
                f"{self.constitution}."
            )
        return found

    @cached_property
    def examples(self) -> Comparisons:
        """The comparisons themselves, read on first use."""
        return open_comparisons(self.few_shots, reasoned=self.chain_of_thought > 0)

    def inputs(self, run: Path) -> dict[str, str]:
        """Digests of what this module and its engines read."""
        found = {"constitution": self.questions.digest, "few-shots": self.examples.digest}
        for engine in (self.engine, self.reader):
            found |= engine.inputs(run) if isinstance(engine, manifest.HasInputs) else {}
        return found | {"adapter": str(self._adapter_digest)}

    @cached_property
    def _adapter_digest(self) -> str | None:
        folder = self.adapter
        if folder is None:
            return None
        if not folder.is_dir():
            raise UserError(f"{folder}: no adapter there. Run fit of its run first, or set model.adapter to null.")
        if (why := manifest.unfinished(folder)) and not self.unfinished:
            raise UserError(
                f"{why}. The same fit command goes on with it; to take it as it is: --model.unfinished true."
            )
        return manifest.folder_digest(folder)

    def rows_of(self, id: str) -> list[str]:
        """The ids of a prompt's pairs."""
        return [f"{id}.p{number}" for number in range(self.responses // 2)]

    def setup(self, stage: str) -> None:
        self.sink = Sink.of(self.trainer)
        drawn = {name: getattr(self.engine.sampling, name) for name in NEUTRAL}
        other = [f"{name} {drawn[name]}" for name, plain in NEUTRAL.items() if drawn[name] not in (plain, None)]
        if other and self.trainer.is_global_zero:
            told = ", ".join(other)
            log.warning("model.engine.sampling: %s: the paper draws from the policy itself, at temperature 1", told)

    def predict_step(self, prompts: Sequence[Prompt], batch_idx: int) -> None:
        """Makes every pair of these prompts that is missing: its responses, then its labels."""
        run = Path(self.trainer.default_root_dir)
        made = read_records(run / FILES[Preference], Preference)
        asked = [pair for prompt in prompts for pair in self.pairs_of(prompt) if pair.id not in made]
        if not asked:
            return
        self._pairs = {str(id): pair for id, pair in read_records(run / FILES[Pair], Pair).items()}
        failed = read_records(run / FILES[Failure], Failure)
        self._silent.update({failure.id: Counter(failure.silent_draws) for failure in failed.values()})
        done: int = self.trainer.datamodule.done  # type: ignore[attr-defined]
        self.make(asked, done, is_begun=bool(made or self._pairs))

    def pairs_of(self, prompt: Prompt) -> list[Prompt]:
        """A prompt as often as it has pairs, each time under an id, and so with random numbers, of its own."""
        return [replace(prompt, id=id) for id in self.rows_of(prompt.id)]

    def make(self, asked: Sequence[Prompt], done: int = 0, is_begun: bool = False) -> None:
        """Makes pairs and their labels; of two engines that are not one, one serves at a time.

        Args:
            asked: The pairs.
            done: How many there are already.
            is_begun: Whether a run like this one has found before that its feedback model answers; otherwise it is
                asked before the first response is drawn.
        """

        async def probe() -> None:
            if self.reader.tells_probabilities is None and not is_begun:
                await _probe(self.reader)

        async def respond() -> None:
            missing = [pair for pair in asked if pair.id not in self._pairs]
            self.sink.stage("responses", done + len(asked), done + len(asked) - len(missing))
            await for_each(self._respond, missing, self.engine.concurrency, self._set_aside)

        async def label() -> None:
            pairs = [self._pairs[pair.id] for pair in asked if pair.id in self._pairs]
            self.sink.stage("labels", done + len(asked), done)
            await for_each(self._label, pairs, self.reader.concurrency, self._set_aside)

        if self.feedback is None:
            self._serve(self.engine, probe, respond, label)
            return
        if self.reader.tells_probabilities is None and not is_begun:
            self._serve(self.feedback, probe)
        if any(pair.id not in self._pairs for pair in asked):
            self._serve(self.engine, respond)
        self._serve(self.feedback, label)

    def _serve(self, engine: Engine, *stages: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs stages one after the other while an engine serves; the policy has its adapter."""

        async def run() -> None:
            for stage in stages:
                await stage()

        engine.start(self.device, self.adapter if engine is self.engine else None)
        try:
            asyncio.run(run())
        finally:
            engine.stop()

    async def respond(self, asked: Prompt) -> Pair:
        """Both responses of a pair."""
        opening = wording.opening(asked)
        replies = [await self._draw(asked.id, self.engine, opening, f"response {number}") for number in range(2)]
        thoughts = [reply.thought for reply in replies]
        return Pair(
            **about(asked),
            first=replies[0].text,
            second=replies[1].text,
            finish_reasons=[reply.finish_reason for reply in replies],
            model=self.engine.model,
            adapter=self._adapter_digest,
            engine=type(self.engine).__name__,
            sampling=asdict(self.engine.sampling),
            seed=self.seed,
            created=timestamp(),
            thoughts=thoughts if any(thoughts) else None,
        )

    async def label(self, pair: Pair) -> Preference:
        """What the feedback model says of a pair; where both responses are the same it is not asked."""
        drawn = self.questions.draw(self.principles, f"{self.seed}:{pair.id}:principles")
        labels = [] if pair.first == pair.second else [await self._read_both(pair, each) for each in drawn]
        reasoned = self.chain_of_thought and {"sampling": asdict(self.reader.sampling)}
        feedback = {
            "model": self.reader.model,
            "engine": type(self.reader).__name__,
            "adapter": pair.adapter if self.feedback is None else None,
            "chain_of_thought": self.chain_of_thought,
            **(reasoned or {}),
        }
        examples = self.examples
        return Preference(
            **vars(pair) | {"created": timestamp()},
            labels=labels,
            feedback=feedback,
            constitution={"name": self.questions.name, "digest": self.questions.digest},
            few_shots={"name": examples.name, "digest": examples.digest} if examples.examples else None,
        )

    async def _read_both(self, pair: Pair, principle: PreferencePrinciple) -> Label:
        forth = await self._read(pair, principle, pair.first, pair.second, "forth")
        return Label(principle.id, forth, await self._read(pair, principle, pair.second, pair.first, "back"))

    async def _read(
        self, pair: Pair, principle: PreferencePrinciple, first: str, second: str, order: str
    ) -> list[Reading]:
        """The readings of the question in one order."""
        reasoned = self.chain_of_thought > 0
        question = wording.preference(wording.opening(pair), principle.question, first, second, reasoned=reasoned)
        asked = [*self.examples.turns(self.questions.principles), *question]
        if not reasoned:
            return [await self._choose(asked)]
        readings = []
        for number in range(self.chain_of_thought):
            thought = await self._draw(pair.id, self.reader, asked, f"thought {principle.id} {order} {number}")
            readings.append(await self._choose(wording.verdict(asked, thought.text), thought.text))
        return readings

    async def _choose(self, asked: Conversation, thought: str | None = None) -> Reading:
        choice = await self.reader.choose(asked, wording.OPTIONS)
        self.sink.choice(choice)
        return Reading(choice.shares[0], choice.mass, thought)

    async def _draw(self, id: str, engine: Engine, conversation: Conversation, stage: str) -> Reply:
        seed, silent = f"{self.seed}:{id}:{stage}", self._silent[id]
        return await reply_in_words(engine, conversation, seed, silent, stage, self.tries, self.sink.reply)

    async def _respond(self, asked: Prompt) -> None:
        pair = self._pairs[asked.id] = await self.respond(asked)
        self.sink.record(pair)
        self.sink.row()

    async def _label(self, pair: Pair) -> None:
        try:
            self.sink.record(await self.label(pair))
        except ReplyError as error:
            error.stage = "label"
            raise
        self.sink.row()

    def _set_aside(self, asked: Prompt | Pair, error: ReplyError) -> None:
        failure = Failure(
            **about(asked),
            stage=error.stage.partition(" ")[0],
            reason=str(error),
            created=timestamp(),
            silent_draws=dict(+self._silent[asked.id]) or None,
        )
        self.sink.record(failure)
        self.sink.row(failed=True)


def _check_engines(policy: Engine, reader: Engine, chains: int) -> None:
    """Refuses engines whose rows would say nothing, before any work begins."""
    if policy.sampling.temperature == 0:
        raise ValueError("AIFeedback: engine.sampling.temperature: 0 makes all responses to a prompt the same; take 1")
    if reader.tells_probabilities is False:
        raise ValueError(
            f"AIFeedback: {type(reader).__name__} ({reader.model}) tells no probabilities to label by; set `feedback`"
            " to an engine that does, such as TransformersEngine with `batching: slots`"
        )
    if chains > 1 and reader.sampling.temperature == 0:
        raise ValueError(
            f"AIFeedback: chain_of_thought: {chains} chains would all be the same at the feedback model's temperature 0"
        )


async def _probe(reader: Engine) -> None:
    """Asks for one choice.

    Raises:
        UserError: The engine, or its server, does not tell probabilities.
    """
    try:
        await reader.choose([user("Answer with (A) or (B), as you like.")], wording.OPTIONS)
    except ReplyError as error:
        log.warning("%s answers neither (A) nor (B) when asked to (%s)", reader.model, error)
