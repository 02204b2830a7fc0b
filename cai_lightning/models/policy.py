"""The model that is trained: a frozen base with a LoRA adapter, or the whole model; opened, sharded, gathered, saved.

policy = open_policy("Qwen/Qwen2.5-3B-Instruct", Lora(r=16), "bfloat16", attn_implementation="packed")
save_policy(policy, trained_state(policy), folder)  # ready for `from_pretrained`; adapters.py writes an adapter
"""

import copy
import importlib.util
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig, PreTrainedModel

from cai_lightning.models import attention  # noqa: F401  it registers "packed"
from cai_lightning.models.adapters import (
    Lora,
    Policy,
    add_adapter,
    base_of,
    is_adapted,
    load_adapter,
    save_adapter,
    save_scorer,
)
from cai_lightning.models.hub import DType, load_model
from cai_lightning.run.errors import UserError

Quantization = Literal["nf4", "fp4", "int8"]


def open_policy(
    name: str,
    lora: Lora | None,
    dtype: DType,
    quantization: Quantization | None = None,
    gradient_checkpointing: bool = False,
    adapter: Path | None = None,
    **settings: Any,
) -> Policy:
    """Opens a base and puts an adapter on it, ready for training.

    Args:
        name: Name on the Hugging Face Hub, a folder, or a `.gguf` file.
        lora: Shape of the adapter; null trains the whole model.
        dtype: Type of the base; adapters are in float32.
        quantization: Holds the frozen base in 4 or 8 bits (QLoRA, Dettmers et al. 2023).
        gradient_checkpointing: Computes activations twice to save memory.
        adapter: One to train on, of the shape `lora`; null begins a new one.
        settings: Passed on to transformers, such as `attn_implementation`.

    Raises:
        UserError: The base is not to be had, bitsandbytes is missing, no layer is one of the adapter's targets, or
            one of them is the head, or an embedding that is the head too; or the adapter is another base's.
    """
    if quantization is not None:
        settings["quantization_config"] = _quantization(quantization, lora)
    base = load_model(name, dtype, **settings)
    _keep_layout(base)
    if gradient_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
        base.enable_input_require_grads()
    if lora is None:
        policy: Policy = base
    else:
        policy = add_adapter(base, lora) if adapter is None else load_adapter(base, adapter, lora)
    return policy.train()  # weights are loaded in eval mode


def optimize(policy: Policy, liger: bool, compile_layers: bool) -> None:
    """Puts faster kernels into a model, which change no number but for rounding.

    Args:
        policy: The model.
        liger: Takes liger-kernel's fused norms, rotations and activations.
        compile_layers: Compiles each layer; lengths vary, so shapes are dynamic.

    Raises:
        UserError: liger-kernel is not installed.
    """
    base = base_of(policy)
    if liger:
        if importlib.util.find_spec("liger_kernel") is None:
            raise UserError("model.liger needs liger-kernel: pip install 'cai_lightning[liger]'.")
        from liger_kernel.transformers import _apply_liger_kernel_to_instance

        _apply_liger_kernel_to_instance(base, fused_linear_cross_entropy=False)
    if compile_layers:
        for layer in base.base_model.layers:
            layer.compile(dynamic=True)


def shard(policy: Policy, mesh: DeviceMesh) -> None:
    """Shares out the layers over the processes (FSDP2); embeddings and head, which are frozen, stand on each.

    Args:
        policy: A base with an adapter.
        mesh: That of Lightning's ModelParallelStrategy, of dimensions `data_parallel` and `tensor_parallel`.

    Raises:
        UserError: The whole model is trained, or matrices are to be shared out, which is Lightning's default.
    """
    data, matrices = mesh["data_parallel"], mesh["tensor_parallel"].size()
    if matrices > 1:
        raise UserError(
            f"trainer.strategy: matrices would be shared out over {matrices} processes, which is not supported; set "
            f"data_parallel_size to {data.size() * matrices} and tensor_parallel_size to 1."
        )
    if not is_adapted(policy):
        raise UserError("sharded training is for adapters: set model.lora, or take trainer.strategy ddp.")
    for layer in base_of(policy).base_model.layers:
        # Said, for each layer is the root of its own, which would stay whole after a forward pass: all would be held at
        # once, and Lightning, which resumes after one, would find nothing that is shared out.
        fully_shard(layer, mesh=data, reshard_after_forward=True)


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained, gathered from all processes where they are shared out."""
    trained = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    return {name: p.full_tensor() if isinstance(p, DTensor) else p for name, p in trained.items()}


class Kept:
    """The parameters that are trained, as they are now, to compute with them again later.

    Args:
        module: What is trained; it is not shared out.
    """

    def __init__(self, module: nn.Module) -> None:
        self._kept = [(p, p.detach().clone()) for p in module.parameters() if p.requires_grad]

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Computes with them for a while, which no gradient may go back through."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        torch.clear_autocast_cache()  # it knows parameters by where they are, and not by what they hold
        for place, (parameter, values) in enumerate(self._kept):
            self._kept[place] = parameter, parameter.data
            parameter.data = values.to(parameter.device)


def check_state(module: nn.Module, found: Iterable[str], output: str) -> None:
    """Makes sure that all that is trained is in a checkpoint.

    Args:
        module: What is trained.
        found: The names in the checkpoint.
        output: What the trained parameters are, for the message.

    Raises:
        UserError: Some of it is missing.
    """
    expected = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    if missing := sorted(expected.difference(found)):
        raise UserError(f"the checkpoint lacks {len(missing)} tensors of the {output}, such as {missing[0]}.")


def save_policy(policy: Policy, state: dict[str, Tensor], folder: Path, score: Tensor | None = None) -> None:
    """Writes an adapter as a PEFT directory, with what its base is beside it; or the whole model.

    Args:
        policy: The model that is trained.
        state: Its trained parameters, by name.
        folder: Where it is written.
        score: Weights of a head of one number [1, H], which makes a sequence classifier of it.
    """
    if is_adapted(policy):
        save_adapter(policy, state, folder) if score is None else save_scorer(policy, state, score, folder)
    elif score is None:
        policy.save_pretrained(folder)
    else:
        save_classifier(policy, score, folder)


def save_classifier(model: PreTrainedModel, score: Tensor, folder: Path) -> None:
    """Writes the body of a language model with a head of one number as a sequence classifier of one label.

    Args:
        model: The language model.
        score: Weights of the head [1, H].
        folder: Where it is written.

    Raises:
        UserError: transformers knows no sequence classifier of this architecture, or none with such a head.
    """
    config = copy.deepcopy(model.config)
    config.num_labels = 1
    try:
        with torch.device("meta"):
            classifier = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise UserError(f"{model.name_or_path}: transformers has no sequence classifier of this kind.") from error
    prefix = f"{classifier.base_model_prefix}."
    state = {prefix + name: value for name, value in model.base_model.state_dict().items()}
    found = classifier.load_state_dict(state | {"score.weight": score.to(model.dtype)}, strict=False, assign=True)
    if found.missing_keys or found.unexpected_keys:
        names = ", ".join([*found.missing_keys, *found.unexpected_keys][:4])
        raise UserError(f"{model.name_or_path}: its sequence classifier is built otherwise ({names}).")
    classifier.save_pretrained(folder)


def without_dropout(policy: nn.Module) -> None:
    """Leaves out the dropout of a training, that of attention too, which is no module of its own.

    A ratio of probabilities, to those of a reference or of when an answer was drawn, is then of weights alone.
    """
    for module in policy.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]


def _keep_layout(base: PreTrainedModel) -> None:
    """Stops bitsandbytes from packing weights of 4 bits anew where they are evaluated on a CPU with AVX512-BF16.

    The other form, whose scales are rounded, is never taken back, and its kernel has no gradient: the training after
    the first validation would fail.
    """
    for module in base.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _quantization(kind: Quantization, lora: Lora | None) -> BitsAndBytesConfig:
    if lora is None:
        raise UserError("model.quantization freezes the base, so it needs an adapter: set model.lora.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError("model.quantization needs bitsandbytes: pip install 'cai_lightning[quantization]'.")
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    computed = {"bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": torch.bfloat16}
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, **computed)
