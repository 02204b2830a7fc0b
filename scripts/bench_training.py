#!/usr/bin/env python3
r"""Benchmark: this project and TRL fine-tune the same model on the same rows, in turn; their medians are compared.

    python scripts/bench_training.py --corpus revisions.jsonl --peers ../peers --model smollm2  # a real one, two cores
    python scripts/bench_training.py --corpus revisions.jsonl --peers ../peers                  # 51 M random parameters
    python scripts/bench_training.py --corpus revisions.jsonl --peers ../peers --shape 45m      # 151,936 words
    python scripts/bench_training.py --corpus revisions.jsonl --peers ../peers --shape qwen2.5-3b --rows 979 \
        --max-length 2048 --max-tokens 10000 --attn flash_attention_2                              # one GPU

Needs `pip install trl`. Without --model one is made at random, with a tokenizer learned from the corpus. LoRA of rank
16 on all linear layers, one epoch, loss on the response only. Where the processor does not compute in bfloat16 (or with
--dtype float32), the peer's script runs with that word changed. Ratios are to the better mode of TRL.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import bench_model
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from cai_lightning.callbacks.costs import matrix_rate, peak_bytes
from cai_lightning.data.batches import Batches, Example, Sizes, encode, pack, plan
from cai_lightning.data.prompts import Sample
from cai_lightning.modules.sft import SupervisedFineTuning
from cai_lightning.run.processes import quiet
from cai_lightning.run.records import user

CONTENDERS = ("cai_lightning", "trl-packed", "trl-padded")
AGREEMENT = 0.005
"""How far the loss of the untrained model may differ: TRL also learns the line break behind the end of turn."""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, of the command line where no words are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="JSON Lines with fields prompt and revision")
    parser.add_argument("--peers", type=Path, required=True, help="folder of trl_sft.py")
    parser.add_argument("--contenders", nargs="+", default=CONTENDERS, choices=CONTENDERS)
    bench_model.add_arguments(parser)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, help="of our batches, instead of --batch-size rows")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--attn", help="attention implementation of all contenders, such as flash_attention_2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="where the runs' figures are written as JSON Lines")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    bench_model.with_dtype(args)
    return args


def main() -> None:
    args = arguments()
    if args.worker:
        print(json.dumps(measure(args)))
    else:
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Runs every contender `--repeats` times in turn, and prints the table."""
    runs: dict[str, list[dict]] = {name: [] for name in args.contenders}
    with tempfile.TemporaryDirectory() as folder:
        title = f"{args.model or args.shape}, {args.dtype}, {bench_model.device()}, medians of {args.repeats}"
        args.model = bench_model.prepare(args, args.corpus, Path(folder))
        for repeat in range(args.repeats):
            for name in args.contenders:
                result = run(args, name, Path(folder))
                runs[name].append(result)
                print(f"run {repeat + 1} of {args.repeats}: {json.dumps(result)}", file=sys.stderr, flush=True)
    if args.output:
        lines = [json.dumps({"contender": name, **result}) + "\n" for name in runs for result in runs[name]]
        args.output.write_text("".join(lines), encoding="utf-8")
    show(title, runs)
    check_losses([result for results in runs.values() for result in results])


def run(args: argparse.Namespace, name: str, folder: Path) -> dict:
    """One contender's figures, from a process of its own."""
    common = ["--corpus", args.corpus, "--batch-size", args.batch_size, "--max-length", args.max_length]
    common += ["--attn", args.attn] if args.attn else []
    if name == "cai_lightning":
        own = ["--peers", args.peers, "--rows", args.rows, "--dtype", args.dtype, "--model", args.model, "--worker"]
        own += ["--max-tokens", args.max_tokens] if args.max_tokens else []
        command = [__file__, *common, *own]
    else:
        command = [peer(args, folder), args.model, *common, "--limit", args.rows, "--mode", name.removeprefix("trl-")]
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])


def peer(args: argparse.Namespace, folder: Path) -> Path:
    """The peer's script, in float32 where bfloat16 is not computed in; on a GPU it is there before it trains, too."""
    script = args.peers / "trl_sft.py"
    changes = {} if args.dtype == "bfloat16" else {"torch.bfloat16": "torch.float32", "bf16=True": "bf16=False"}
    if torch.cuda.is_available():
        changes |= {"=args.attn)": "=args.attn).cuda()", "([whole[:max_length]])": "([whole[:max_length]]).cuda()"}
    text = script.read_text(encoding="utf-8")
    for old, new in changes.items():
        text = text.replace(old, new)
    changed = folder / "trl_sft_changed.py"
    changed.write_text(text, encoding="utf-8")
    return changed


class Rows(LightningDataModule):
    """The benchmark's rows as they are, none cleaned, split or left out."""

    def __init__(self, examples: list[Example], args: argparse.Namespace) -> None:
        super().__init__()
        self.examples = examples
        self.packing = True
        self.sizes = Sizes(len(examples) if args.max_tokens else args.batch_size, args.max_tokens)

    def train_dataloader(self) -> Batches:
        (batches,) = plan(self.examples, self.sizes, seed=42, epoch=0)
        return Batches(lambda: batches, lambda batch: pack([self.examples[n] for n in batch.rows], batch.step_tokens))


class Clock(Callback):
    """Times the training, the loading of weights left out, and reads the untrained model's loss before it."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.loss_before = untrained_loss(pl_module, trainer.datamodule.examples)
        self.level = torch.cuda.memory_allocated() if torch.cuda.is_available() else resident()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.began = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.began
        self.peak = peak_bytes(pl_module.device)
        self.device = pl_module.device  # afterwards the trainer takes the module back to the CPU


@torch.no_grad()
def untrained_loss(module: SupervisedFineTuning, examples: list[Example]) -> float:
    """The mean over all supervised tokens, one row at a time, as the peer computes it."""
    sums = []
    for example in examples:
        batch = module.transfer_batch_to_device(pack([example], 1), module.device, 0)
        with module.trainer.precision_plugin.forward_context():
            loss, tokens = module.summed_loss(batch)
        sums.append((loss.item(), tokens))
    return sum(loss for loss, _ in sums) / sum(tokens for _, tokens in sums)


def resident() -> int:
    """Bytes of memory this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def measure(args: argparse.Namespace) -> dict:
    """Trains with this project's module in Lightning's trainer."""
    quiet()
    lines = args.corpus.read_text(encoding="utf-8").splitlines()[: args.rows]
    rows = [json.loads(line) for line in lines]
    module = SupervisedFineTuning(str(args.model), base_dtype=args.dtype, attn_implementation=args.attn)
    samples = [Sample(str(n), [user(r["prompt"])], r["revision"]) for n, r in enumerate(rows)]
    examples = [encode(module.tokenizer, sample, args.max_length) for sample in samples]
    clock = Clock()
    trainer = Trainer(
        accelerator="auto", devices=1, max_epochs=1, logger=False, enable_checkpointing=False, callbacks=[clock],
        precision="bf16-mixed" if args.dtype == "bfloat16" else "32-true", gradient_clip_val=1.0,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=Rows(examples, args))
    tokens, supervised = sum(len(e.input_ids) for e in examples), sum(e.supervised for e in examples)
    flops = module.costs.flops(tokens, supervised)
    rate = matrix_rate(clock.device, getattr(torch, args.dtype))
    return {"peer": "cai_lightning", "rows": len(rows), "seconds": round(clock.seconds, 2), "tokens": tokens,
            "tokens_per_s": round(tokens / clock.seconds, 1), "peak_bytes": clock.peak,
            "bytes_above_loaded": clock.peak - clock.level, "loss_before": round(clock.loss_before, 4),
            "supervised": supervised, "mfu": round(flops / clock.seconds / rate, 3),
            "matrix_tflops": round(rate / 1e12, 2)}  # fmt: skip


def show(title: str, runs: dict[str, list[dict]]) -> None:
    """Medians, and their ratios to the faster mode of TRL."""
    medians = {name: {key: statistics.median(r[key] for r in results) for key in results[0] if key != "peer"}
               for name, results in runs.items()}  # fmt: skip
    rivals = [name for name in medians if name != "cai_lightning"] or list(medians)
    best = medians[max(rivals, key=lambda name: medians[name]["tokens_per_s"])]
    table = Table("contender", "seconds", "tokens/s", "ratio", "MB above loaded", "ratio", "loss before", title=title)
    for name, figures in medians.items():
        above = figures["bytes_above_loaded"]
        table.add_row(
            name, f"{figures['seconds']:.1f}", f"{figures['tokens_per_s']:,.0f}",
            f"{figures['tokens_per_s'] / best['tokens_per_s']:.2f}", f"{above / 1e6:,.0f}",
            f"{above / best['bytes_above_loaded']:.2f}", f"{figures['loss_before']:.4f}",
        )  # fmt: skip
    Console().print(table)
    if "cai_lightning" in medians:
        own = medians["cai_lightning"]
        Console().print(f"MFU of cai_lightning: {own['mfu']:.0%} of a measured {own['matrix_tflops']:.1f} TFLOP/s")


def check_losses(results: list[dict]) -> None:
    losses = [result["loss_before"] for result in results]
    if max(losses) - min(losses) > AGREEMENT * max(losses):
        raise SystemExit(f"the contenders do not learn the same: losses of the untrained model {losses}")


if __name__ == "__main__":
    main()
