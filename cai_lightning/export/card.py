"""The model card: what the model is, how it is loaded, what it was trained on, how it scored, and its limits.

(folder / "README.md").write_text(model_card(facts, "me/my-model"))
"""

import json
import math
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from cai_lightning.export.facts import Facts
from cai_lightning.export.hub import REPOSITORY
from cai_lightning.export.licence import licence
from cai_lightning.export.markdown import code, fenced, table
from cai_lightning.report.runs import printable

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM has room for."""

LIMITS = """\
## Intended use and limits

Research on Constitutional AI (Bai et al. 2022, [arXiv 2212.08073](https://arxiv.org/abs/2212.08073)): the model was
fine-tuned on revisions that a model made of its own responses to red-team prompts, by the principles of a constitution.

- It can still be led to harmful answers, and it may refuse what is harmless. No test here shows that it is safe.
- What it knows, and what is false in that, is the base model's; the fine-tuning adds a manner of answering.
- The scores are of single answers to test prompts of the same source, by evaluators with biases of their own.
- The base model's licence and terms of use hold for this model too."""


def model_card(facts: Facts, name: str) -> str:
    """The card of an exported model, its values as code, so that nothing in them is markup.

    Args:
        facts: What is known of the run.
        name: What the model is loaded by: its folder, or its name on the Hub.
    """
    front = yaml.safe_dump(_front(facts), sort_keys=False, allow_unicode=True)
    body = [f"# {code(facts.run)}", _about(facts), _usage(facts, name), *_training(facts), _evaluation(facts), LIMITS]
    return f"---\n{front}---\n\n" + "\n\n".join(body) + "\n"


def _front(facts: Facts) -> dict[str, Any]:
    is_adapter = facts.weights.kind == "adapter"
    front: dict[str, Any] = dict(licence(facts.weights.base))
    if not Path(facts.weights.base).exists() and REPOSITORY.fullmatch(facts.weights.base):
        front |= {"base_model": facts.weights.base, "base_model_relation": "adapter" if is_adapter else "finetune"}
    lora = [] if facts.weights.kind == "model" else ["lora"]
    return front | {
        "library_name": "peft" if is_adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["constitutional-ai", "sl-cai", "cai_lightning", *lora],
    }


def _about(facts: Facts) -> str:
    what = {
        "adapter": "A LoRA adapter for",
        "merged model": "A LoRA adapter merged into",
        "model": "A fine-tuned copy of",
    }[facts.weights.kind]
    base = Path(facts.weights.base)
    name = f"a local folder named {code(base.resolve().name)}" if base.exists() else code(facts.weights.base)
    merge = ""
    if facts.weights.kind == "merged model":
        merge = " The merge was computed in float32, and rounded once where the weights below are of a 16-bit type."
    return f"{what} {name}, made with cai_lightning: supervised fine-tuning on constitutional revisions.{merge}"


def _usage(facts: Facts, name: str) -> str:
    quoted, base = json.dumps(printable(name)), json.dumps(printable(facts.weights.base))
    shell = shlex.quote(printable(name))
    if facts.weights.kind == "adapter":
        load = (
            "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            f'base = AutoModelForCausalLM.from_pretrained({base}, dtype="auto")\n'
            f"model = PeftModel.from_pretrained(base, {quoted})\n"
        )
        serve = (
            f"vllm serve {shlex.quote(printable(facts.weights.base))} --enable-lora "
            f"--max-lora-rank {_room(facts.weights.config)} --lora-modules cai={shell}"
        )
    else:
        load = (
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            f'model = AutoModelForCausalLM.from_pretrained({quoted}, dtype="auto")\n'
        )
        serve = f"vllm serve {shell}"
    load += f"tokenizer = AutoTokenizer.from_pretrained({quoted})"
    dora = "vLLM does not serve DoRA adapters: merge this one.\n\n" if facts.weights.config.get("use_dora") else ""
    return f"## Use\n\n{fenced('python', load)}\n\n{dora}{fenced('bash', serve)}"


def _room(config: Mapping[str, Any]) -> int:
    """The smallest rank that vLLM has room for and that this adapter fits."""
    patterns = config.get("rank_pattern") or {}
    rank = max(int(config.get("r") or 0), *(int(value) for value in patterns.values()), 0)
    return next((room for room in RANKS if room >= rank), rank)


def _training(facts: Facts) -> Iterator[str]:
    yield "## Training"
    corpus = facts.corpus
    if corpus is None:
        yield "The corpus is no longer beside the run; the digest below is of what was read of it."
    else:
        rows: list[tuple[str, object]] = [("revisions in the corpus, all parts", corpus.rows)]
        rows += [("written by", model if not Path(model).exists() else Path(model).name) for model in corpus.models]
        rows += [("constitution", constitution) for constitution in corpus.constitutions]
        rows += [(key, value) for key, value in facts.predict.items() if key.startswith("model.selector.")]
        yield table(("corpus", ""), rows)
    if facts.fit:
        shown = [(key, value) for key, value in facts.fit.items() if key != "model.model" and value is not None]
        yield table(("setting", "value"), shown)


def _evaluation(facts: Facts) -> str:
    rows = [_score(column, entry) for column, entry in facts.scores.items() if entry.get("not_run") is None]
    found = table(("score", "better", "mean", "95 % interval", "scored", "unscored"), rows) if rows else ""
    return f"## Evaluation\n\n{found or facts.unscored or 'No evaluator has run.'}"


def _score(column: str, entry: Mapping[str, Any]) -> tuple[object, ...]:
    interval = entry.get("ci95")
    low_high = " to ".join(map(_number, interval)) if isinstance(interval, list) else "?"
    counts = [entry.get(name, "?") for name in ("scored", "unscored")]
    return column, entry.get("direction", "?"), _number(entry.get("mean")), low_high, *counts


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) and math.isfinite(value) else "?"
