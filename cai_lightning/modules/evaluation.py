"""Evaluates a model: it answers the test prompts first, then makes room for one evaluator after the other."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch import LightningModule
from torch import Tensor, nn

from cai_lightning.callbacks.recording import Sink, journals
from cai_lightning.data.prompt_data import ReferencedPrompt
from cai_lightning.engines import Engine, Reply
from cai_lightning.metrics import ResponseMetric
from cai_lightning.metrics.scoring import Outcome, Scorer
from cai_lightning.principles import wording
from cai_lightning.run import manifest
from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.jsonl import read_records
from cai_lightning.run.manifest import Outputs, unfinished
from cai_lightning.run.records import Prompt, Response, Score, about, shared_id
from cai_lightning.services.concurrency import for_each

SCORES = (*journals(Score), "summary.json")
ANSWERED = Outputs("validate", (*journals(Response), *SCORES))
SCORED = Outputs("score", SCORES, noted=False)
"""Scores alone: each says of its own row under which settings it was made."""


@dataclass(eq=False, repr=False)
class Evaluation(LightningModule):
    """Answers the test prompts and scores the answers. One without words is an answer too, which no metric scores.

    Args:
        engine: What serves the model; null scores the responses that the run holds already and makes none.
        metrics: The evaluators, in the order in which they run.
        adapter: `run` evaluates the run's own adapter, as fit leaves it; a folder names another; null evaluates the
            model without one. Without an engine the responses say themselves what made them.
        unfinished: Evaluates the best adapter so far of a fit that has not finished; an error otherwise.
        seed: Seed of sampling; runs with the same seed are compared on the same random numbers.
        score_batch_size: Responses handed to an evaluator at once.
    """

    records = (Response, Score)
    NOT_FINGERPRINTED = frozenset({"metrics", "adapter", "unfinished", "score_batch_size"})

    engine: Engine | None
    metrics: list[ResponseMetric]
    adapter: str | None = "run"
    unfinished: bool = False
    seed: int = 42
    score_batch_size: int = 64

    def __post_init__(self) -> None:
        super().__init__()
        names = [column.name for metric in self.metrics for column in metric.columns]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"Evaluation: the column {min(twice)!r} is given by more than one evaluator.")
        self.metrics = nn.ModuleList(self.metrics)  # type: ignore[assignment]  # whose devices Lightning looks after
        self.sink = Sink()
        self.outcomes: list[Outcome] = []
        self.computed: dict[str, Tensor] = {}

    @property
    def outputs(self) -> Outputs:
        """What is made in the run's folder: without an engine, scores alone."""
        return ANSWERED if self.engine else SCORED

    def inputs(self, run: Path) -> dict[str, str]:
        """What the engine reads. The adapter would not stop a run: responses of another adapter are missing."""
        if self.engine is None:
            return {"adapter of the responses": str(self.adapter_digest(run))}
        return self.engine.inputs(run) if isinstance(self.engine, manifest.HasInputs) else {}

    @property
    def answerer(self) -> Engine:
        """The engine.

        Raises:
            UserError: There is none.
        """
        if self.engine is None:
            raise UserError("model.engine is null: nobody answers; name an engine.")
        return self.engine

    def adapter_folder(self, run: Path) -> Path | None:
        """The folder of the adapter that is evaluated, or of the model where fit has trained the whole of it.

        Raises:
            UserError: There is no adapter.
        """
        if self.adapter is None:
            return None
        folder = own_output(run) if self.adapter == "run" else Path(self.adapter)
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no adapter there. Run fit first, or set model.adapter to null for the base model."
            )
        return folder

    def adapter_digest(self, run: Path) -> str | None:
        """16 hex digits that stand for the adapter; None for the base model.

        Raises:
            UserError: There is no adapter, or without an engine no response, or responses of several adapters.
        """
        if self.engine is None:
            return _adapter_of(run / "responses.jsonl")
        folder = self.adapter_folder(run)
        return manifest.folder_digest(folder) if folder else None

    def why_unfinished(self, run: Path) -> str | None:
        """Why the adapter is not what its training would have come to; None where it is, or nothing is known of it."""
        folder = self.adapter_folder(run) if self.engine else None
        return unfinished(folder) if folder else None

    def setup(self, stage: str) -> None:
        self.sink = Sink.of(self.trainer)
        self._run = Path(self.trainer.default_root_dir)
        if (why := self.why_unfinished(self._run)) and not self.unfinished:
            raise UserError(
                f"{why}. The same fit command goes on with it; to evaluate it as it is: --model.unfinished true."
            )
        self._digest = self.adapter_digest(self._run)
        self._failed: dict[str, str] = {}
        self._scores()  # a malformed row is told now, not after all responses
        self.tried = len(self.unanswered())

    @property
    def tests(self) -> list[ReferencedPrompt]:
        """The test prompts of all processes."""
        return self.trainer.datamodule.tests  # type: ignore[attr-defined,no-any-return]

    def unanswered(self) -> list[str]:
        """The ids of all test prompts that have no response of the evaluated adapter."""
        made = self._responses()
        return [test.prompt.id for test in self.tests if test.prompt.id not in made]

    def reasons(self) -> list[str]:
        """Why test prompts have no response, one reason for each."""
        known = {score.id: score.reason for score in self._scores() if score.reason}
        return [known.get(id, "no evaluator ran") for id in self.unanswered()]

    def validation_step(self, tests: Sequence[ReferencedPrompt], batch_idx: int) -> None:
        """Answers every test prompt of this process that has no answer of this adapter yet."""
        made = self._responses()
        missing = [test for test in tests if test.prompt.id not in made]
        if self.engine is None:
            self._failed = {test.prompt.id: "the run holds none" for test in missing}
            return
        self.sink.stage("responses", len(tests), len(tests) - len(missing))
        if missing:
            self.engine.start(self.device, self.adapter_folder(self._run))
            try:
                asyncio.run(for_each(self._answer, missing, self.engine.concurrency, self._set_aside))
            finally:
                self.engine.stop()

    def on_validation_epoch_end(self) -> None:
        """Scores what all processes have answered."""
        self.trainer.strategy.barrier("responses are written")
        made, mine = self._responses(), self.tests[self.global_rank :: self.trainer.world_size]
        responses = [made[test.prompt.id] for test in mine if test.prompt.id not in self._failed]
        prompts = {test.prompt.id: shared_id(test.prompt) for test in self.tests}
        scorer = Scorer(self._run, self.sink, self.trainer.strategy, prompts, self.score_batch_size)
        self.outcomes = [scorer.score(metric, responses, self._failed, self._digest) for metric in self.metrics]
        for metric in self.metrics:
            self.computed |= metric.compute()
        self.log_dict(self.computed)

    def _responses(self) -> dict[str, Response]:
        """The responses of the evaluated adapter that any process has written, by id."""
        made = read_records(self._run / "responses.jsonl", Response).values()
        return {response.id: response for response in made if response.adapter == self._digest}

    def _scores(self) -> Iterable[Score]:
        return read_records(self._run / "scores.jsonl", Score).values()

    def _set_aside(self, test: ReferencedPrompt, error: ReplyError) -> None:
        self._failed[test.prompt.id] = str(error)
        self.sink.row(failed=True)

    async def reply(self, prompt: Prompt) -> Reply:
        """What the engine, with whatever adapter it was started with, answers to a prompt."""
        return await self.answerer.reply(wording.opening(prompt), f"{self.seed}:{prompt.id}:response")

    async def _answer(self, test: ReferencedPrompt) -> None:
        prompt = test.prompt
        reply = await self.reply(prompt)
        response = Response(
            **about(prompt),
            response=reply.text,
            reference=test.reference,
            finish_reason=reply.finish_reason,
            model=self.answerer.model,
            adapter=self._digest,
            category=prompt.category,
            thought=reply.thought,
        )
        self.sink.reply(reply)
        self.sink.record(response)
        self.sink.row()


def own_output(run: Path) -> Path:
    """Where fit leaves what it has trained: the run's `adapter`, or its `model` where there is no adapter."""
    whole = run / "model"
    return whole if whole.is_dir() and not (run / "adapter").is_dir() else run / "adapter"


def _adapter_of(path: Path) -> str | None:
    """The adapter that the responses of a file were made with."""
    adapters = {response.adapter for response in read_records(path, Response).values()}
    if not adapters:
        raise UserError(
            f"{path}: no responses to score. Import some (python -m cai_lightning import FILE --run {path.parent}), or "
            "name an engine that makes them."
        )
    if len(adapters) > 1:
        names = ", ".join(sorted(map(str, adapters)))
        raise UserError(f"{path}: responses of {len(adapters)} adapters ({names}); keep those of one.")
    return adapters.pop()
