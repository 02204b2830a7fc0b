"""The base of every training: it opens a policy, optimizes, measures, saves and resumes it. An objective adds its loss.

    @dataclass(eq=False, repr=False)
    class Focal(PolicyModule):
        gamma: float = 2.0

        def summed_loss(self, batch: Batch) -> tuple[Tensor, int]: ...

The fields of the class are its constructor's arguments, and so its settings in a configuration; the `Args:` of its
docstring explain them in `--model.help`.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cai_lightning.callbacks.costs import Costs, count_costs, peak_bytes
from cai_lightning.data.batches import IGNORED, Batch
from cai_lightning.models.adapters import Lora, Policy, base_of, head_of, shape_of
from cai_lightning.models.attention import boundaries, install_packed
from cai_lightning.models.hub import DType, dtype_on, load_tokenizer
from cai_lightning.models.policy import (
    Kept,
    Quantization,
    check_state,
    open_policy,
    optimize,
    save_policy,
    shard,
    trained_state,
)
from cai_lightning.modules.architecture import check_architecture
from cai_lightning.modules.losses import CHUNK_BYTES
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError

Schedule = Literal["constant", "cosine", "linear"]
AFTER_WARMUP = {"constant": "constant", "cosine": "along a cosine down to 0", "linear": "in a line down to 0"}


@dataclass(eq=False, repr=False)
class PolicyModule(LightningModule, ABC):
    """Trains a LoRA adapter, or the whole model, on the mean loss of all that a step learns from.

    Args:
        model: Base model: name on the Hugging Face Hub, a folder, or a `.gguf` file.
        lora: Shape of the adapter; null trains the whole model, which is then saved in the run's folder `model`.
        adapter: Adapter that the training starts from, such as `runs/qwen_contextual/adapter`; `lora` is then its own
            shape, and may say another dropout. Null starts from the base model.
        chat_template_kwargs: Arguments of the chat template, such as `{enable_thinking: false}`, as the engines take
            them; the tokenizer that is saved has them in its template.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Of AdamW.
        warmup: While the learning rate rises: a share of all steps below 1, a number of steps from 1 on.
        schedule: What the learning rate does after that: `constant` as in the paper, `cosine` or `linear` down to 0.
        base_dtype: Type of the base; adapters are in float32. `auto` takes that of the files, or float32 on a CPU that
            does not compute in bfloat16, and where the whole model is trained: 16 bits are too coarse to add small
            steps to.
        quantization: Holds the frozen base in 4 (`nf4`, `fp4`) or 8 bits (`int8`); needs bitsandbytes.
        gradient_checkpointing: Computes activations twice to save memory.
        attn_implementation: Attention kernel, such as `flash_attention_2`; null takes torch's own, conversation by
            conversation, or the model's own where the architecture's cannot be exchanged.
        compile_layers: Compiles the layers with torch.compile; the first steps take minutes.
        liger: Takes liger-kernel's fused norms, rotations and activations (CUDA).
        seed: Of the adapter's first weights and of dropout, whose random numbers follow from it and the step, so that
            a resumed run draws the same ones.
    """

    NOT_FINGERPRINTED = frozenset(
        {"gradient_checkpointing", "attn_implementation", "compile_layers", "liger", "adapter"}
    )

    monitor: ClassVar[tuple[str, Literal["min", "max"]]] = ("val_loss", "min")
    """The figure of a validation by which the best state is kept, and whether it is to be low or high."""

    keeps_start: ClassVar[bool] = False
    """Whether what the training starts from stays at hand, as `start`."""

    model: str
    lora: Lora | None = Lora()
    adapter: Path | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    warmup: float = 0.03
    schedule: Schedule = "constant"
    base_dtype: DType = "auto"
    quantization: Quantization | None = None
    gradient_checkpointing: bool = False
    attn_implementation: str | None = None
    compile_layers: bool = False
    liger: bool = False
    seed: int = 42

    def __post_init__(self) -> None:
        kind = type(self)
        if "__dataclass_params__" not in vars(kind) and vars(kind).get("__annotations__"):
            raise TypeError(f"{kind.__name__}: make it a @dataclass(eq=False, repr=False), or it has no settings.")
        if kind.__hash__ is None:
            raise TypeError(f"{kind.__name__}: give its @dataclass eq=False, for modules are looked up by identity.")
        super().__init__()
        self.strict_loading = False
        self.policy: Policy
        self.start: Kept
        self._noted: dict[str, Tensor] = {}
        if self.adapter is not None:
            self.lora = shape_of(self.adapter, self.lora)
        self.rate = LearningRate(self.learning_rate, self.warmup, self.schedule)

    @abstractmethod
    def summed_loss(self, batch: Batch) -> tuple[Tensor, int]:
        """The loss of a batch.

        Args:
            batch: Conversations; `self.hidden_states(batch)` and `self.head` lead to their logits.

        Returns:
            The sum over what is learned from, and over how much of it: tokens, pairs or whatever `batch["step_tokens"]`
            counts in the whole step.
        """

    def note(self, **figures: Tensor) -> None:
        """Notes figures of the batch at work, whose means are logged as `train_NAME` and `val_NAME`.

        Args:
            figures: For each name a number for each of the N things that the batch is learned from [N], the same names
                for every batch; or K numbers each [N, K], of whose K means the absolute values are summed, as in an
                error of calibration over K bins.
        """
        self._noted |= {name: values.detach().double() for name, values in figures.items()}

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base model's tokenizer, loaded on first use."""
        return load_tokenizer(self.model, self.chat_template_kwargs)

    def inputs(self, run: Path) -> dict[str, str]:
        """Digest of the adapter that the training starts from.

        Raises:
            UserError: It is the one that this run writes, or its own training has not finished.
        """
        if self.adapter is None:
            return {}
        if self.adapter.resolve() == (run / "adapter").resolve():
            raise UserError(f"model.adapter: {self.adapter} is what this run writes; choose another --run.")
        if why := manifest.unfinished(self.adapter):
            raise UserError(f"model.adapter: {why}. The same fit command goes on with it; or start from a copy of it.")
        return {"adapter": manifest.folder_digest(self.adapter)}

    @property
    def output(self) -> Literal["adapter", "model"]:
        """The run's folder in which the best state is kept."""
        return "model" if self.lora is None else "adapter"

    @property
    def base(self) -> PreTrainedModel:
        """The model under the adapter, with the adapter's layers in it."""
        return base_of(self.policy)

    @property
    def head(self) -> nn.Linear:
        """The projection of hidden states to logits over the vocabulary."""
        return head_of(self.policy)

    def hidden_states(self, batch: Batch) -> Tensor:
        """The last hidden states [B, L, H] of a batch, packed or padded."""
        inputs: dict[str, Any] = {"position_ids": batch["position_ids"], "attention_mask": batch.get("attention_mask")}
        inputs["use_cache"] = False  # the model's own settings stay as they are, for they are saved with it
        if "lengths" in batch:
            name = self.base.config._attn_implementation
            inputs |= boundaries(batch["lengths"], name, self.device, batch.get("prefixes", ()))
        hidden: Tensor = self.base.base_model(batch["input_ids"], **inputs).last_hidden_state
        return hidden

    def configure_model(self) -> None:
        if hasattr(self, "policy"):
            return
        torch.manual_seed(self.seed)  # the adapter begins alike on every process, under any strategy
        self.policy = open_policy(
            self.model,
            self.lora,
            self._type_of_base(),
            self.quantization,
            self.gradient_checkpointing,
            self.adapter,
            attn_implementation=self.attn_implementation,
        )
        if self.attn_implementation is None:
            install_packed(self.base)
        optimize(self.policy, self.liger, self.compile_layers)
        if self.keeps_start:
            self.start = Kept(self.policy)
        if self.device_mesh is not None:
            shard(self.policy, self.device_mesh)
        # Constants; a process with fewer batches to validate on would be waited for when they are sent around.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=self.learning_rate, weight_decay=self.weight_decay)
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise UserError("the training has no end: set trainer.max_epochs or trainer.max_steps.")
        scheduler = self.rate.scheduler(optimizer, int(steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        precision = str(self.trainer.precision)
        if self.lora is not None and precision in ("bf16-true", "16-true"):
            raise UserError(
                f"trainer.precision {precision} holds the adapter in 16 bits, which rounds small steps away; "
                f"set {precision.replace('true', 'mixed')}."
            )
        check_architecture(self.base, self.hidden_states, self.trainer.datamodule.packing)  # type: ignore[attr-defined]
        self.begin()

    def begin(self) -> None:
        """What an objective does before the first step and the first validation; nothing, unless it says otherwise."""

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Random numbers follow from the place in the training alone, so that a resumed run draws the same ones."""
        place = f"{self.seed}:{self.current_epoch}:{batch_idx}:{self.global_rank}"
        torch.manual_seed(int.from_bytes(hashlib.sha256(place.encode()).digest()[:8], "big"))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The share of this batch in the mean over the tokens of its step.

        Lightning divides by the batches of a step and averages over processes; both are undone here.
        """
        loss, tokens = self.summed_loss(batch)
        if tokens:
            self.log("train_loss", loss.detach() / tokens, prog_bar=True, batch_size=tokens)
            means = {f"train_{name}": _mean(values.sum(0), len(values)) for name, values in self._noted.items()}
            self.log_dict(means, batch_size=tokens)
        self._noted.clear()
        return loss * (self.trainer.accumulate_grad_batches * self.trainer.world_size / batch["step_tokens"])

    def on_validation_epoch_start(self) -> None:
        self._loss_and_tokens = torch.zeros(2, device=self.device, dtype=torch.float64)
        self._sums: dict[str, Tensor] = {}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss, tokens = self.summed_loss(batch)
        self._loss_and_tokens += torch.stack([loss.detach().double(), loss.new_tensor(tokens).double()])
        for name, values in self._noted.items():
            found = torch.cat([values.sum(0).flatten(), values.new_tensor([len(values)])])
            self._sums[name] = self._sums[name] + found if name in self._sums else found
        self._noted.clear()

    def on_validation_epoch_end(self) -> None:
        """Logs the means over what all processes have learned from, one of which may have had no rows."""
        loss, tokens = self._over_all(self._loss_and_tokens)
        self.log("val_loss", (loss / tokens).float(), prog_bar=True)
        for name, sums in sorted(self._sums.items()):
            *found, count = self._over_all(sums)
            self.log(f"val_{name}", _mean(torch.stack(found), count))

    def _over_all(self, sums: Tensor) -> Tensor:
        total: Tensor = self.trainer.strategy.reduce(sums, reduce_op="sum")
        return total

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leaves the frozen base out of the checkpoint."""
        checkpoint["state_dict"] = trained_state(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Makes sure that all that is trained is there.

        Lightning loads it after this, but where layers are shared out: there it has been loaded before, and taken out.
        """
        state = checkpoint.get("state_dict")
        if state is None:
            path = str(self.trainer.ckpt_path)
            if Path(path).is_dir():  # torch itself refuses a checkpoint of many files that lacks tensors
                return
            state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)["state_dict"]
        check_state(self, state, self.output)

    def save(self, folder: Path, trained: dict[str, Tensor]) -> None:
        """Writes the adapter, or the whole model, and the tokenizer; what has a `score` as a sequence classifier.

        Args:
            folder: Where it is written.
            trained: What `models.policy.trained_state` has gathered.
        """
        state = {name.removeprefix("policy."): value for name, value in trained.items()}
        save_policy(self.policy, state, folder, score=state.pop("score.weight", None))
        self.tokenizer.save_pretrained(folder)

    @cached_property
    def costs(self) -> Costs:
        """What a step costs, counted from the layers."""
        return count_costs(self.policy)

    def flops(self, batch: Batch) -> float:
        """Operations of a batch, forward and backward."""
        return self.costs.flops(batch["tokens"], int((batch["labels"] != IGNORED).sum()))

    def statement(self) -> str:
        """What is trained, about how much memory that takes on each device, and what the learning rate does."""
        tokens = self.trainer.datamodule.most_tokens  # type: ignore[attr-defined]
        bytes_each = 2 if "16" in str(self.trainer.precision) else 4
        process = peak_bytes(self.device) if self.device.type == "cpu" else None
        costs = self.costs.statement(tokens, bytes_each, self.gradient_checkpointing, 2 * CHUNK_BYTES, process)
        rate = self.rate.statement(int(self.trainer.estimated_stepping_batches))
        return f"{self.model}: {costs}\nlearning rate: {rate}"

    def _type_of_base(self) -> DType:
        if self.lora is None and self.base_dtype == "auto":
            return "float32"
        return dtype_on(self._trainer.strategy.root_device if self._trainer else torch.device("cpu"), self.base_dtype)


def _mean(sums: Tensor, count: Tensor | int) -> Tensor:
    """The mean of a figure; of one of several numbers the sum of their absolute means."""
    means = sums.flatten() / count
    return (means[0] if len(means) == 1 else means.abs().sum()).float()


@dataclass(frozen=True)
class LearningRate:
    """What the learning rate does over a training: a rise to the peak, and what follows.

    Args:
        peak: The highest learning rate.
        warmup: While it rises: a share of all steps below 1, a number of steps from 1 on.
        schedule: What it does after that.

    Raises:
        ValueError: The warm-up is neither a share nor a whole number.
    """

    peak: float
    warmup: float
    schedule: Schedule

    def __post_init__(self) -> None:
        if self.warmup < 0 or (self.warmup > 1 and self.warmup != int(self.warmup)):
            raise ValueError(f"model.warmup: must be a share from 0 to 1 or a whole number of steps, not {self.warmup}")

    def rise(self, steps: int) -> int:
        """The number of steps of the warm-up, where the training has so many."""
        return round(self.warmup if self.warmup >= 1 else self.warmup * steps)

    def scheduler(self, optimizer: Optimizer, steps: int) -> LRScheduler:
        """What sets the learning rate of an optimizer from step to step."""
        from transformers import get_scheduler  # with it comes peft, which takes seconds

        name = "constant_with_warmup" if self.schedule == "constant" else self.schedule
        scheduler: LRScheduler = get_scheduler(name, optimizer, self.rise(steps), steps)
        return scheduler

    def statement(self, steps: int) -> str:
        """Such as `rises for 3 of 96 steps to 0.0001, then constant`; a warm-up that never ends is told as such."""
        rise = self.rise(steps)
        if rise >= steps:
            highest = self.peak * (steps - 1) / rise
            return (
                f"rises in all {steps:,} steps to {highest:.3g}, never to {self.peak:g}: model.warmup is {rise:,} steps"
            )
        begins = f"rises for {rise:,} of {steps:,} steps to" if rise else "begins at"
        return f"{begins} {self.peak:g}, then {AFTER_WARMUP[self.schedule]}"
