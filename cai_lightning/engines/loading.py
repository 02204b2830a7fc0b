"""Opening a causal language model, its tokenizer and its adapter, with nothing silently initialised or mismatched."""

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from cai_lightning.engines.fingerprint import check_adapter
from cai_lightning.errors import UserError
from cai_lightning.pretrained import DType as DType
from cai_lightning.pretrained import opening


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model; padding falls back on the end-of-text token where there is none.

    Raises:
        UserError: The model is not to be had.
    """
    with opening("language model", name):
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def load_config(name: str) -> PreTrainedConfig:
    """The shapes of a model, without its weights.

    Raises:
        UserError: The model is not to be had.
    """
    with opening("language model", name):
        return AutoConfig.from_pretrained(name, trust_remote_code=False)


def load_model(name: str, dtype: DType = "auto", **settings: Any) -> PreTrainedModel:
    """A causal language model; every tensor of it comes from its files.

    Args:
        name: Name on the Hugging Face Hub, or a folder.
        dtype: `auto` takes the type of the files.
        settings: Passed on, such as `attn_implementation`.

    Raises:
        UserError: The model is not to be had, or its files lack tensors.
    """
    kind = "auto" if dtype == "auto" else getattr(torch, dtype)
    with opening("language model", name):
        model, info = AutoModelForCausalLM.from_pretrained(
            name, dtype=kind, trust_remote_code=False, output_loading_info=True, **settings
        )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise UserError(f"language model {name!r}: its files lack {len(missing)} tensors, such as {missing[0]}.")
    return model


def dtype_on(device: torch.device, dtype: DType) -> DType:
    """The type to serve a model in: `auto` is float32 on a CPU that does not compute in bfloat16, as it would crawl."""
    if dtype != "auto" or device.type != "cpu":
        return dtype
    has = torch.cpu.get_capabilities()
    return "auto" if any(has.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else "float32"


def context_length(model: PreTrainedModel) -> int:
    """How many tokens a conversation may have, the reply included."""
    return int(model.config.get_text_config(decoder=True).max_position_embeddings)


def load_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """The model with a LoRA adapter.

    Raises:
        UserError: The folder holds no adapter, one that was trained on another base, or one that lacks tensors.
    """
    check_adapter(model.config, folder)
    try:
        with opening("adapter", str(folder)):
            policy = PeftModel.from_pretrained(model, folder)
            found = policy.load_adapter(folder, policy.active_adapter)  # from_pretrained does not return this
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{folder}: this adapter is broken or of another base ({error!s:.200}).") from error
    if found.missing_keys:
        raise UserError(f"{folder}: this adapter lacks {_count(found.missing_keys)}; run fit again.")
    if found.unexpected_keys:
        raise UserError(f"{folder}: the base has no place for {_count(found.unexpected_keys)} of this adapter.")
    return policy


def _count(names: list[str]) -> str:
    return f"{len(names)} tensors (such as {min(names)})"


def is_whole_model(folder: Path) -> bool:
    """Whether a folder holds a model of its own, as fit leaves it where it trains no adapter."""
    return (folder / "config.json").exists() and not (folder / "adapter_config.json").exists()
