"""Builds the sandbox: the miniature world's models, prompts and constitution, in `checkpoints/sandbox/`.

    python scripts/build_sandbox.py                    # everything, about 30 minutes on two cores
    python scripts/build_sandbox.py --only classifier  # one part; the others stay as they are

Seeded. Prompts of the test and validation parts are in no training set of any model.
"""

import argparse
import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer

from cai_lightning.data.prompts import part
from cai_lightning.sandbox import grammar
from cai_lightning.sandbox.dialogues import Allowed, draw_allowed, draw_few_shot, principle
from cai_lightning.sandbox.train_decoders import build_chat_model, build_reward
from cai_lightning.sandbox.train_encoders import build_encoder, build_harmlessness, build_judge, build_moderation
from cai_lightning.sandbox.training import build_chat_tokenizer
from cai_lightning.sandbox.world import HARMS

SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints" / "sandbox"
HARMFUL, BENIGN = 1200, 450
FEW_SHOTS = 1
STEPS = {"chat": 2000, "encoder": 500, "classifier": 400, "reward": 500, "moderation": 300, "judge": 450}


@dataclass(frozen=True)
class Build:
    """What a part is built by."""

    folder: Path
    seed: int
    steps: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(BUILDERS), default=list(BUILDERS), help="parts to build")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="of each training, instead of its own number, for a try")
    parser.add_argument("--output", type=Path, default=SHIPPED, help="where the parts are written")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        BUILDERS[name](Build(args.output, args.seed, args.steps or STEPS.get(name, 0)))


def in_training(text: str) -> bool:
    """Whether a request may be trained on."""
    return part(text) == "train"


def build_prompts(build: Build) -> None:
    """Distinct requests of all parts, the harmful and the benign mixed."""
    rng = random.Random(f"prompts:{build.seed}")
    rows: dict[str, str] = {}
    for rate, count in ((1.0, HARMFUL), (0.0, BENIGN)):
        goal = len(rows) + count
        while len(rows) < goal:
            request = draw_allowed(rng, lambda text: text not in rows, rate)
            rows[request.text] = request.topic.name if request.harmful else "benign"
    lines = [json.dumps({"prompt": text, "category": category}) for text, category in rows.items()]
    rng.shuffle(lines)
    (build.folder / "prompts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def build_constitution(build: Build) -> None:
    """The sixteen principles of the grammar in this package's format."""
    principles = [asdict(principle(scope)) for scope in grammar.scopes()]
    text = json.dumps({"name": "sandbox", "principles": principles}, indent=2)
    (build.folder / "constitution.json").write_text(text + "\n", encoding="utf-8")


def build_few_shots(build: Build) -> None:
    """One example of critique and revision, as the chat model has been trained with, in this package's format."""
    rng = random.Random(f"few-shots:{build.seed}")
    few_shots = [draw_few_shot(rng, topic, in_training) for topic in rng.sample(HARMS, FEW_SHOTS)]
    text = json.dumps({"name": "sandbox", "few_shots": few_shots}, indent=2)
    (build.folder / "few_shots.json").write_text(text + "\n", encoding="utf-8")


def build_chat(build: Build) -> None:
    tokenizer = build_chat_tokenizer(build.folder / "chat", build.seed)
    build_chat_model(build.folder / "chat", tokenizer, build.seed, build.steps, in_training)


def build_sentence_encoder(build: Build) -> None:
    """The encoder shares the chat model's tokenizer, which is built before."""
    tokenizer = AutoTokenizer.from_pretrained(build.folder / "chat")
    build_encoder(build.folder / "encoder", tokenizer, build.seed, build.steps, in_training)


def in_folder(name: str, build_model: Callable[[Path, int, int, Allowed], None]) -> Callable[[Build], None]:
    """Builds a model in a folder of this name."""
    return lambda build: build_model(build.folder / name, build.seed, build.steps, in_training)


BUILDERS: dict[str, Callable[[Build], None]] = {
    "prompts": build_prompts,
    "constitution": build_constitution,
    "few_shots": build_few_shots,
    "chat": build_chat,
    "encoder": build_sentence_encoder,
    "classifier": in_folder("classifier", build_harmlessness),
    "reward": in_folder("reward", build_reward),
    "moderation": in_folder("moderation", build_moderation),
    "judge": in_folder("judge", build_judge),
}

if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
