"""Opening a causal language model, its tokenizer and its adapter, with nothing silently initialised or mismatched."""

import importlib.util
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from cai_lightning.models.hub import DType as DType
from cai_lightning.models.hub import check_adapter, opening
from cai_lightning.models.template import with_arguments
from cai_lightning.run.errors import UserError

if TYPE_CHECKING:
    from peft import PeftModel

log = logging.getLogger(__name__)


def load_tokenizer(name: str, chat_template_kwargs: Mapping[str, Any] | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model; padding falls back on the end-of-text token where there is none.

    Args:
        name: Name on the Hugging Face Hub, or a folder.
        chat_template_kwargs: Arguments that its chat template is given.

    Raises:
        UserError: The model is not to be had, or its chat template takes no such argument.
    """
    place, file = _source(name)
    with opening("language model", name):
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, **file)
    tokenizer.name_or_path = name
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return with_arguments(tokenizer, chat_template_kwargs)


def warn_of_wording(tokenizer: PreTrainedTokenizerBase, adapter: Path) -> None:
    """Warns where an adapter, or a whole model, was trained on conversations that were worded otherwise."""
    kept = adapter / "chat_template.jinja"
    if kept.is_file() and kept.read_text(encoding="utf-8") != tokenizer.chat_template:
        log.warning(
            "%s was trained with another chat template, or other chat_template_kwargs, than it is asked with; give the "
            "engine those of fit.",
            adapter,
        )


def load_config(name: str) -> PreTrainedConfig:
    """The shapes of a model, without its weights.

    Raises:
        UserError: The model is not to be had.
    """
    place, file = _source(name)
    with opening("language model", name):
        config = AutoConfig.from_pretrained(place, trust_remote_code=False, **file)
    config.name_or_path = name
    return config


def load_model(name: str, dtype: DType = "auto", **settings: Any) -> PreTrainedModel:
    """A causal language model; every tensor of it comes from its files.

    From then on attention is not cuDNN's in this process: on H100 and later torch prefers it, and it plans anew for
    every shape, for longer than it computes.

    Args:
        name: Name on the Hugging Face Hub, a folder, or a `.gguf` file, whose weights are unpacked.
        dtype: `auto` takes the type of the files, and bfloat16 for a `.gguf` file.
        settings: Passed on, such as `attn_implementation`.

    Raises:
        UserError: The model is not to be had, or its files lack tensors.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)
    place, file = _source(name)
    if file:
        settings |= _unpacked(name, settings)
        dtype = "bfloat16" if dtype == "auto" else dtype
    kind = "auto" if dtype == "auto" else getattr(torch, dtype)
    with opening("language model", name):
        model, info = AutoModelForCausalLM.from_pretrained(
            place, dtype=kind, trust_remote_code=False, output_loading_info=True, **file, **settings
        )
    model.name_or_path = model.config.name_or_path = name
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise UserError(f"language model {name!r}: its files lack {len(missing)} tensors, such as {missing[0]}.")
    return model


def is_gguf(name: str) -> bool:
    """Whether a model is named by a file of llama.cpp's format, which holds tokenizer and chat template, too."""
    return Path(name).suffix == ".gguf"


def dtype_on(device: torch.device, dtype: DType) -> DType:
    """The type to serve a model in: `auto` is float32 on a CPU that does not compute in bfloat16, as it would crawl."""
    if dtype != "auto" or device.type != "cpu":
        return dtype
    has = torch.cpu.get_capabilities()
    return "auto" if any(has.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else "float32"


def context_length(model: PreTrainedModel) -> int:
    """How many tokens a conversation may have, the reply included."""
    return int(model.config.get_text_config(decoder=True).max_position_embeddings)


def load_adapter(model: PreTrainedModel, folder: Path) -> "PeftModel":
    """The model with a LoRA adapter.

    Raises:
        UserError: The folder holds no adapter, one that was trained on another base, or one that lacks tensors.
    """
    from peft import PeftModel

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


def _source(name: str) -> tuple[str, dict[str, str]]:
    """What transformers opens a model by: a `.gguf` file by its folder and its name in there.

    Raises:
        UserError: There is no such file, or the package that reads it is missing.
    """
    if not is_gguf(name):
        return name, {}
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"language model {name!r}: there is no such file.")
    if importlib.util.find_spec("gguf") is None:
        raise UserError(f"language model {name!r}: this needs gguf: pip install 'cai_lightning[gguf]'.")
    return str(path.parent), {"gguf_file": path.name}


def _unpacked(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Asks for weights in numbers, which can be trained, and not in the file's blocks; some versions do only that."""
    if "quantization_config" in settings:
        raise UserError(
            f"language model {name!r}: a .gguf file is not quantized anew; make a folder of it with "
            "scripts/convert_gguf.py, and name that."
        )
    known = getattr(transformers, "GgufConfig", None)
    return {"quantization_config": known(dequantize=True)} if known else {}


def shared_targets(policy: torch.nn.Module) -> list[str]:
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
