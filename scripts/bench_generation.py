#!/usr/bin/env python3
r"""Benchmark: engines and baselines answer, critique and revise the same prompts, in turn; their medians are compared.

    python scripts/bench_generation.py --prompts prompts.jsonl --peers ../peers --model smollm2 --batch-size 48 \
        --max-new-tokens 128                                                               # two cores, a real model
    python scripts/bench_generation.py --prompts prompts.jsonl --peers ../peers            # 51 M random parameters
    python scripts/bench_generation.py --prompts prompts.jsonl --peers ../peers --vllm-python .venv-vllm/bin/python \
        --contenders transformers naive vllm vllm_offline
    python scripts/bench_generation.py --prompts prompts.jsonl --peers ../peers --shape qwen2.5-3b --rows 979 \
        --max-new-tokens 512 --lengths varied --batch-size 256 --naive-rows 4 --bandwidth 4800 \
        --contenders transformers paged naive                                             # one H200

Without --model one is made at random, in Qwen2's architecture, with a tokenizer learned from the prompts. Generation is
greedy. Replies of a random model all have `--max-new-tokens` tokens (`--lengths equal`), or most of them fewer
(`varied`); those of a real one end where it ends them.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import bench_model
import torch
from random_model import Shape
from rich.console import Console
from rich.table import Table

from cai_lightning.engines import Engine, Sampling, TransformersEngine, VLLMEngine

PEERS = {"naive": "naive_generation.py", "vllm_offline": "vllm_offline.py"}


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, of the command line where no words are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=Path, required=True, help="JSON Lines with a field prompt")
    parser.add_argument("--peers", type=Path, help="folder of the baselines' scripts; without it they are left out")
    parser.add_argument("--contenders", nargs="+", default=["transformers", "naive"],
                        choices=["transformers", "paged", "vllm", *PEERS])  # fmt: skip
    bench_model.add_arguments(parser)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--naive-rows", type=int, help="rows of the naive loop, where all would take days")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--lengths", choices=["equal", "varied"], default="equal")
    parser.add_argument("--batch-size", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bandwidth", type=float, help="the device's, in GB/s, for the share of its limit")
    parser.add_argument("--vllm-python", default=sys.executable, help="the interpreter of an environment with vLLM")
    parser.add_argument("--output", type=Path, help="where the runs' figures are written as JSON Lines")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    bench_model.with_dtype(args)
    return args


def main() -> None:
    args = arguments()
    if args.worker:
        print(json.dumps(asyncio.run(measure(args))))
    else:
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Runs every contender `--repeats` times in turn, and prints the table."""
    runs: dict[str, list[dict]] = {name: [] for name in args.contenders}
    with tempfile.TemporaryDirectory() as folder:
        args.lengths = "varied" if args.model else args.lengths
        title = f"{args.model or args.shape}, {args.dtype}, {bench_model.device()}, {args.lengths} lengths"
        args.model = bench_model.prepare(args, args.prompts, Path(folder), args.lengths == "varied")
        for repeat in range(args.repeats):
            for name in args.contenders:
                result = run(args, name)
                runs[name].append(result)
                print(f"run {repeat + 1} of {args.repeats}: {json.dumps(result)}", file=sys.stderr, flush=True)
        shape = bench_model.shape_of(args.model)
    if args.output:
        lines = [json.dumps({"contender": name, **result}) + "\n" for name in runs for result in runs[name]]
        args.output.write_text("".join(lines), encoding="utf-8")
    show(args, title, shape, runs)


def run(args: argparse.Namespace, name: str) -> dict:
    """One contender's figures, from a process of its own."""
    rows = args.naive_rows or args.rows if name == "naive" else args.rows
    common = ["--prompts", args.prompts, "--max-new-tokens", args.max_new_tokens]
    if name in PEERS:
        command = [args.peers / PEERS[name], args.model, *common, "--limit", rows]
        command += ["--ignore-eos"] if args.lengths == "equal" else []
        command += ["--dtype", args.dtype] if name == "naive" else []
    else:
        own = ["--rows", rows, "--batch-size", args.batch_size, "--dtype", args.dtype]
        command = [__file__, *common, *own, "--worker", name, "--model", args.model]
    python = args.vllm_python if name.startswith("vllm") else sys.executable
    done = subprocess.run([str(python), *map(str, command)], capture_output=True, text=True, env=environment())
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])


def environment() -> dict[str, str]:
    return {"VLLM_CPU_KVCACHE_SPACE": "2", "HF_HUB_OFFLINE": "1", **os.environ}


async def measure(args: argparse.Namespace) -> dict:
    """Runs one of this project's engines over the prompts, all chains at once."""
    prompts = [
        json.loads(line)["prompt"] for line in args.prompts.read_text(encoding="utf-8").splitlines()[: args.rows]
    ]
    requests = peer_requests(args)
    engine = make_engine(args)
    on_gpu = torch.cuda.is_available()
    engine.start(torch.device("cuda" if on_gpu else "cpu"))
    await engine.reply([{"role": "user", "content": "Hello"}], "warm")
    counts = {"tokens": 0, "read": 0}

    async def chain(prompt: str) -> None:
        talk = [{"role": "user", "content": prompt}]
        for request in (None, *requests):
            talk = [*talk, {"role": "user", "content": request}] if request else talk
            reply = await engine.reply(talk, prompt)
            talk = [*talk, {"role": "assistant", "content": reply.text}]
            counts["tokens"] += reply.tokens
            counts["read"] += reply.prompt_tokens

    start = time.perf_counter()
    await asyncio.gather(*map(chain, prompts))
    seconds = time.perf_counter() - start
    engine.stop()
    return {"rows": len(prompts), "seconds": round(seconds, 2), "tokens": counts["tokens"],
            "tokens_per_s": round(counts["tokens"] / seconds, 1), "prompt_tokens": counts["read"],
            "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else None}  # fmt: skip


def make_engine(args: argparse.Namespace) -> Engine:
    sampling = Sampling(temperature=0, max_new_tokens=args.max_new_tokens)
    if args.worker == "vllm":
        return VLLMEngine(str(args.model), sampling, dtype=args.dtype, max_model_len=2048)
    batching = "paged" if args.worker == "paged" else "slots"
    return TransformersEngine(str(args.model), sampling, args.batch_size, dtype=args.dtype, batching=batching)


def peer_requests(args: argparse.Namespace) -> list[str]:
    """The baselines' two requests, word for word where their folder is named."""
    if args.peers is None:
        return ["CritiqueRequest: Say what is harmful in it.", "RevisionRequest: Rewrite it without what is harmful."]
    sys.path.insert(0, str(args.peers))
    import naive_generation

    return [f"CritiqueRequest: {naive_generation.CRITIQUE}", f"RevisionRequest: {naive_generation.REVISION}"]


def show(args: argparse.Namespace, title: str, shape: Shape, runs: dict[str, list[dict]]) -> None:
    """The medians, and their ratios to the last contender's."""
    table = Table("contender", "rows", "seconds", "tokens", "tokens/s", "ratio", title=title)
    if args.bandwidth:
        table.add_column("of the bandwidth")
    medians = {name: statistics.median(r["tokens_per_s"] for r in results) for name, results in runs.items()}
    base = list(medians.values())[-1]
    for name, results in runs.items():
        speed = medians[name]
        middle = min(results, key=lambda result: abs(result["tokens_per_s"] - speed))
        figures = [f"{middle['seconds']:.1f}", f"{middle['tokens']:,}", f"{speed:,.0f}", f"{speed / base:.2f}"]
        if args.bandwidth:
            figures.append(f"{speed * bytes_per_token(args, shape, name, middle) / args.bandwidth / 1e9:.0%}")
        table.add_row(name, str(middle["rows"]), *figures)
    Console().print(table)


def bytes_per_token(args: argparse.Namespace, shape: Shape, name: str, result: dict) -> float:
    """What is read from memory at the least to write one token: the weights, shared by the batch, and its cache."""
    replies = 3 * result["rows"]
    context = (result.get("prompt_tokens", 0) + result["tokens"] / 2) / replies
    batch = 1 if name == "naive" else min(args.batch_size, result["rows"])
    return shape.weight_bytes / batch + shape.cache_bytes * context


if __name__ == "__main__":
    main()
