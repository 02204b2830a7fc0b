"""LoRA adapters: put on a base, opened, checked, and saved beside what tells their base.

policy = add_adapter(base, Lora(r=16))
save_adapter(policy, state, folder)
policy = load_adapter(base, folder)  # on no other base than its own
lora = shape_of(folder, asked)       # of one from which a training starts
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from cai_lightning.models.hub import open_tokenizer, opening, weights_revision
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import read_json
from cai_lightning.run.records import FOREIGN

if TYPE_CHECKING:
    from peft import PeftModel
    from typing_extensions import TypeIs

Policy: TypeAlias = "PeftModel | PreTrainedModel"
"""A base with an adapter, or a model that is trained whole."""

ADAPTER = "adapter_model.safetensors"
SCORER = "SEQ_CLS"
"""The task of an adapter that scores, as PEFT calls it: beside it lies a head of one number, `score`."""

BASE = "base_model_name_or_path"
"""The setting in which PEFT keeps the name of its base."""

FINGERPRINT = "base_fingerprint.json"
"""Beside an adapter: the name, the weights and the shapes of its base."""

SHAPES = ("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


@dataclass(frozen=True)
class Lora:
    """Shape of the adapter (Hu et al. 2021), as PEFT names it.

    Args:
        r: Rank of the update.
        alpha: Its scale; the update is multiplied by alpha / r.
        dropout: Share of the adapter's inputs dropped in training.
        target_modules: Layers that get an update; `all-linear` takes every linear layer but the output head.
        use_rslora: Multiplies by alpha / sqrt(r) instead (Kalajdzievski 2023), which keeps high ranks learning.
        use_dora: Learns the length of each weight vector apart from its direction (Liu et al. 2024); slower.
    """

    r: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: str | list[str] = "all-linear"
    use_rslora: bool = False
    use_dora: bool = False


def add_adapter(base: PreTrainedModel, lora: Lora) -> "PeftModel":
    """A base with a new adapter on it.

    Raises:
        UserError: No layer is one of its targets, or one of them is the head, or an embedding that is the head too.
    """
    from peft import LoraConfig, get_peft_model

    shape = {"r": lora.r, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout, "target_modules": lora.target_modules}
    config = LoraConfig(**shape, use_rslora=lora.use_rslora, use_dora=lora.use_dora, task_type="CAUSAL_LM")
    try:
        policy = get_peft_model(base, config)
    except ValueError as error:
        raise UserError(f"model.lora does not fit {base.name_or_path}: {error!s:.300}") from error
    head_of(base)  # without an adapter of its own, for the loss is computed by its weights
    if shared_targets(base):  # it could not be merged
        raise UserError(
            f"{base.name_or_path}: the embeddings are the output head too; take them out of model.lora's targets."
        )
    # PEFT passes over a name that no layer has, as long as another one matches.
    asked = lora.target_modules if isinstance(lora.target_modules, list) else []
    found = [f".{layer}" for layer in policy.base_model.targeted_module_names]
    if absent := [name for name in asked if not any(layer.endswith(f".{name}") for layer in found)]:
        raise UserError(f"model.lora.target_modules: no layer is called {', '.join(absent)}.")
    return policy


def is_adapted(policy: Policy) -> "TypeIs[PeftModel]":
    """Whether there is an adapter on it."""
    from peft import PeftModel

    return isinstance(policy, PeftModel)


def base_of(policy: Policy) -> PreTrainedModel:
    """The model under the adapter, with the adapter's layers in it."""
    base: PreTrainedModel = policy.get_base_model() if is_adapted(policy) else policy
    return base


def head_of(policy: Policy) -> nn.Linear:
    """The projection to the vocabulary.

    Raises:
        UserError: It is no plain linear layer, as when it has an adapter of its own.
    """
    head = base_of(policy).get_output_embeddings()
    if not isinstance(head, nn.Linear):
        raise UserError(
            f"the output head is a {type(head).__name__}, no plain one; take it out of model.lora's targets."
        )
    return head


@dataclass(frozen=True)
class SavedLora:
    """The settings of an adapter, as PEFT writes them."""

    __pydantic_config__ = FOREIGN

    peft_type: str
    task_type: str | None
    r: int
    lora_alpha: int
    target_modules: str | list[str]
    lora_dropout: float = 0.0
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False


def shape_of(folder: Path, asked: Lora | None) -> Lora:
    """The shape of an adapter from which a training starts.

    Args:
        folder: The adapter.
        asked: The shape in the settings, which may be the default one; its dropout is taken, unless it is 0.

    Raises:
        UserError: There is no such adapter, it is none of LoRA for a language model, or another shape was asked for.
    """
    path = folder / "adapter_config.json"
    if not path.exists():
        raise UserError(
            f"model.adapter: {folder} holds no adapter (adapter_config.json is missing); run its fit first."
        )
    saved = read_json(path, SavedLora, "adapter configuration")
    if saved.peft_type != "LORA" or saved.task_type not in (None, "CAUSAL_LM"):
        kind = f"{saved.peft_type}, {saved.task_type}"
        raise UserError(f"model.adapter: {folder} is no LoRA adapter of a language model ({kind}).")
    if saved.lora_bias:
        raise UserError(f"model.adapter: {folder} has biases of its own (lora_bias), which no training here has.")
    if asked is None:
        raise UserError("model.lora: null trains the whole model, which cannot start from an adapter: leave one out.")
    own = Lora(saved.r, saved.lora_alpha, saved.lora_dropout, saved.target_modules, saved.use_rslora, saved.use_dora)
    for name in ("r", "alpha", "use_rslora", "use_dora"):
        wanted, default, found = (getattr(shape, name) for shape in (asked, Lora(), own))
        if wanted not in (default, found):
            raise UserError(f"model.lora.{name}: {wanted}, but {folder} has {found}, which stays: leave it out.")
    return replace(own, dropout=asked.dropout or own.dropout)


def load_adapter(model: PreTrainedModel, folder: Path, lora: Lora | None = None) -> "PeftModel":
    """The model with a LoRA adapter.

    Args:
        model: Its base.
        folder: The adapter.
        lora: Trains it on, with the dropout of this; null only computes with it.

    Raises:
        UserError: The folder holds no adapter, one that was trained on another base, or one that lacks tensors.
    """
    from peft import LoraConfig, PeftConfig, PeftModel

    check_adapter(model.config, folder)
    if is_scorer(folder) and model.config.num_labels != 1:
        raise UserError(f"{folder}: this adapter is a preference model's, which scores responses and makes none.")
    try:
        with opening("adapter", str(folder)):
            config = PeftConfig.from_pretrained(folder)
            if isinstance(config, LoraConfig) and lora is not None:
                config.lora_dropout, config.base_model_name_or_path = lora.dropout, model.name_or_path
            trained = {"is_trainable": lora is not None}
            policy = PeftModel.from_pretrained(model, folder, config=config, **trained)
            found = policy.load_adapter(folder, policy.active_adapter, **trained)  # the other does not return this
    except RuntimeError as error:
        raise UserError(f"{folder}: this adapter is broken or of another base ({error!s:.200}).") from error
    if found.missing_keys:
        raise UserError(f"{folder}: this adapter lacks {_count(found.missing_keys)}; run fit again.")
    if found.unexpected_keys:
        raise UserError(f"{folder}: the base has no place for {_count(found.unexpected_keys)} of this adapter.")
    return policy


@contextmanager
def folded(model: nn.Module) -> Iterator[None]:
    """Computes for a while with the updates of an adapter added to the weights, which is faster, and then with the very
    weights of before: nothing is subtracted.

    Only in float32 on a CPU: 16 bits would round the updates away, and CUDA graphs look where weights were.
    """
    from peft.tuners.lora import Linear

    layers = [layer for layer in model.modules() if isinstance(layer, Linear)]
    weights = [layer.get_base_layer().weight for layer in layers]
    if any((w.dtype, w.device.type) != (torch.float32, "cpu") for w in weights) or shared_targets(model):
        yield
        return
    kept = [weight.data for weight in weights]
    try:
        for layer, weight in zip(layers, weights, strict=True):
            weight.data = weight.data.clone()
            layer.merge()
        yield
    finally:
        for layer, weight, values in zip(layers, weights, kept, strict=True):
            layer.merged_adapters.clear()
            weight.data = values


def save_adapter(policy: "PeftModel", state: dict[str, Tensor], folder: Path) -> None:
    """Writes an adapter as a PEFT directory, with what its base is beside it.

    Args:
        policy: The base with the adapter.
        state: The adapter's tensors, by name.
        folder: Where it is written.
    """
    # Embeddings are never trained with an adapter here; looking for them would ask the Hub each time.
    policy.save_pretrained(folder, state_dict=state, save_embedding_layers=False)
    save_fingerprint(policy.get_base_model().config, folder)


def save_scorer(policy: "PeftModel", state: dict[str, Tensor], score: Tensor, folder: Path) -> None:
    """Writes an adapter and a head of one number as PEFT writes those of sequence classifiers.

    Others load it by `AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)`.

    Args:
        policy: The base, a language model, with the adapter.
        state: The adapter's tensors, by name.
        score: Weights of the head [1, H].
        folder: Where it is written.
    """
    save_adapter(policy, state, folder)
    tensors = load_file(folder / ADAPTER) | {"base_model.model.score.weight": score.detach().cpu().contiguous()}
    save_file(tensors, folder / ADAPTER, metadata={"format": "pt"})
    path = folder / "adapter_config.json"
    config = read_json(path, dict[str, Any], "adapter configuration")
    config |= {"task_type": SCORER, "modules_to_save": ["score"]}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def is_scorer(folder: Path) -> bool:
    """Whether a folder holds an adapter with a head that scores."""
    path = folder / "adapter_config.json"
    return path.exists() and read_json(path, dict[str, Any], "adapter configuration").get("task_type") == SCORER


def open_scorer(
    kind: str, name: str, device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The sequence classifier that an adapter with a head makes of its base, as `hub.open_classifier` opens others.

    Args:
        kind: What it is called in messages.
        name: Folder of the adapter.
        device: Where it computes.
        dtype: In which number format.

    Raises:
        UserError: The base cannot be had, or is another one.
    """
    scorer: PreTrainedModel = load_scorer(kind, Path(name), dtype).get_base_model()
    return scorer.to(device), open_tokenizer(kind, name)


def load_scorer(kind: str, folder: Path, dtype: torch.dtype | Literal["auto"]) -> "PeftModel":
    """A base as a sequence classifier of one label, with an adapter and its head; see `open_scorer`."""
    place = str(read_json(folder / "adapter_config.json", dict[str, Any], "adapter configuration")[BASE])
    with opening(f"base of the {kind}", place):
        base: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            place, num_labels=1, dtype=dtype, trust_remote_code=False
        )
    base.name_or_path = base.config.name_or_path = place
    return load_adapter(base, folder)


def save_fingerprint(base: PreTrainedConfig, folder: Path) -> None:
    """Writes beside an adapter the name of its base, what stands in its weight files, and its shapes."""
    _write(_fingerprint(base), folder)


def copy_fingerprint(source: Path, folder: Path, base: str) -> None:
    """Writes that of one adapter beside a copy of it, where the base goes by another name."""
    if (kept := _read(source)) is not None:
        _write(kept | {"base": base}, folder)


def check_adapter(base: PreTrainedConfig, folder: Path) -> None:
    """Refuses an adapter of another base: one for a deeper base loads on a shallower one without a warning, and one
    for a base of the same shapes on any of them.

    Raises:
        UserError: There is no adapter, the shapes differ, or the weights do where both are known.
    """
    if not (folder / "adapter_config.json").exists():
        raise UserError(f"{folder}: no adapter there (adapter_config.json is missing); run fit first, or name another.")
    trained, found = _read(folder), _fingerprint(base)
    if trained is None:
        return
    for key in SHAPES:
        if trained.get(key) != found[key]:
            raise UserError(
                f"{folder}: this adapter was trained on a base with {key} {trained.get(key)}; "
                f"{found['base']} has {found[key]}."
            )
    weights = trained.get("weights"), found["weights"]
    if None not in weights and weights[0] != weights[1]:
        raise UserError(
            f"{folder}: this adapter was trained on {trained.get('base')} (weights {weights[0]}), and {found['base']} "
            f"(weights {weights[1]}) is another model of the same shapes. Name the first; if the two are the same one "
            f"in other files, remove {folder / FINGERPRINT}."
        )


def _fingerprint(base: PreTrainedConfig) -> dict[str, Any]:
    config = base.to_dict()
    shapes = {key: config.get(key) for key in SHAPES}
    return {"base": base.name_or_path, "weights": weights_revision(base.name_or_path), **shapes}


def _write(content: dict[str, Any], folder: Path) -> None:
    (folder / FINGERPRINT).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _read(folder: Path) -> dict[str, Any] | None:
    """None beside an adapter that was trained elsewhere."""
    path = folder / FINGERPRINT
    return read_json(path, dict[str, Any], "fingerprint of a base") if path.exists() else None


def shared_targets(policy: nn.Module) -> list[str]:
    """The layers of an adapter whose weights are another layer's too, as where the embeddings are the output head.

    Merged into such a weight, an update made for one layer would change both.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import ModulesToSaveWrapper

    holders = Counter(id(weight) for _, weight in policy.named_parameters(remove_duplicate=False))
    bases = {
        name: module.get_base_layer() if isinstance(module, BaseTunerLayer) else module.original_module
        for name, module in policy.named_modules()
        if isinstance(module, BaseTunerLayer | ModulesToSaveWrapper)
    }
    return [name for name, base in bases.items() if any(holders[id(weight)] > 1 for weight in base.parameters())]


def _count(names: list[str]) -> str:
    return f"{len(names)} tensors (such as {min(names)})"


def is_whole_model(folder: Path) -> bool:
    """Whether a folder holds a model of its own, as fit leaves it where it trains no adapter."""
    return (folder / "config.json").exists() and not (folder / "adapter_config.json").exists()
