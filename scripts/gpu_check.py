"""The steps of `scripts/gpu_check.sh`: each looks at one thing on this machine and writes what it found as JSON.

python scripts/gpu_check.py equal --work FOLDER --dry
python scripts/gpu_check.py merge --work FOLDER --output gpu.json

Whatever is slow to import is imported by the step that needs it: minutes on such machines are counted.
"""

import argparse
import importlib.util
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SANDBOX = ROOT / "checkpoints" / "sandbox"
PACKAGES = ("torch", "transformers", "lightning", "peft", "torchmetrics", "sentence-transformers", "triton", "trl")
SIZES = {"3b": "qwen2.5-3b", "7b": "mistral-7b"}

GENERATION = ["--lengths", "varied", "--rows", 384, "--naive-rows", 2, "--max-new-tokens", 256, "--batch-size", 256]
TRAINING = {
    "3b": ["--rows", 256, "--batch-size", 5, "--max-tokens", 10_000, "--max-length", 2048],
    "7b": ["--rows", 128, "--batch-size", 3, "--max-tokens", 6_000, "--max-length", 2048],
}
"""TRL's batches of `--batch-size` packed rows of `--max-length` hold about as many tokens as ours."""

DRY_GENERATION = ["--lengths", "varied", "--rows", 4, "--naive-rows", 1, "--max-new-tokens", 8, "--batch-size", 4]
DRY_TRAINING = ["--rows", 6, "--batch-size", 2, "--max-tokens", 400, "--max-length", 200]

Found = dict[str, Any]


class NotRunError(Exception):
    """A step cannot run here, and why."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=[*STEPS, "merge"])
    parser.add_argument("--work", type=Path, required=True, help="where the steps write, and find what others made")
    parser.add_argument("--output", type=Path, help="where merge writes")
    parser.add_argument("--corpus", type=Path, help="JSON Lines with the fields prompt and revision")
    parser.add_argument("--peers", type=Path, help="folder of trl_sft.py and naive_generation.py")
    parser.add_argument("--seconds", type=int, help="what all took, for merge")
    parser.add_argument("--dry", action="store_true", help="tiny models, few rows")
    args = parser.parse_args()
    if args.step == "merge":
        return merge(args)
    args.corpus = args.corpus or own_corpus(args)
    try:
        write(args, STEPS[args.step](args))
    except NotRunError as why:
        write(args, {"not_run": str(why)})
    return 0


def write(args: argparse.Namespace, found: Found) -> None:
    (args.work / f"{args.step}.json").write_text(json.dumps(found), encoding="utf-8")


def merge(args: argparse.Namespace) -> int:
    """Puts everything into one file; the status is 1 where a step has failed."""
    if not (args.work / "steps").exists():
        raise SystemExit(f"no step was run; there are {', '.join(STEPS)}")
    steps = {}
    lines = [line.split() for line in (args.work / "steps").read_text(encoding="utf-8").splitlines()]
    for name, code, seconds in sorted(lines, key=lambda line: list(STEPS).index(line[0])):
        steps[name] = {"rc": int(code), "seconds": int(seconds), **outcome(args.work, name, failed=code != "0")}
    whole = {"dry": args.dry, "seconds": args.seconds, "steps": steps}
    args.output.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    idle = {name: step["found"]["not_run"] for name, step in steps.items() if "not_run" in step["found"]}
    failed = [name for name, step in steps.items() if step["rc"]]
    print(f"{args.output}: {len(steps) - len(failed) - len(idle)} steps done in {whole['seconds']} seconds")
    print(f"failed: {', '.join(failed) or 'none'}")
    print(f"not run: {', '.join(f'{name} ({why})' for name, why in idle.items()) or 'none'}")
    return 1 if failed else 0


def outcome(work: Path, name: str, failed: bool) -> Found:
    """What a step has found, up to where it came, and the end of its log where it has failed."""
    part, log = work / f"{name}.json", work / f"{name}.log"
    found = json.loads(part.read_text(encoding="utf-8")) if part.exists() else {}
    error = {"error": log.read_text(encoding="utf-8", errors="replace")[-2000:]} if failed else {}
    return {"found": found, **error}


def machine(args: argparse.Namespace) -> Found:
    """What all figures are of."""
    import torch

    found = {"python": platform.python_version(), "packages": {name: installed(name) for name in PACKAGES}}
    if not torch.cuda.is_available():
        if not args.dry:
            raise SystemExit("torch sees no GPU here; --dry tries the steps without one")
        return found
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    driver = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    name, cudnn = torch.cuda.get_device_name(), torch.backends.cudnn.version()
    return found | {"gpu": name, "driver": driver, "cuda": torch.version.cuda, "cudnn": cudnn}


def equal(args: argparse.Namespace) -> Found:
    """The engine's tokens beside those of plain `generate`, for each family of chat templates, in float32."""
    import gpu_engine

    return gpu_engine.equal(args.work / "families", 4 if args.dry else 12, lambda found: write(args, found))


def memory(args: argparse.Namespace) -> Found:
    """Everybody is answered, with the same tokens, where memory runs out on the way."""
    import gpu_engine
    from random_model import SHAPES, make_model

    make_model(SHAPES["tiny" if args.dry else "50m"], args.corpus, args.work / "small", ends=True)
    return gpu_engine.out_of_memory(args.work / "small", *((12, 8) if args.dry else (96, 64)))


def attention(args: argparse.Namespace) -> Found:
    """Packed attention in one launch beside one conversation after the other, with its gradients."""
    import gpu_engine

    found = gpu_engine.one_launch([200, 1, 37, 120, 64])
    if not found:
        raise NotRunError("torch does not do it on this machine")
    return found


def verbs(args: argparse.Namespace) -> Found:
    """The command line on this machine's device: revisions, an adapter learned from them, and what it then answers."""
    if importlib.util.find_spec("jsonargparse") is None:
        raise NotRunError("jsonargparse is not installed")
    run = args.work / "run"
    found: Found = {}
    settings: dict[str, list[Any]] = {
        "predict": ["--data.limit", "24" if args.dry else "192"],
        "fit": [] if args.dry else ["--trainer.precision", "bf16-mixed"],
        "validate": ["--data.limit", "24" if args.dry else "192", "--data.references", run / "revisions.jsonl"],
    }
    shared = ["--config", "configs/sandbox_contextual.yaml", "--run", run, "--trainer.accelerator", "auto"]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    for verb, own in settings.items():
        began = time.monotonic()
        command = [sys.executable, "-m", "cai_lightning", verb, *map(str, [*shared, *own])]
        done = subprocess.run(command, cwd=ROOT, text=True, check=False, **both)
        if done.returncode:
            raise SystemExit(f"{verb}: {done.stdout[-2000:]}")
        found[verb] = {"seconds": round(time.monotonic() - began, 1), "end": done.stdout[-1500:]}
        write(args, found)
    return found


def model(args: argparse.Namespace) -> Found:
    """Makes the model that the next steps open, at random."""
    folder, name = args.work / size(args), "tiny" if args.dry else SIZES[size(args)]
    from random_model import SHAPES, make_model

    make_model(SHAPES[name], args.corpus, folder, ends=True)
    return {"shape": name}


def generation(args: argparse.Namespace) -> Found:
    """Speed of one way to generate: response, critique and revision."""
    way = args.step.partition("-")[0]
    peers = needed_peers(args) if way == "naive" else []
    import bench_generation

    words = ["--prompts", args.corpus, "--model", args.work / size(args), *peers]
    words += DRY_GENERATION if args.dry else GENERATION
    return bench_generation.run(bench_generation.arguments(list(map(str, words))), way.replace("slots", "transformers"))


def training(args: argparse.Namespace) -> Found:
    """Speed and memory of one way to train."""
    is_own, folder = args.step.startswith("train-"), args.work / size(args)
    if not is_own and importlib.util.find_spec("trl") is None:
        raise NotRunError("trl is not installed")
    peers = ["--peers", args.work] if is_own else needed_peers(args)
    import bench_training

    words = ["--corpus", args.corpus, "--model", folder, *peers]
    words += DRY_TRAINING if args.dry else TRAINING[size(args)]
    options = bench_training.arguments(list(map(str, words)))
    return bench_training.run(options, "cai_lightning" if is_own else "trl-packed", args.work)


STEPS: dict[str, Callable[[argparse.Namespace], Found]] = {
    "machine": machine,
    "equal": equal,
    "memory": memory,
    "attention": attention,
    "verbs": verbs,
    **{f"model-{size}": model for size in SIZES},
    **{f"{way}-3b": generation for way in ("slots", "paged", "naive")},
    **{f"{way}-{size}": training for size in SIZES for way in ("train", "trl")},
}


def size(args: argparse.Namespace) -> str:
    """`3b` or `7b`; of tiny models one is enough."""
    found = str(args.step).partition("-")[2]
    if args.dry and found != "3b":
        raise NotRunError("a dry run has models of one size")
    return found


def needed_peers(args: argparse.Namespace) -> list[Any]:
    if args.peers is None:
        raise NotRunError("no peers")
    return ["--peers", args.peers]


def own_corpus(args: argparse.Namespace) -> Path:
    """A few rows of the sandbox's, for a try."""
    if not args.dry:
        raise SystemExit("--corpus FILE is missing")
    prompts = (SANDBOX / "prompts.jsonl").read_text(encoding="utf-8").splitlines()[:64]
    rows = [json.loads(line) | {"revision": "I would rather help you otherwise."} for line in prompts]
    path = Path(args.work, "corpus.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
