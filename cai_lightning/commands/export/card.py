"""The model card: what the model is, how it is loaded, what it was trained on, how it scored, and its limits.

    facts = read_facts(Path("runs/qwen_contextual"), weights)
    (folder / "README.md").write_text(model_card(facts, "me/my-model"))

What the run's own notes say is gathered first. Whatever others have named is shown as code, in which nothing is markup.
The licence is that of the base model's own card; nothing is guessed.
"""

import json
import math
import re
import shlex
from argparse import ArgumentError
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import errors as hub_errors
from huggingface_hub import hf_hub_download
from huggingface_hub.repocard import metadata_load
from jsonargparse import ArgumentParser

from cai_lightning.commands.export.weights import Weights
from cai_lightning.data import RevisionData
from cai_lightning.data.revisions import RecordedRevision, read_revisions
from cai_lightning.models.hub import is_gguf
from cai_lightning.report.summary import FILE, read_summary
from cai_lightning.report.table import Row, Table
from cai_lightning.run import manifest
from cai_lightning.run.config import load_yaml
from cai_lightning.run.errors import UserError
from cai_lightning.run.reading import read_json
from cai_lightning.run.text import code_span, printable

KEYS = ("license", "license_name", "license_link")
LONGEST = 200
"""Characters of a licence's key."""

REPOSITORY = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}", re.ASCII)

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM has room for."""

COUNTS = {
    "cut": "replies in it cut at their limit of tokens",
    "meta_commentary": "stripped of meta-commentary",
    "typography": "with typographic marks made plain",
    "accents": "with accents taken off",
    "other_letters": "dropped for letters that are not English",
    "empty": "dropped as empty",
}
"""What was changed and left out when the corpus was read, as the card words it."""

NAMED = {"model.model", "model.engine.model", "digest of constitution", "digest of few-shots"}
"""Settings that the card gives in words."""

LIMITS = """\
## Intended use and limits

Research on Constitutional AI (Bai et al. 2022, [arXiv 2212.08073](https://arxiv.org/abs/2212.08073)): the model was
fine-tuned on revisions that a model made of its own responses to red-team prompts, by the principles of a constitution.

- It can still be led to harmful answers, and it may refuse what is harmless. No test here shows that it is safe.
- What it knows, and what is false in that, is the base model's; the fine-tuning adds a manner of answering.
- The scores are of single answers to test prompts of the same source, by evaluators with biases of their own.
- The base model's licence and terms of use hold for this model too."""


Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """All that a model card says, as it was found; none of it is fit to print yet.

    Args:
        run: Name of the run.
        weights: What is exported.
        fit: The settings of the training, by dotted name.
        predict: Those of the revisions; empty where their notes are not beside them.
        corpus: What is known of the corpus, by the card's words for it; None where it is no longer there.
        scores: `metrics` of the run's summary, by column, if it speaks of this very model; otherwise empty.
        unscored: Why there are no scores.
    """

    run: str
    weights: Weights
    fit: Settings
    predict: Settings
    corpus: Sequence[tuple[str, object]] | None
    scores: Mapping[str, Mapping[str, Any]]
    unscored: str = ""


def read_facts(run: Path, weights: Weights) -> Facts:
    """Reads what there is; a note that is missing is left out of the card.

    Raises:
        UserError: A note is broken.
    """
    fit = _settings(run / "fit.json")
    data = _data(run, fit.get("digest of corpus"))
    source = (data.corpus or run / "revisions.jsonl") if data else None
    scores, unscored = _scores(run, weights)
    return Facts(
        run.resolve().name,
        weights,
        fit,
        _settings(source.with_name("predict.json")) if source else {},
        _corpus(source, data.corpus is None, data.counts(run)) if data and source else None,
        scores,
        unscored,
    )


def _settings(path: Path) -> Settings:
    if not path.is_file():
        return {}
    return read_json(path, manifest.Note, "note of a run").settings


def _data(run: Path, digest: object) -> RevisionData | None:
    """What has read the revisions for fit; None where they are gone, are others by now, or it cannot be told."""
    parser, path = ArgumentParser(exit_on_error=False), run / "fit.yaml"
    parser.add_class_arguments(RevisionData, "data")
    try:
        config = load_yaml(path.read_text(encoding="utf-8")) if path.is_file() else {}
        settings = dict(config.get("data", {}).get("init_args", {}))
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not the configuration of a run ({str(error).splitlines()[0]})") from None
    try:
        data: RevisionData = parser.instantiate_classes(parser.parse_object({"data": settings})).data
        return data if data.inputs(run)["corpus"] == digest else None
    except (ArgumentError, ValueError, UserError):
        return None


def _corpus(path: Path, own: bool, counts: Mapping[str, int]) -> list[tuple[str, object]]:
    rows = [row for _, row in read_revisions(path, own)[0]]
    models = sorted({str(row.model) for row in rows if row.model})
    return [
        ("revisions in the corpus, all parts", len(rows)),
        *((what, counts[count]) for count, what in COUNTS.items()),
        *(("written by", _public(model)) for model in models),
        *(("constitution", constitution) for constitution in _named(rows, "constitution")),
        *(("few-shot examples", examples) for examples in _named(rows, "few_shots") or ["none"]),
    ]


def _named(rows: Sequence[RecordedRevision], field: str) -> list[str]:
    """What the revisions were made with, by name and digest."""
    found = [value for row in rows if isinstance(value := getattr(row, field), dict)]
    return sorted({f"{one.get('name')} (digest {one.get('digest')})" for one in found})


def _scores(run: Path, weights: Weights) -> tuple[Mapping[str, Mapping[str, Any]], str]:
    if not (run / FILE).is_file():
        return {}, "This model has not been evaluated."
    summary = read_summary(run)
    if summary.get("adapter") != manifest.folder_digest(weights.folder):
        return {}, "The run's scores are those of another model."
    return summary["metrics"], ""


def model_card(facts: Facts, name: str) -> str:
    """The card of an exported model, its values as code, so that nothing in them is markup.

    Args:
        facts: What is known of the run.
        name: What the model is loaded by: its folder, or its name on the Hub.
    """
    front = yaml.safe_dump(_front(facts), sort_keys=False, allow_unicode=True)
    body = [
        f"# {code_span(facts.run)}",
        _about(facts),
        _usage(facts, name),
        *_training(facts),
        _evaluation(facts),
        LIMITS,
    ]
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
    merge = ""
    if facts.weights.kind == "merged model":
        merge = " The merge was computed in float32, and rounded once where the weights are of a 16-bit type."
    base = code_span(facts.weights.public_base)
    end = " The training had not finished: this is the best of it until then." if facts.weights.unfinished else ""
    return f"{what} {base}, made with cai_lightning: supervised fine-tuning on constitutional revisions.{end}{merge}"


def _usage(facts: Facts, name: str) -> str:
    text = _adapter_usage(facts, name) if facts.weights.kind == "adapter" else _model_usage(name)
    config = facts.weights.config
    more = config.get("use_dora") or config.get("modules_to_save") or config.get("bias", "none") != "none"
    if facts.weights.kind == "adapter" and more:
        text += "\n\nvLLM serves no adapter with DoRA, biases or whole modules: it takes this one merged into its base."
    return f"## Use\n\n{text}"


def _adapter_usage(facts: Facts, name: str) -> str:
    base = printable(facts.weights.public_base)
    load = (
        "from peft import PeftModel\n"
        f"from transformers import AutoModelForCausalLM, AutoTokenizer{', GgufConfig' if is_gguf(base) else ''}\n\n"
        f"base = AutoModelForCausalLM.from_pretrained({_opened(base)})\n"
        f"model = PeftModel.from_pretrained(base, {_quoted(name)})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({_quoted(name)})"
    )
    serve = fenced(
        "bash",
        f"vllm serve {shlex.quote(base)} --enable-lora --max-lora-rank {_room(facts.weights.config)} "
        f"--lora-modules cai={shlex.quote(printable(name))}",
    )
    if is_gguf(base):
        serve = "vLLM reads no `.gguf` file: it takes this adapter merged into its base."
    note = f"Its base was read from a folder: put the place of your copy where {code_span(base)} stands.\n\n"
    return f"{note if base != facts.weights.base else ''}{fenced('python', load)}\n\n{serve}"


def _opened(base: str) -> str:
    """What transformers opens a base by; a `.gguf` file by its folder and its name in there."""
    if not is_gguf(base):
        return f'{json.dumps(base)}, dtype="auto"'
    folder, _, file = base.rpartition("/")
    unpacked = 'quantization_config=GgufConfig(dequantize=True), dtype="bfloat16"'
    return f"{json.dumps(folder)}, gguf_file={json.dumps(file)}, {unpacked}"


def _model_usage(name: str) -> str:
    load = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'model = AutoModelForCausalLM.from_pretrained({_quoted(name)}, dtype="auto")\n'
        f"tokenizer = AutoTokenizer.from_pretrained({_quoted(name)})"
    )
    return f"{fenced('python', load)}\n\n{fenced('bash', f'vllm serve {shlex.quote(printable(name))}')}"


def _quoted(name: str) -> str:
    return json.dumps(printable(name))


def _public(value: object) -> str:
    """A value as others can use it: of a path from this machine's root its last part, the rest is nobody's business."""
    text = str(value)
    return f"path/to/{Path(text).name}" if text.startswith(("/", "~", "..")) else text


def _room(config: Mapping[str, Any]) -> int:
    """The smallest rank that vLLM has room for and that this adapter fits."""
    patterns = config.get("rank_pattern") or {}
    rank = max(int(config.get("r") or 0), *(int(value) for value in patterns.values()), 0)
    return next((room for room in RANKS if room >= rank), rank)


def _training(facts: Facts) -> Iterator[str]:
    yield "## Training"
    if facts.corpus is None:
        yield "The corpus is no longer beside the run; the digest below is of what was read of it."
    else:
        rows = [*facts.corpus, *_shown(facts.predict)]
        yield table({"corpus": name, "": str(value)} for name, value in rows)
    if facts.fit:
        yield table({"setting": name, "value": value} for name, value in _shown(facts.fit))


def _shown(settings: Settings) -> list[tuple[str, str]]:
    return [(key, _public(value)) for key, value in settings.items() if key not in NAMED and value is not None]


def _evaluation(facts: Facts) -> str:
    rows = [_score(column, entry) for column, entry in facts.scores.items() if entry.get("not_run") is None]
    return f"## Evaluation\n\n{table(rows) if rows else facts.unscored or 'No evaluator has run.'}"


def _score(column: str, entry: Mapping[str, Any]) -> Row:
    interval = entry.get("ci95")
    return {
        "score": column,
        "better": str(entry.get("direction", "?")),
        "mean": _number(entry.get("mean")),
        "95 % interval": " to ".join(map(_number, interval)) if isinstance(interval, list) else "?",
        "scored": str(entry.get("scored", "?")),
        "unscored": str(entry.get("unscored", "?")),
    }


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) and math.isfinite(value) else "?"


def licence(base: str) -> dict[str, str]:
    """The licence's keys in the front matter of the base model's card; empty where it has none or is not to be had.

    Args:
        base: Its name on the Hugging Face Hub, a folder, or a `.gguf` file.
    """
    front = _front_matter(_card(base))
    found = {key: front.get(key) for key in KEYS}
    return {key: value for key, value in found.items() if isinstance(value, str) and 0 < len(value) <= LONGEST}


def _card(base: str) -> Path | None:
    if Path(base).exists():
        card = Path(base) / "README.md"
        return card if card.is_file() else None
    try:
        return Path(hf_hub_download(base, "README.md"))
    except (OSError, hub_errors.EntryNotFoundError, hub_errors.HFValidationError):  # no card, or no network
        return None


def _front_matter(card: Path | None) -> dict[str, Any]:
    try:
        return (metadata_load(card) if card else None) or {}
    except (ValueError, yaml.YAMLError):  # no text, no YAML, or no object
        return {}


def table(rows: Iterable[Row]) -> str:
    """A table; its headings are ours, and its fields are shown as code."""
    return Table("", list(rows)).markdown(lambda text: code_span(text).replace("|", "\\|"))


def fenced(language: str, text: str) -> str:
    """A block of code; no line of it can end the block, for the text's own words are quoted in it."""
    return f"```{language}\n{text}\n```"
