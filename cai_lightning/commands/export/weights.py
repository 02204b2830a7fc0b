"""The weights of a run in a form that others load: its adapter, or the whole model.

weights = find_weights(Path("runs/qwen_contextual"), merge=True)
write_weights(weights, folder, "auto")
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cai_lightning.models.adapters import (
    ADAPTER,
    SCORER,
    check_adapter,
    copy_fingerprint,
    load_adapter,
    load_scorer,
    shared_targets,
)
from cai_lightning.models.hub import DType, load_config, load_model, load_tokenizer, open_classifier, opening
from cai_lightning.models.template import frame
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import check, read_json

Kind = Literal["adapter", "merged model", "model"]


@dataclass(frozen=True)
class Weights:
    """What a run has learned.

    Args:
        kind: What is written: the `adapter`, the `merged model` of base and adapter, or the `model` that was
            fine-tuned whole.
        folder: Where the run keeps it.
        base: The base model: its name on the Hub, or a folder.
        config: The adapter's own settings; empty for a model that was fine-tuned whole.
    """

    kind: Kind
    folder: Path
    base: str
    config: dict[str, Any]

    @property
    def scores(self) -> bool:
        """Whether it is a preference model, which scores responses."""
        if self.kind != "model":
            return self.config.get("task_type") == SCORER
        kinds: list[str] = load_config(str(self.folder)).architectures or []
        return any(kind.endswith("ForSequenceClassification") for kind in kinds)

    @property
    def public_base(self) -> str:
        """The base as others can name it: on the Hub; or the last part of a folder's path, as the rest is nobody's
        business, in a form that is no name on the Hub, where it could be somebody else's."""
        is_folder = Path(self.base).exists() or self.base.startswith(("/", "~", "."))
        return f"path/to/{Path(self.base).resolve().name}" if is_folder else self.base


def find_weights(run: Path, merge: bool) -> Weights:
    """What a run has learned, without loading it.

    Raises:
        UserError: There is no such run, it has learned nothing yet, or its adapter is broken or of another base.
    """
    if not run.is_dir():
        raise UserError(f"{run}: no such run.")
    folder, whole = run / "adapter", run / "model"
    if not folder.is_dir() and whole.is_dir():
        settings = manifest.noted(run, "fit")["settings"]
        base = check(str, settings.get("model.model"), str(run / "fit.json"), "settings.model.model")
        return Weights("model", whole, base, {})
    if not folder.is_dir():
        raise UserError(f"{run}: there is no fine-tuned model yet (no folder adapter or model). Run fit first.")
    if not (folder / ADAPTER).is_file():
        raise UserError(f"{folder}: {ADAPTER} is missing; run fit again.")
    path = folder / "adapter_config.json"
    config = read_json(path, dict[str, Any], "adapter configuration")
    base = check(str, config.get("base_model_name_or_path"), str(path), "base_model_name_or_path")
    check_adapter(load_config(base), folder)
    return Weights("merged model" if merge else "adapter", folder, base, config)


def write_weights(weights: Weights, folder: Path, dtype: DType, public: bool = False) -> None:
    """Writes weights and tokenizer.

    Args:
        weights: What a run has learned.
        folder: Where it is written.
        dtype: Type of the weights written.
        public: Names the base of an adapter as others can, and not by the place of its folder on this machine.

    Raises:
        UserError: The weights cannot be read, or are not finite.
    """
    kept = (weights.folder / "tokenizer_config.json").is_file()  # beside the weights, what was trained with
    tokenizer = load_tokenizer(str(weights.folder) if kept else weights.base)
    if weights.kind == "adapter":
        _write_adapter(weights, folder, dtype, public)
    else:
        model = _merged(weights, dtype) if weights.kind == "merged model" else _whole(weights, dtype)
        if weights.scores:
            _name_padding(model, tokenizer)
        else:
            _end_with_the_turn(model, tokenizer)
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _write_adapter(weights: Weights, folder: Path, dtype: DType, public: bool) -> None:
    """Writes the tensors, and what is said of the base; that of a folder holds from anywhere on this machine."""
    source = weights.folder
    with opening("adapter", str(source)):
        tensors = load_file(source / ADAPTER)
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise UserError(f"{source}: {len(broken)} tensors of the adapter are not finite, such as {broken[0]}.")
    if dtype != "auto":
        tensors = {name: tensor.to(getattr(torch, dtype)) for name, tensor in tensors.items()}
    save_file(tensors, folder / ADAPTER, metadata={"format": "pt"})
    here = str(Path(weights.base).resolve()) if Path(weights.base).exists() else weights.base
    base = weights.public_base if public else here
    config = json.dumps(weights.config | {"base_model_name_or_path": base}, indent=2, ensure_ascii=False)
    (folder / "adapter_config.json").write_text(config + "\n", encoding="utf-8")
    copy_fingerprint(source, folder, base)


def _merged(weights: Weights, dtype: DType) -> PreTrainedModel:
    """The base with the adapter in its weights: exact in float32, and rounded once where it is saved in 16 bits.

    A merge in bfloat16 would round both the update and the sum. Only the layer at work is in float32.
    """
    if weights.scores:
        policy: PeftModel = load_scorer("preference model", weights.folder, "auto")
    else:
        policy = load_adapter(load_model(weights.base), weights.folder)
    target = policy.get_base_model().dtype if dtype == "auto" else getattr(torch, dtype)
    if shared := shared_targets(policy):
        raise UserError(
            f"{weights.folder}: the adapter changes {shared[0].rpartition('.')[2]}, and the embeddings of "
            f"{weights.base} are its output head too: merged, the update would change both. Export without --merge."
        )
    for layer in [module for module in policy.modules() if isinstance(module, BaseTunerLayer)]:
        layer.float()
        try:
            layer.merge(safe_merge=True)
        except ValueError as error:
            raise UserError(f"{weights.folder}: the adapter cannot be merged ({error}).") from error
        layer.get_base_layer().to(target)
    return policy.unload().to(target)


def _whole(weights: Weights, dtype: DType) -> PreTrainedModel:
    """The model that was fine-tuned whole."""
    if not weights.scores:
        return load_model(str(weights.folder), dtype)
    number_format = torch.float32 if dtype == "auto" else getattr(torch, dtype)
    model, _ = open_classifier("preference model", str(weights.folder), torch.device("cpu"), number_format)
    return model


def _name_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Names the padding token of a preference model, so that others score in batches; one that ends conversations
    would move the place at which a score is read."""
    end = tokenizer.convert_tokens_to_ids(frame(tokenizer).end_of_turn)
    config = model.config.get_text_config()
    if config.pad_token_id is None and tokenizer.pad_token_id not in (end, tokenizer.eos_token_id):
        config.pad_token_id = tokenizer.pad_token_id


def _end_with_the_turn(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Makes `generate` and vLLM stop where the model has learned to end its turn, which need not be the end of text."""
    end = tokenizer.convert_tokens_to_ids(frame(tokenizer).end_of_turn)
    config = model.generation_config
    stops = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    if end not in stops:
        config.eos_token_id = [*(stop for stop in stops if stop is not None), end]
