"""The model card: what the model is, how it is loaded, what it was trained on, how it scored, and its limits.

    (folder / "README.md").write_text(model_card(Path("runs/qwen_contextual"), weights, "me/my-model"))

It says what the run's own notes say; one that is missing is left out. Whatever others have named is shown as code, in
which nothing is markup. The licence is that of the base model's own card; nothing is guessed.
"""

import json
import math
import re
import shlex
from argparse import ArgumentError
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import errors as hub_errors
from huggingface_hub import hf_hub_download
from huggingface_hub.repocard import metadata_load
from jsonargparse import ArgumentParser

from cai_lightning.commands.export.weights import Weights
from cai_lightning.data import RevisionData
from cai_lightning.data.corpus import RecordedRevision, read_revisions
from cai_lightning.models.adapters import BASE
from cai_lightning.models.hub import is_gguf
from cai_lightning.report.summary import FILE, read_summary
from cai_lightning.report.table import Row, Table
from cai_lightning.run import manifest
from cai_lightning.run.config import load_yaml
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import read_json
from cai_lightning.run.text import code_span, printable

KEYS = ("license", "license_name", "license_link")
LONGEST = 200
"""Characters of a licence's key."""

KINDS = {"adapter": "A LoRA adapter for", "merged model": "A LoRA adapter merged into", "model": "A fine-tuned copy of"}

SUPERVISED = "SupervisedFineTuning"
OBJECTIVES = {
    SUPERVISED: "supervised fine-tuning on constitutional revisions",
    "DirectPreferenceOptimization": "direct preference optimization on comparisons of responses",
    "GRPO": "group relative policy optimization, by rewards for its own answers",
    "PreferenceModel": "a preference model, which scores responses, learned from comparisons of them",
}
"""What a training was for, by the name of its class; of another one its name stands there."""

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

Research on Constitutional AI (Bai et al. 2022, [arXiv 2212.08073](https://arxiv.org/abs/2212.08073)), in which models
learn from what models say of their responses by the principles of a constitution.

- It can still be led to harmful answers, and it may refuse what is harmless. No test here shows that it is safe.
- What it knows, and what is false in that, is the base model's; the fine-tuning adds a manner of answering.
- The scores are of single answers to test prompts of the same source, by evaluators with biases of their own.
- The base model's licence and terms of use hold for this model too."""


Settings = Mapping[str, Any]


def model_card(run: Path, weights: Weights, name: str) -> str:
    """The card of an exported model, its values as code, so that nothing in them is markup.

    Args:
        run: The run that has trained it.
        weights: What is exported of it.
        name: What the model is loaded by: its folder, or its name on the Hub.

    Raises:
        UserError: A note of the run is broken.
    """
    front = yaml.safe_dump(_front(weights), sort_keys=False, allow_unicode=True)
    head = [f"---\n{front}---", f"# {code_span(run.resolve().name)}", _about(weights)]
    parts = [*head, *_usage(weights, name), *_training(run), *_evaluation(run, weights), LIMITS]
    return "\n\n".join(parts) + "\n"


def _front(weights: Weights) -> dict[str, Any]:
    is_adapter, front = weights.kind == "adapter", dict[str, Any](licence(weights.base))
    if not Path(weights.base).exists() and REPOSITORY.fullmatch(weights.base):
        front |= {"base_model": weights.base, "base_model_relation": "adapter" if is_adapter else "finetune"}
    kind = ["sl-cai"] if _objective(weights) == OBJECTIVES[SUPERVISED] else []
    lora = [] if weights.kind == "model" else ["lora"]
    return front | {
        "library_name": "peft" if is_adapter else "transformers",
        "pipeline_tag": "text-classification" if weights.scores else "text-generation",
        "tags": ["constitutional-ai", *kind, "cai_lightning", *lora],
    }


def _about(weights: Weights) -> str:
    merge = end = ""
    if weights.kind == "merged model":
        merge = " The merge was computed in float32, and rounded once where the weights are of a 16-bit type."
    if manifest.unfinished(weights.folder):
        end = " The training had not finished: this is the best of it until then."
    made = f"made with cai_lightning: {_objective(weights)}."
    return f"{KINDS[weights.kind]} {code_span(weights.public_base)}, {made}{end}{merge}"


def _objective(weights: Weights) -> str:
    """What the run was trained to do, by its note; where there is none, by what there was first."""
    trained = str(_settings(weights.folder.parent / "fit.json").get("model.class", SUPERVISED)).rpartition(".")[2]
    return OBJECTIVES.get(trained, code_span(trained))


def _usage(weights: Weights, name: str) -> Iterator[str]:
    """How the model is loaded and served, paragraph by paragraph."""
    yield "## Use"
    if weights.scores:
        yield from _scorer_usage(weights, name)
        return
    if weights.kind == "adapter":
        yield from _adapter_usage(weights, name)
        return
    yield fenced(
        "python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'model = AutoModelForCausalLM.from_pretrained({_quoted(name)}, dtype="auto")\n'
        f"tokenizer = AutoTokenizer.from_pretrained({_quoted(name)})",
    )
    yield fenced("bash", f"vllm serve {shlex.quote(printable(name))}")


def _scorer_usage(weights: Weights, name: str) -> Iterator[str]:
    """How a preference model scores a conversation that ends in a response."""
    labels = ", num_labels=1" if weights.kind == "adapter" else ""
    if labels and weights.public_base != weights.base:
        yield f"Its base was read from a folder: let `{BASE}` in its configuration name the place of your copy."
    yield fenced(
        "python",
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n\n"
        f"model = AutoModelForSequenceClassification.from_pretrained({_quoted(name)}{labels})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({_quoted(name)})\n"
        'inputs = tokenizer.apply_chat_template(conversation, return_tensors="pt", return_dict=True)\n'
        "score = model(**inputs).logits[0, 0]  # of two responses to one prompt the better one has the higher score",
    )


def _adapter_usage(weights: Weights, name: str) -> Iterator[str]:
    base, config = printable(weights.public_base), weights.config
    if base != weights.base:
        yield f"Its base was read from a folder: put the place of your copy where {code_span(base)} stands."
    yield fenced(
        "python",
        "from peft import PeftModel\n"
        f"from transformers import AutoModelForCausalLM, AutoTokenizer{', GgufConfig' if is_gguf(base) else ''}\n\n"
        f"base = AutoModelForCausalLM.from_pretrained({_opened(base)})\n"
        f"model = PeftModel.from_pretrained(base, {_quoted(name)})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({_quoted(name)})",
    )
    lora = f"--enable-lora --max-lora-rank {_room(config)} --lora-modules cai={shlex.quote(printable(name))}"
    if is_gguf(base):
        yield "vLLM reads no `.gguf` file: it takes this adapter merged into its base."
    else:
        yield fenced("bash", f"vllm serve {shlex.quote(base)} {lora}")
    if config.get("use_dora") or config.get("modules_to_save") or config.get("bias", "none") != "none":
        yield "vLLM serves no adapter with DoRA, biases or whole modules: it takes this one merged into its base."


def _opened(base: str) -> str:
    """What transformers opens a base by; a `.gguf` file by its folder and its name in there."""
    if not is_gguf(base):
        return f'{json.dumps(base)}, dtype="auto"'
    folder, _, file = base.rpartition("/")
    unpacked = 'quantization_config=GgufConfig(dequantize=True), dtype="bfloat16"'
    return f"{json.dumps(folder)}, gguf_file={json.dumps(file)}, {unpacked}"


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


def _training(run: Path) -> Iterator[str]:
    yield "## Training"
    fit = _settings(run / "fit.json")
    data = _data(run, fit.get("digest of corpus"))
    if "digest of corpus" not in fit and fit:
        yield "What it has learned from stands in the settings below, by its digest."
    elif data is None:
        yield "The corpus is no longer beside the run; the digest below is of what was read of it."
    else:
        source = data.corpus or run / "revisions.jsonl"
        corpus = _corpus(source, data.corpus is None, data.counts(run))
        made = _shown(_settings(source.with_name("predict.json")))
        yield table({"corpus": name, "": str(value)} for name, value in (*corpus, *made))
    if fit:
        yield table({"setting": name, "value": value} for name, value in _shown(fit))


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


def _shown(settings: Settings) -> list[tuple[str, str]]:
    return [(key, _public(value)) for key, value in settings.items() if key not in NAMED and value is not None]


def _evaluation(run: Path, weights: Weights) -> Iterator[str]:
    """The scores in the run's summary, if it speaks of this very model."""
    yield "## Evaluation"
    summary = read_summary(run) if (run / FILE).is_file() else None
    if summary is None:
        yield "This model has not been evaluated."
    elif summary.get("adapter") != manifest.folder_digest(weights.folder):
        yield "The run's scores are those of another model."
    else:
        rows = [_score(column, entry) for column, entry in summary["metrics"].items() if entry.get("not_run") is None]
        yield table(rows) if rows else "No evaluator has run."


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
    try:
        card = Path(base, "README.md") if Path(base).exists() else hf_hub_download(base, "README.md")
        front: dict[str, Any] = metadata_load(card) or {}
    except (OSError, hub_errors.EntryNotFoundError, ValueError, yaml.YAMLError):  # not to be had, or broken
        return {}
    found = {key: front.get(key) for key in KEYS}
    return {key: value for key, value in found.items() if isinstance(value, str) and 0 < len(value) <= LONGEST}


def table(rows: Iterable[Row]) -> str:
    """A table; its headings are ours, and its fields are shown as code."""
    return Table("", list(rows)).markdown(lambda text: code_span(text).replace("|", "\\|"))


def fenced(language: str, text: str) -> str:
    """A block of code; no line of it can end the block, for the text's own words are quoted in it."""
    return f"```{language}\n{text}\n```"
