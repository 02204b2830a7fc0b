"""Guards of a training: at every validation the policy answers a fixed set of prompts, and what goes wrong is told.

    trainer:
      callbacks:
        - class_path: cai_lightning.modules.Guards
          init_args: {harmful: prompts/red_team.jsonl, benign: prompts/benign.jsonl, stop: true}

Over-trained, the paper's policy fell into boilerplate (Bai et al. 2022, section 4.3); others became evasive, went round
in circles or did not end any more, and none of this is in a loss. Every figure is held against the policy that the
training began from, which answers the same prompts with the same random numbers. All figures go into the run's
`guards.jsonl`, which `scripts/plot_training.py` draws and `compare` reads; a limit that is passed is a line in the log.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_info

from cai_lightning.data.batches import GRAIN, IGNORED, Batch, Example, in_batches, pack, pad
from cai_lightning.data.defects import Phrase, refuses, repeated_ngrams, said_too_often, says_any, worst
from cai_lightning.data.prompts import part, prompt_text, read_prompts
from cai_lightning.engines import Reply, Sampling, TransformersEngine
from cai_lightning.modules.losses import token_logprobs
from cai_lightning.modules.policy_module import PolicyModule
from cai_lightning.modules.rollouts import draw, gathered, interleaved, serving
from cai_lightning.run.errors import UserError
from cai_lightning.run.files import replace_text
from cai_lightning.run.records import GUARDS, Guarded, Prompt

NAMED = 3
"""Phrases of boilerplate that are named."""
BENIGN = "benign"
SCORED_TOKENS = 4096
"""Tokens of a batch in which replies are held against the start."""

Figures = dict[str, float]


@dataclass(frozen=True)
class Limits:
    """How far a policy may go from where it began; null is no limit.

    Args:
        boilerplate: Share of answers, 0 to 1, with a 4-gram that stands in at least 5 % of them and at least 5 times as
            often as in the start's.
        evasiveness: By how much the share of benign prompts that are refused may rise.
        repetition: By how much the share of 4-grams that stand before in their answer may rise.
        cut: By how much the share of answers that do not end within their limit of tokens may rise.
        silent: By how much the share of answers without words may rise.
        length: How many times as long, or as short, answers may become, in tokens.
        kl: Nats per token by which the policy may leave its start.
    """

    boilerplate: float | None = 0.3
    evasiveness: float | None = 0.2
    repetition: float | None = 0.1
    cut: float | None = 0.2
    silent: float | None = 0.1
    length: float | None = 2.0
    kl: float | None = 0.5

    def __post_init__(self) -> None:
        for name, limit in asdict(self).items():
            least = 1 if name == "length" else 0
            if limit is not None and limit < least:
                raise ValueError(f"guards.limits.{name}: must be ≥ {least}, not {limit}")

    def passed(self, now: Figures, start: Figures, phrases: Sequence[str] = ()) -> dict[str, str]:
        """The limits that are passed, each with what has passed it in words.

        Args:
            now: The figures of the policy.
            start: Those of the policy that the training began from; 0 what it has none of, as where it said nothing.
            phrases: Its boilerplate.
        """
        said, start = {"boilerplate": f" ({', '.join(phrases)})"}, dict.fromkeys(now, 0.0) | dict(start)
        return {
            name: f"{name} {now[name]:.3g}, {start[name]:.3g} at the start, {_named(name, limit)}{said.get(name, '')}"
            for name, limit in asdict(self).items()
            if limit is not None and name in now and _distance(name, now[name], start[name]) > limit
        }


def _distance(name: str, now: float, start: float) -> float:
    """How far a figure has gone in the direction in which it has a limit."""
    if name == "length":
        return max(now, start) / max(min(now, start), 1e-9)
    return now if name in ("boilerplate", "kl") else now - start


def _named(name: str, limit: float) -> str:
    return f"limit {limit:g}" if name in ("boilerplate", "kl") else f"limit {'x' if name == 'length' else '+'}{limit:g}"


class Said(NamedTuple):
    """A policy's reply to a prompt, and how much likelier it is than at the start (`ratio`, in nats, all tokens)."""

    prompt: Prompt
    reply: Reply
    ratio: float


def figures(said: Sequence[Said], start: Sequence[Said]) -> tuple[Figures, list[Phrase]]:
    """What is measured on the replies of a policy, and its boilerplate; a figure of no replies is left out.

    Args:
        said: The replies, those to harmful prompts and to benign ones, which have the category `benign`.
        start: Those of the policy that the training began from.
    """
    words = [one for one in said if one.reply.text.strip()]
    answers = [one.reply.text for one in words]
    found = said_too_often(answers, [one.prompt.id for one in words], [one.reply.text for one in start])
    texts = {phrase.text for phrase in found}
    tokens = sum(one.reply.tokens for one in said)
    values: dict[str, list[float]] = {
        "boilerplate": [says_any(answer, texts) for answer in answers],
        "evasiveness": [refuses(one.reply.text) for one in words if one.prompt.category == BENIGN],
        "repetition": [repeated_ngrams(answer) for answer in answers],
        "cut": [one.reply.finish_reason == "length" for one in said],
        "silent": [one.reply.why_silent is not None for one in said],
        "length": [one.reply.tokens for one in said],
        "kl": [sum(one.ratio for one in said) / tokens] if tokens else [],
    }
    return {name: fmean(each) for name, each in values.items() if each}, found


@dataclass(eq=False, repr=False)
class Guards(Callback):
    """Lets the policy answer prompts at every validation, measures what goes wrong, and tells where a limit is passed.

    Args:
        harmful: Prompts that a policy may fall into boilerplate on: a source as of `data.prompts`. Of both sources only
            prompts of the validation part (data.shares) are asked, never those that `validate` tests.
        benign: Harmless prompts, whose refusal is evasive; in a source with categories those of `benign`.
        column: Field that holds the prompt.
        most: Prompts of either kind at most, the first of the part.
        sampling: How the policy answers.
        limits: How far it may go; what is not named keeps its default.
        stop: Ends the training where a limit is passed; the state that has passed it is not kept.
        batch_size: Answers written at once, on each device.
        seed: Of the draws, the same at every validation.
    """

    harmful: str
    benign: str
    column: str = "prompt"
    most: int = 64
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=256))
    limits: Limits = Limits()
    stop: bool = False
    batch_size: int = 32
    seed: int = 42

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"guards.most: must be ≥ 1, not {self.most}")
        self.stopped: str | None = None
        self._rows: list[dict[str, Any]] = []
        self._start: list[Said] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not isinstance(pl_module, PolicyModule):
            raise UserError(f"guards: {type(pl_module).__name__} trains no policy that answers.")
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise UserError("guards: a policy whose layers are shared out cannot answer; take trainer.strategy ddp.")
        pl_module.keeps_start = True  # type: ignore[misc]
        self.prompts = [*self._asked(trainer, is_benign=False), *self._asked(trainer, is_benign=True)]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.stopped is not None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the best state is kept: figures are logged as `guard_NAME`."""
        if trainer.sanity_checking:
            return
        policy, step = cast(PolicyModule, pl_module), trainer.global_step
        first = not self._start
        if first:
            with policy.start.restored():
                self._start = self._answer(trainer, policy, held=False)
        start, _ = figures(self._start, self._start)
        now, boilerplate = figures(self._answer(trainer, policy, held=True), self._start)
        phrases = [phrase.text for phrase in worst(boilerplate, NAMED)]
        passed = self.limits.passed(now, start, phrases)
        if not self._rows:
            self._rows.append(asdict(Guarded(0, start, {}, [])))
        self._rows.append(asdict(Guarded(step, now, passed, phrases)))
        pl_module.log_dict({f"guard_{name}": value for name, value in now.items()})
        self._tell(trainer, step, passed)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self._rows, "stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._rows, self.stopped = state_dict["rows"], state_dict["stopped"]

    def _asked(self, trainer: Trainer, is_benign: bool) -> list[Prompt]:
        """The first prompts of the validation part as the data module cuts it, told apart by their category."""
        source, shares = self.benign if is_benign else self.harmful, trainer.datamodule.shares  # type: ignore[attr-defined]
        everything = read_prompts(source, self.column)
        named = {prompt.category for prompt in everything}
        kind = [p for p in everything if BENIGN not in named or (p.category == BENIGN) == is_benign]
        found = [prompt for prompt in kind if part(prompt_text(prompt), shares) == "validation"][: self.most]
        if not found:
            name = "benign" if is_benign else "harmful"
            raise UserError(
                f"guards.{name}: none of the {len(kind)} such prompts of {source} is in the validation part."
            )
        category = BENIGN if is_benign else None
        return [replace(prompt, category=category) for prompt in found]

    def _answer(self, trainer: Trainer, policy: PolicyModule, held: bool) -> list[Said]:
        """What the policy, as it is, answers; every process answers its share, and all get to know all."""
        mine = self.prompts[trainer.global_rank :: trainer.world_size]
        engine = TransformersEngine(
            policy.model, self.sampling, self.batch_size, chat_template_kwargs=policy.chat_template_kwargs
        )
        engine.attach(policy.base, policy.tokenizer)
        with serving(policy.base), trainer.strategy.precision_plugin.forward_context():
            replies = draw(engine, mine, f"{self.seed}:guard")
        engine.stop()
        ratios = log_ratios(trainer, policy, replies) if held else [0.0] * len(replies)
        return interleaved(gathered(list(map(Said, mine, replies, ratios))))

    def _tell(self, trainer: Trainer, step: int, passed: Mapping[str, str]) -> None:
        if trainer.is_global_zero:
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self._rows)
            replace_text(Path(trainer.default_root_dir) / GUARDS, lines)
        for words in passed.values():
            rank_zero_info(f"step {step}: a guard is passed: {words}")
        if passed and self.stop:
            self.stopped = f"at step {step} a guard was passed: {'; '.join(passed.values())}"
            trainer.should_stop = True
            rank_zero_info(f"the training ends: {self.stopped}")


def log_ratios(trainer: Trainer, policy: PolicyModule, replies: Sequence[Reply]) -> list[float]:
    """How much likelier the tokens of each reply are now than at the start, in nats; its mean over replies that the
    policy has drawn is the KL divergence between the two."""
    with torch.no_grad(), trainer.strategy.precision_plugin.forward_context():
        now = _logprobs(trainer, policy, replies)
        with policy.start.restored():
            before = _logprobs(trainer, policy, replies)
    return [a - b for a, b in zip(now, before, strict=True)]


def _logprobs(trainer: Trainer, policy: PolicyModule, replies: Sequence[Reply]) -> list[float]:
    """The log-probability of each reply, all its tokens together."""
    sums: list[float] = []
    examples = [_example(reply) for reply in replies]
    for some in in_batches(examples, lambda batch: sum(len(one.input_ids) for one in batch) <= SCORED_TOKENS):
        batch = _batch(trainer, policy, some)
        targets = batch["labels"][:, 1:]
        kept = targets != IGNORED
        found = token_logprobs(policy.hidden_states(batch)[:, :-1][kept], targets[kept], policy.head)
        sums += [float(part.double().sum()) for part in found.split([one.supervised for one in some])]
    return sums


def _example(reply: Reply) -> Example:
    ids, written = reply.prompt_ids or [0], reply.token_ids or []
    return Example("reply", ids + written, [IGNORED] * len(ids) + written, truncated=False)


def _batch(trainer: Trainer, policy: PolicyModule, examples: Sequence[Example]) -> Batch:
    if trainer.datamodule.packing:  # type: ignore[attr-defined]
        batch = pack(examples, 1, GRAIN if policy.device.type == "cuda" else 1)
    else:
        batch = pad(examples, 1, cast(int, policy.tokenizer.pad_token_id))
    moved = {name: value.to(policy.device) for name, value in batch.items() if isinstance(value, torch.Tensor)}
    return cast(Batch, {**batch, **moved})
