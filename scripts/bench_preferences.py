#!/usr/bin/env python3
r"""Benchmark: this project and its peers learn from preferences with the same model, in turn; medians are compared.

    python scripts/bench_preferences.py --only dpo --model smollm2 --pairs harmless-base/test.jsonl.gz --peers ../peers
    python scripts/bench_preferences.py --only grpo --model smollm2 --prompts prompts.jsonl --peers ../peers

`dpo`: one epoch of hh-rlhf pairs in batches of 8, reading them and the reference's log-probabilities counted in.
`grpo`: answers of exactly as many tokens as asked for, rewarded for the share of their words that are said for the
first time, one update a step; beside TRL's `generate` and its continuous batching.

LoRA of rank 16 on all linear layers. Needs `pip install trl`. Ratios are to the faster peer.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench_model
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from cai_lightning.callbacks.costs import peak_bytes
from cai_lightning.data import PreferenceData
from cai_lightning.data.batches import Batches, apart
from cai_lightning.data.pairs import Comparison
from cai_lightning.data.prompt_data import Asked
from cai_lightning.data.prompts import turns_of
from cai_lightning.engines import Sampling
from cai_lightning.metrics.base import Column, ResponseMetric, Scores
from cai_lightning.models.adapters import Lora
from cai_lightning.modules import GRPO, DirectPreferenceOptimization
from cai_lightning.modules.rollouts import WeightedReward
from cai_lightning.run import jsonl
from cai_lightning.run.processes import quiet
from cai_lightning.run.records import Prompt, Response

Figures = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """One thing that is measured.

    Args:
        measure: This project's figures, in a process of its own; `work_per_s` and `bytes_above_loaded` are compared.
        peers: By the name of each peer its command, behind the interpreter, of a script in the folder of peers.
        work: What is counted a second.
    """

    measure: Callable[[argparse.Namespace], Figures]
    peers: Callable[[argparse.Namespace], dict[str, list[Any]]]
    work: str


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, of the command line where no words are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=BENCHES, required=True)
    parser.add_argument("--peers", type=Path, required=True, help="folder of the peers' scripts")
    bench_model.add_arguments(parser)
    parser.add_argument("--prompts", type=Path, help="JSON Lines with a field prompt, for grpo")
    parser.add_argument("--pairs", type=Path, help="a file of hh-rlhf, for dpo")
    parser.add_argument("--limit", type=int, default=96, help="pairs that are learned from")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--prompts-per-step", type=int, default=8)
    parser.add_argument("--group", type=int, default=8, help="answers to a prompt")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch-size", type=int, help="answers in a forward pass of the update (16), or pairs (8)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--contenders", nargs="+", help="some of them, such as cai_lightning")
    parser.add_argument("--output", type=Path, help="where the runs' figures are written as JSON Lines")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    args.batch_size = args.batch_size or (16 if args.only == "grpo" else 8)
    bench_model.with_dtype(args)
    return args


def main() -> None:
    args = arguments()
    if args.worker:
        print(json.dumps(BENCHES[args.only].measure(args)))
    else:
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Runs every contender `--repeats` times in turn, and prints the table."""
    bench = BENCHES[args.only]
    with tempfile.TemporaryDirectory() as folder:
        title = (
            f"{args.only}: {args.model or args.shape}, {args.dtype}, {bench_model.device()}, medians of {args.repeats}"
        )
        args.model = bench_model.prepare(args, args.prompts or args.pairs, Path(folder))
        commands = {"cai_lightning": [__file__, *sys.argv[1:], "--worker"], **bench.peers(args)}
        commands["cai_lightning"] += ["--model", args.model, "--dtype", args.dtype]
        runs: dict[str, list[Figures]] = {name: [] for name in args.contenders or commands}
        for repeat in range(args.repeats):
            for name in runs:
                runs[name].append(run(name, commands[name]))
                print(f"run {repeat + 1} of {args.repeats}: {json.dumps(runs[name][-1])}", file=sys.stderr, flush=True)
    if args.output:
        lines = [json.dumps({"contender": name, **result}) + "\n" for name in runs for result in runs[name]]
        args.output.write_text("".join(lines), encoding="utf-8")
    show(title, bench.work, runs)


def run(name: str, command: list[Any]) -> Figures:
    """One contender's figures, from a process of its own."""
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    figures: Figures = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
    return figures


def show(title: str, work: str, runs: dict[str, list[Figures]]) -> None:
    """Medians, and their ratios to the faster peer."""
    keys = ("seconds", f"{work}_per_s", "bytes_above_loaded")
    medians = {name: [statistics.median(r[key] for r in results) for key in keys] for name, results in runs.items()}
    rivals = [name for name in medians if name != "cai_lightning"] or list(medians)
    best = medians[max(rivals, key=lambda name: medians[name][1])]
    table = Table("contender", "seconds", f"{work}/s", "ratio", "MB above loaded", "ratio", title=title)
    for name, (seconds, speed, above) in medians.items():
        ratios = f"{speed / best[1]:.2f}", f"{above / best[2]:.2f}"
        table.add_row(name, f"{seconds:.1f}", f"{speed:,.1f}", ratios[0], f"{above / 1e6:,.0f}", ratios[1])
    Console().print(table)


class Clock(Callback):
    """Times the training, the loading of weights left out."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.level = torch.cuda.memory_allocated() if torch.cuda.is_available() else resident()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.began = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.began
        self.above = peak_bytes(pl_module.device) - self.level


def resident() -> int:
    """Bytes of memory this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Distinct(ResponseMetric):
    """The share of words that are said for the first time, as the peer rewards it."""

    def __init__(self) -> None:
        super().__init__([Column("distinct", "higher", 0.0, 1.0)])

    def inapplicable(self, response: Response) -> str | None:
        return None

    def load(self, device: torch.device) -> None:
        pass

    def score(self, responses: Sequence[Response]) -> Scores:
        words = [response.response.split() for response in responses]
        return Scores({"distinct": torch.tensor([len(set(w)) / max(len(w), 1) for w in words])}, [None] * len(words))

    def free(self) -> None:
        pass


class Prompts(LightningDataModule):
    """The benchmark's prompts in their order, none left out."""

    packing = True

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__()
        lines = args.prompts.read_text(encoding="utf-8").splitlines()[: args.prompts_per_step * args.steps]
        prompts = [Prompt(f"{n}", json.loads(line)["prompt"][:400]) for n, line in enumerate(lines)]
        self.steps = [
            tuple(prompts[n : n + args.prompts_per_step]) for n in range(0, len(prompts), args.prompts_per_step)
        ]
        self.parts = max(1, args.prompts_per_step * args.group // args.batch_size)
        self.order: list[str] = []

    def train_dataloader(self) -> Batches:
        asked = [Asked(step, part, self.parts, learned=True) for step in self.steps for part in range(self.parts)]
        return Batches(lambda: asked, self.trainer.lightning_module.answered)


class Timed(Callback):
    """Sums up the seconds of generation, scoring and update."""

    def __init__(self) -> None:
        self.sums = dict.fromkeys(("generation", "scoring", "update"), 0.0)
        self.rewards: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: GRPO, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        for name in self.sums:
            self.sums[name] += float(trainer.callback_metrics[f"seconds_{name}"])
        self.rewards.append(round(float(trainer.callback_metrics["train_reward"]), 4))


def measure_grpo(args: argparse.Namespace) -> Figures:
    """Trains with this project's module in Lightning's trainer; no token ends an answer."""
    quiet()
    module = GRPO(
        str(args.model), base_dtype=args.dtype, learning_rate=1e-5, rewards=[WeightedReward(Distinct())],
        answers=args.group, sampling=Sampling(max_new_tokens=args.new_tokens), cut_replies="learn", beta=0.02,
        rollout_batch=args.prompts_per_step * args.group,
    )  # fmt: skip
    data, clock, timed = Prompts(args), Clock(), Timed()
    with tempfile.TemporaryDirectory() as run:
        trainer = Trainer(
            accelerator="auto", devices=1, max_epochs=1, logger=False, enable_checkpointing=False,
            callbacks=[clock, Endless(), timed], default_root_dir=run, accumulate_grad_batches=data.parts,
            precision="bf16-mixed" if args.dtype == "bfloat16" else "32-true", gradient_clip_val=1.0,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, datamodule=data)
        rows = [json.loads(line) for line in (Path(run) / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["tokens"] for row in rows} == {args.new_tokens}
    tokens = len(rows) * args.new_tokens
    whole = sum(timed.sums.values())
    shares = {f"share_{name}": round(seconds / whole, 3) for name, seconds in timed.sums.items()}
    return {"peer": "cai_lightning", "steps": len(data.steps), "answers": len(rows), "seconds": round(clock.seconds, 2),
            "new_tokens_per_s": round(tokens / clock.seconds, 1), "bytes_above_loaded": clock.above,
            "rewards": timed.rewards, **shares}  # fmt: skip


class Endless(Callback):
    """Takes away the tokens that end an answer."""

    def on_train_start(self, trainer: Trainer, pl_module: GRPO) -> None:
        pl_module.engine._batch.ends = set()


def grpo_peers(args: argparse.Namespace) -> dict[str, list[Any]]:
    """TRL by `generate`, and by transformers' continuous batching."""
    names = ("prompts", "prompts_per_step", "group", "new_tokens", "steps", "batch_size", "dtype")
    options = [word for name in names for word in (f"--{name.replace('_', '-')}", getattr(args, name))]
    command = [args.peers / "trl_grpo.py", args.model, *options]
    return {"trl-generate": command, "trl-paged": [*command, "--paged"]}


class Pairs(PreferenceData):
    """The benchmark's pairs as they are, none cleaned, split or left out."""

    def setup(self, stage: str) -> None:
        began, module = time.perf_counter(), self.trainer.lightning_module
        self._tokenizer = module.tokenizer
        pairs = [module.encode(pair, self.max_length) for pair in read_pairs(self.source, self.limit)]
        self.pairs = {"train": pairs, "validation": pairs[:1]}
        self.references = {name: torch.full((len(found), 2), torch.nan) for name, found in self.pairs.items()}
        self.seconds = time.perf_counter() - began


def read_pairs(source: Path, limit: int) -> list[Comparison]:
    """The first pairs that share all but the last turn and have no empty turn, as the peer takes them."""
    found: list[Comparison] = []
    for where, row in jsonl.read_lines(source):
        (*before, chosen), (*other, rejected) = (turns_of(row[side], where) for side in ("chosen", "rejected"))
        said = [turn["content"].strip() for turn in (*before, chosen, rejected)]
        if before and before == other and all(said) and chosen["role"] == rejected["role"] == "assistant":
            opening = [{**turn, "content": text} for turn, text in zip(before, said, strict=False)]
            found.append(Comparison(where, opening, (said[-2], said[-1]), 1.0, is_human=True))
        if len(found) == limit:
            break
    return found


class WholeClock(Clock):
    """Times the reference's log-probabilities, too, and keeps the first loss."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        Clock.on_train_start(self, trainer, pl_module)
        self.losses: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pass

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(trainer.callback_metrics["train_loss"]))


def measure_dpo(args: argparse.Namespace) -> Figures:
    """Trains with this project's module in Lightning's trainer."""
    quiet()
    module = DirectPreferenceOptimization(
        str(args.model), Lora(dropout=0.05), base_dtype=args.dtype, schedule="linear", warmup=0.0, beta=0.1
    )
    data, clock = Pairs(batch_size=args.batch_size, max_length=args.max_length, limit=args.limit), WholeClock()
    data.source = args.pairs
    with tempfile.TemporaryDirectory() as run:
        trainer = Trainer(
            accelerator="auto", devices=1, max_epochs=1, logger=False, enable_checkpointing=False, callbacks=[clock],
            precision="bf16-mixed" if args.dtype == "bfloat16" else "32-true", gradient_clip_val=1.0,
            enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, default_root_dir=run,
        )  # fmt: skip
        trainer.fit(module, datamodule=data)
    seconds = clock.seconds + data.seconds
    tokens = sum(one.size for pair in data.pairs["train"] for one in apart(pair.examples))
    return {"peer": "cai_lightning", "pairs": len(data.pairs["train"]), "seconds": round(seconds, 2), "tokens": tokens,
            "tokens_per_s": round(tokens / seconds, 1), "bytes_above_loaded": clock.above,
            "computed": sum(pair.size for pair in data.pairs["train"]), "first_loss": round(clock.losses[0], 4),
            "mean_loss": round(statistics.mean(clock.losses), 4)}  # fmt: skip


def dpo_peers(args: argparse.Namespace) -> dict[str, list[Any]]:
    """TRL with its best settings, and with its defaults."""
    names = ("pairs", "limit", "batch_size", "max_length", "dtype")
    options = [word for name in names for word in (f"--{name.replace('_', '-')}", getattr(args, name))]
    command = [args.peers / "trl_dpo.py", args.model, *options]
    return {f"trl-{settings}": [*command, "--settings", settings] for settings in ("best", "default")}


BENCHES = {
    "dpo": Bench(measure_dpo, dpo_peers, "tokens"),
    "grpo": Bench(measure_grpo, grpo_peers, "new_tokens"),
}


if __name__ == "__main__":
    main()
