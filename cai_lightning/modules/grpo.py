"""Group relative policy optimization: a policy learns from what its own answers are worth.

Lightning trains as ever, by automatic optimization: where it asks the data module for a batch, that has `GRPO` make one
of the answers to the step's prompts. With the first batch of a step all its answers are drawn and rewarded. So
accumulation, clipping, schedules, several processes, checkpoints and logs are those of every training. Each answer is
learned from once; a step begins where its answers are drawn and ends where its batches do, so that a resumed run draws
the same answers from the same weights.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, cast

import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor

from cai_lightning.callbacks.recording import RecordWriter, Sink
from cai_lightning.data.batches import GRAIN, IGNORED, Batch, Example, pack, pad
from cai_lightning.data.prompt_data import Asked
from cai_lightning.engines import Reply, Sampling, TransformersEngine
from cai_lightning.engines.base import NEUTRAL
from cai_lightning.models.policy import without_dropout
from cai_lightning.modules.losses import group_advantages, grpo, k2_kl, token_logprobs
from cai_lightning.modules.policy_module import PolicyModule
from cai_lightning.modules.rollouts import (
    Answer,
    Rewards,
    RolloutBatch,
    WeightedReward,
    draw,
    gathered,
    in_parts,
    interleaved,
    serving,
)
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Prompt, Response, Rollout, about, samples_of

UNSPREAD = 1e-9
"""A group whose advantages are no larger teaches nothing."""


class Told(NamedTuple):
    """What all processes are told of an answer."""

    rewards: list[float]
    tokens: int
    cut: bool
    logprob: float


@dataclass(eq=False, repr=False)
class GRPO(PolicyModule):
    """Draws several answers to each prompt, rewards them, and makes those likelier that are better than the others.

    The loss is a mean over all tokens of a step (as in DAPO, Yu et al. 2025), the advantage an answer's reward less the
    mean of its group's, in deviations of the batch. The policy pays for leaving the one that it starts from, which is
    `adapter` where there is one, and not the base. Dropout is left out: answers are drawn without it. Every answer is
    written into the run's `samples.jsonl`. What is kept in the end is the state of the highest reward on the
    validation prompts, each of which is answered once, always by the same random numbers.

    Args:
        rewards: What an answer is rewarded with: a weighted sum. An answer that lacks a part of it is counted, and has
            no effect.
        answers: Answers to each prompt, at least 2.
        sampling: How they are drawn. They are to be the policy's own, so that all but `max_new_tokens` and `stop` is
            neutral.
        cut_replies: What is done with an answer that was cut at its limit of tokens: `mask` learns nothing from it, and
            leaves it out of its group's mean; `learn` takes it as it is.
        beta: What the policy pays for leaving its start, per nat of KL divergence and token; 0 leaves it free.
        clip_low: How far below 1 a token's probability, against that when it was drawn, still makes a difference.
        clip_high: How far above 1.
        floor: Least deviation of the rewards of a step that advantages are measured in, in units of the reward; closer
            rewards teach less.
        rollout_batch: Answers written at once, on each device; on a GPU as many as fit.
    """

    NOT_FINGERPRINTED = PolicyModule.NOT_FINGERPRINTED | {"rollout_batch"}
    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val_reward", "max")
    keeps_start: ClassVar[bool] = True

    rewards: list[WeightedReward] = field(default_factory=list)
    answers: int = 8
    sampling: Sampling = Sampling()
    cut_replies: Literal["mask", "learn"] = "mask"
    beta: float = 0.02
    clip_low: float = 0.2
    clip_high: float = 0.28
    floor: float = 0.01
    rollout_batch: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self._rewards = Rewards(self.rewards)
        self._batches: dict[bool, list[RolloutBatch]] = {}  # a validation may fall into the midst of a step
        self._figures: dict[str, float] = {}
        self._sink = Sink()
        if self.answers < 2:
            raise ValueError(f"model.answers: at least 2, which are compared, not {self.answers}")
        for name, least in (("beta", 0), ("clip_low", 0), ("clip_high", 0), ("floor", 1e-12)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"model.{name}: must be {'above' if least else 'at least'} 0, not {self.__dict__[name]}"
                )
        self._engine = TransformersEngine(
            self.model, self.sampling, self.rollout_batch, chat_template_kwargs=self.chat_template_kwargs
        )
        for name, neutral in NEUTRAL.items():
            if (value := getattr(self._engine.sampling, name)) != neutral:
                raise ValueError(
                    f"model.sampling.{name}: {value:g}, and the loss would take answers for the policy's own that are "
                    f"not; leave it at {neutral:g}"
                )

    @property
    def longest(self) -> int:
        """Tokens of an answer at most."""
        return self.sampling.max_new_tokens

    def inputs(self, run: Path) -> dict[str, str]:
        """Digest of the adapter that the training starts from, and what stands behind the rewards."""
        return super().inputs(run) | self._rewards.revisions()

    def configure_callbacks(self) -> list[Callback]:
        return [RecordWriter(Rollout)]

    def setup(self, stage: str) -> None:
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            raise UserError("trainer.strategy: a policy whose layers are shared out cannot answer; take ddp.")
        self._sink = Sink.of(self.trainer)

    def teardown(self, stage: str) -> None:
        if "engine" in self.__dict__:
            self._rewards.free()
            self._engine.stop()

    @cached_property
    def engine(self) -> TransformersEngine:
        """The engine on the policy itself, when it is asked first; the evaluators are there then, too."""
        without_dropout(self.policy)
        self._rewards.load(self.device)
        self._engine.attach(self.base, self.tokenizer)
        return self._engine

    def answered(self, asked: Asked) -> Batch:
        """The batch of answers that stands for these prompts; with the first batch of a step all are drawn."""
        if asked.part == 0:
            self._batches[asked.learned] = self._step(asked)
        return self._batches[asked.learned][asked.part]

    def summed_loss(self, batch: Batch) -> tuple[Tensor, int]:
        """The summed loss of the tokens of a batch; in validation what the policy pays for having left its start."""
        if "drawn" not in batch:
            raise UserError("model: GRPO learns from its own answers to prompts; take data.TrainingPrompts.")
        rollouts = cast(RolloutBatch, batch)
        reference = None
        if self.beta or not self.training:
            with torch.no_grad(), self.start.restored():
                reference = self._logprobs(batch)
        logprobs = self._logprobs(batch)
        losses = grpo(logprobs, rollouts["drawn"], rollouts["advantages"], self.clip_low, self.clip_high)
        if reference is not None:
            losses = losses + self.beta * k2_kl(logprobs, reference)
            self.note(kl=logprobs - reference)
        if self.training:
            self.log_dict({name: float(value) for name, value in self._figures.items()}, batch_size=1)
        else:
            self.note(**{name: values[~values.isnan()] for name, values in rollouts["figures"].items()})
        return losses.sum(), len(logprobs)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Logs how long the update of the step has taken so far."""
        self.log("seconds_update", time.perf_counter() - self._ready, batch_size=1)

    def _logprobs(self, batch: Batch) -> Tensor:
        targets = batch["labels"][:, 1:]
        kept = targets != IGNORED
        return token_logprobs(self.hidden_states(batch)[:, :-1][kept], targets[kept], self.head)

    def _step(self, asked: Asked) -> list[RolloutBatch]:
        """Has the prompts of a step answered and the answers rewarded; this process's batches of them."""
        began = time.perf_counter()
        world, rank = self.trainer.world_size, self.global_rank
        n = self.answers if asked.learned else 1
        mine = [sample for prompt in asked.prompts[rank::world] for sample in samples_of(prompt, n)]
        replies = self._draw(mine, asked.learned)
        drawn = time.perf_counter()
        values, reasons = self._score(mine, replies)
        scored = time.perf_counter()
        told = [_told(reply, rewards) for reply, rewards in zip(replies, values.tolist(), strict=True)]
        everyone = interleaved([_grouped(share, n) for share in gathered(told)])
        advantages = self._advantages(everyone) if asked.learned else torch.zeros(len(everyone), 1)
        own = advantages[rank::world].flatten().tolist()
        self._record(mine, replies, values, reasons, own, asked.learned)
        if asked.learned:
            unspread = (advantages.abs().amax(1) <= UNSPREAD).double().mean().item()
            seconds = {"seconds_generation": drawn - began, "seconds_scoring": scored - drawn}
            self._figures = self._summary(everyone) | {"train_no_spread": unspread} | seconds
        kept = [
            Answer(reply, advantage, self._facts(each))
            for reply, advantage, each in zip(replies, own, told, strict=True)
            if not (asked.learned and self._is_masked(each))
        ]
        tokens = sum(each.tokens for group in everyone for each in group if not self._is_masked(each))
        batches = in_parts(kept, asked.parts, max(tokens, 1), self._make)
        self._ready = time.perf_counter()
        return batches

    def _draw(self, samples: Sequence[Prompt], learned: bool) -> list[Reply]:
        engine = self.engine
        engine.forget()
        seed = f"{self.seed}:{self.global_step if learned else 'validation'}"
        with serving(self.base), self.trainer.strategy.precision_plugin.forward_context():
            return draw(engine, samples, seed)

    def _score(self, samples: Sequence[Prompt], replies: Sequence[Reply]) -> tuple[Tensor, list[str | None]]:
        responses = [
            Response(
                **about(sample),
                response=reply.text,
                reference=None,
                finish_reason=reply.finish_reason,
                model=self.model,
                adapter=None,
                category=sample.category,
                thought=reply.thought,
            )
            for sample, reply in zip(samples, replies, strict=True)
        ]
        with torch.no_grad():
            return self._rewards.score(responses)

    def _is_masked(self, told: Told) -> bool:
        return told.cut and self.cut_replies == "mask"

    def _advantages(self, groups: Sequence[Sequence[Told]]) -> Tensor:
        """Of all answers of the step [P, n]; what is masked is in no mean."""
        totals = self._totals(groups)
        masked = torch.tensor([[self._is_masked(told) for told in group] for group in groups])
        return group_advantages(totals.masked_fill(masked, torch.nan), self.floor)

    def _totals(self, groups: Sequence[Sequence[Told]]) -> Tensor:
        return self._rewards.total(torch.tensor([[told.rewards for told in group] for group in groups]).double())

    def _facts(self, told: Told) -> dict[str, float]:
        """Numbers of one answer, as they are told of a validation."""
        total = float(self._totals([[told]]))
        facts = {"reward": total, "unscored": float(total != total), "length": told.tokens, "cut": float(told.cut)}
        facts["entropy"] = -told.logprob / max(told.tokens, 1)
        return facts | {f"reward_{name}": v for name, v in zip(self._rewards.names, told.rewards, strict=True)}

    def _summary(self, groups: Sequence[Sequence[Told]]) -> dict[str, float]:
        """Numbers of a step, over all processes."""
        facts = [self._facts(told) for group in groups for told in group]
        columns = {name: torch.tensor([fact[name] for fact in facts]).double() for name in facts[0]}
        tokens, logprobs = (sum(getattr(t, name) for group in groups for t in group) for name in ("tokens", "logprob"))
        found = {f"train_{name}": column.nanmean().item() for name, column in columns.items()}
        return found | {"train_entropy": -logprobs / max(tokens, 1)}

    def _record(
        self,
        samples: Sequence[Prompt],
        replies: Sequence[Reply],
        values: Tensor,
        reasons: Sequence[str | None],
        advantages: Sequence[float],
        learned: bool,
    ) -> None:
        if self.trainer.sanity_checking:
            return
        totals = self._rewards.total(values).tolist()
        for n, (sample, reply) in enumerate(zip(samples, replies, strict=True)):
            parts = {name: _number(value) for name, value in zip(self._rewards.names, values[n].tolist(), strict=True)}
            place = f"{self.global_step}" if learned else f"{self.global_step} validated"
            rollout = Rollout(
                **about(sample) | {"id": f"{sample.id} at {place}"},
                step=self.global_step,
                part="train" if learned else "validation",
                response=reply.text,
                finish_reason=reply.finish_reason,
                tokens=reply.tokens,
                reward=_number(totals[n]),
                rewards=parts,
                reason=reasons[n],
                advantage=advantages[n],
            )
            self._sink.record(rollout)

    def _make(self, examples: list[Example], step_tokens: int) -> Batch:
        if not self.trainer.datamodule.packing:  # type: ignore[attr-defined]
            return pad(examples, step_tokens, cast(int, self.tokenizer.pad_token_id))
        return pack(examples, step_tokens, GRAIN if self.device.type == "cuda" else 1)


def _told(reply: Reply, rewards: list[float]) -> Told:
    return Told(rewards, reply.tokens, reply.finish_reason == "length", sum(reply.logprobs or []))


def _grouped(told: Sequence[Told], n: int) -> list[Sequence[Told]]:
    return [told[start : start + n] for start in range(0, len(told), n)]


def _number(value: float) -> float | None:
    return None if value != value else value
