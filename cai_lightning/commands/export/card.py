"""The model card, and the upload to the hub: what the model is, how it is loaded, what it was trained on, its limits.

The licence of a base model, as its own card has it; nothing is guessed.

Text from files in Markdown: what others have named cannot break out of the place that it is given.

table(("setting", "value"), [("model.lora.r", 16)])

Uploads an exported model to the Hugging Face Hub, with the token of the environment or of `hf auth login`.

The token is left to `huggingface_hub`: it is in no file, log or message of ours.

The model card: what the model is, how it is loaded, what it was trained on, how it scored, and its limits.

(folder / "README.md").write_text(model_card(facts, "me/my-model"))
"""

import json
import math
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi, constants, get_token, hf_hub_download
from huggingface_hub import errors as hub_errors

from cai_lightning.commands.export.facts import Facts, Settings
from cai_lightning.models.loading import is_gguf
from cai_lightning.run.errors import UserError
from cai_lightning.run.text import code_span, printable

KEYS = ("license", "license_name", "license_link")
LONGEST = 200
"""Characters of a licence's key."""


def licence(base: str) -> dict[str, str]:
    """The licence's keys in the front matter of the base model's card; empty where it has none or is not to be had.

    Args:
        base: Its name on the Hugging Face Hub, a folder, or a `.gguf` file.
    """
    card = _card(base)
    front = _front_matter(card.read_text(encoding="utf-8", errors="replace")) if card else {}
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


def _front_matter(text: str) -> dict[str, object]:
    if not text.startswith("---\n"):
        return {}
    try:
        front = yaml.safe_load(text[4:].partition("\n---")[0])
    except yaml.YAMLError:
        return {}
    return front if isinstance(front, dict) else {}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; its head is ours, and its cells are shown as code."""
    lines = [head, ["---"] * len(head), *([code_span(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fenced(language: str, text: str) -> str:
    """A block of code; no line of it can end the block, for the text's own words are quoted in it."""
    return f"```{language}\n{text}\n```"


REPOSITORY = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}", re.ASCII)


def check_hub(name: str) -> None:
    """Finds out before the work what would stop the upload after it.

    Raises:
        UserError: The name is no repository's, there is no token, or the Hub is switched off.
    """
    if not REPOSITORY.fullmatch(name):
        raise UserError(f"--push-to-hub {name!r}: expected OWNER/NAME, of letters, digits, '-', '_' and '.'.")
    if constants.HF_HUB_OFFLINE:
        raise UserError("--push-to-hub: HF_HUB_OFFLINE is set, so that nothing can be uploaded.")
    if get_token() is None:
        raise UserError("--push-to-hub: there is no token. Run `hf auth login`, or set HF_TOKEN.")


def push(folder: Path, name: str, public: bool) -> str:
    """Uploads a folder and returns its address.

    Args:
        folder: The exported model.
        name: The repository, such as me/my-model; it is made where there is none.
        public: Makes a new one public; one that exists stays what it is.

    Raises:
        UserError: The Hub cannot be reached or refuses.
    """
    api = HfApi()
    try:
        repository = api.create_repo(name, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=repository.repo_id, folder_path=folder, commit_message="Upload a model fine-tuned by cai_lightning"
        )
    except (hub_errors.HTTPError, OSError, ValueError) as error:  # type: ignore[attr-defined]
        cause = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"{folder} is written, but it could not be uploaded to {name} ({_without_token(cause)}). "
            f"Once that is mended: hf upload {name} {folder}"
        ) from None
    return str(repository)


def _without_token(text: str) -> str:
    token = get_token()
    return text.replace(token, "...") if token else text


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
    corpus = facts.corpus
    if corpus is None:
        yield "The corpus is no longer beside the run; the digest below is of what was read of it."
    else:
        rows: list[tuple[str, object]] = [("revisions in the corpus, all parts", corpus.rows)]
        rows += [(what, corpus.counts[count]) for count, what in COUNTS.items()]
        rows += [("written by", _public(model)) for model in corpus.models]
        rows += [("constitution", constitution) for constitution in corpus.constitutions]
        rows += [("few-shot examples", examples) for examples in corpus.few_shots or ("none",)]
        yield table(("corpus", ""), [*rows, *_shown(facts.predict)])
    if facts.fit:
        yield table(("setting", "value"), _shown(facts.fit))


def _shown(settings: Settings) -> list[tuple[str, str]]:
    return [(key, _public(value)) for key, value in settings.items() if key not in NAMED and value is not None]


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
