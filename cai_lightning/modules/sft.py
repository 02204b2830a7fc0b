"""Supervised fine-tuning on the cleaned revisions: the end of SL-CAI (Bai et al. 2022, 3.1)."""

import hashlib
import math
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cai_lightning.callbacks.throughput import peak_bytes
from cai_lightning.data.batches import IGNORED, Batch
from cai_lightning.models import packed_attention, policy
from cai_lightning.models.loading import DType, dtype_on, load_tokenizer
from cai_lightning.models.policy import Lora, Policy, Quantization, base_of, head_of, open_policy, optimize, shard
from cai_lightning.modules.costs import Costs, count_costs
from cai_lightning.modules.isolation import check_isolation
from cai_lightning.modules.learning_rate import LearningRate, Schedule
from cai_lightning.modules.losses import check_loss, supervised_loss
from cai_lightning.run.errors import UserError


class SupervisedFineTuning(LightningModule):
    """Trains a LoRA adapter, or the whole model; the loss is the mean cross-entropy of all supervised tokens of a step.

    Args:
        model: Base model: name on the Hugging Face Hub, a folder, or a `.gguf` file.
        lora: Shape of the adapter; null trains the whole model, which is then saved in the run's folder `model`.
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

    INCIDENTAL = frozenset({"gradient_checkpointing", "attn_implementation", "compile_layers", "liger"})

    def __init__(
        self,
        model: str,
        lora: Lora | None = Lora(),
        chat_template_kwargs: dict[str, Any] | None = None,
        learning_rate: float = 1e-4,
        weight_decay: float = 0.0,
        warmup: float = 0.03,
        schedule: Schedule = "constant",
        base_dtype: DType = "auto",
        quantization: Quantization | None = None,
        gradient_checkpointing: bool = False,
        attn_implementation: str | None = None,
        compile_layers: bool = False,
        liger: bool = False,
        seed: int = 42,
    ) -> None:
        super().__init__()
        self.model = model
        self.lora = lora
        self.chat_template_kwargs = chat_template_kwargs
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.schedule: Schedule = schedule
        self.base_dtype: DType = base_dtype
        self.quantization: Quantization | None = quantization
        self.gradient_checkpointing = gradient_checkpointing
        self.attn_implementation = attn_implementation
        self.compile_layers = compile_layers
        self.liger = liger
        self.seed = seed
        self.strict_loading = False
        self._rate = LearningRate(learning_rate, warmup, schedule)
        self.policy: Policy | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._counted: Costs | None = None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base model's tokenizer, loaded on first use."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.model, self.chat_template_kwargs)
        return self._tokenizer

    @property
    def output(self) -> Literal["adapter", "model"]:
        """The run's folder in which the best state is kept."""
        return "model" if self.lora is None else "adapter"

    def configure_model(self) -> None:
        if self.policy is not None:
            return
        packed_attention.register()
        torch.manual_seed(self.seed)  # the adapter begins alike on every process, under any strategy
        self.policy = open_policy(
            self.model,
            self.lora,
            self._type_of_base(),
            self.quantization,
            self.gradient_checkpointing,
            attn_implementation=self.attn_implementation,
        )
        if self.attn_implementation is None:
            packed_attention.install(base_of(self.policy))
        optimize(self.policy, self.liger, self.compile_layers)
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
        scheduler = self._rate.scheduler(optimizer, int(steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        precision = str(self.trainer.precision)
        if self.lora is not None and precision in ("bf16-true", "16-true"):
            raise UserError(
                f"trainer.precision {precision} holds the adapter in 16 bits, which rounds small steps away; "
                f"set {precision.replace('true', 'mixed')}."
            )
        base = base_of(self._trained())
        check_loss(base, self._summed_loss)
        check_isolation(base, self._hidden_states, self.trainer.datamodule.packing)  # type: ignore[attr-defined]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Random numbers follow from the place in the training alone, so that a resumed run draws the same ones."""
        place = f"{self.seed}:{self.current_epoch}:{batch_idx}:{self.global_rank}"
        torch.manual_seed(int.from_bytes(hashlib.sha256(place.encode()).digest()[:8], "big"))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The share of this batch in the mean over the tokens of its step.

        Lightning divides by the batches of a step and averages over processes; both are undone here.
        """
        loss, tokens = self._summed_loss(batch)
        if tokens:
            self.log("train_loss", loss.detach() / tokens, prog_bar=True, batch_size=tokens)
        return loss * (self.trainer.accumulate_grad_batches * self.trainer.world_size / batch["step_tokens"])

    def on_validation_epoch_start(self) -> None:
        self._loss_and_tokens = torch.zeros(2, device=self.device, dtype=torch.float64)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss, tokens = self._summed_loss(batch)
        self._loss_and_tokens += torch.stack([loss.detach().double(), loss.new_tensor(tokens).double()])

    def on_validation_epoch_end(self) -> None:
        """Logs the mean over the tokens of all processes, one of which may have had no rows."""
        loss, tokens = self.trainer.strategy.reduce(self._loss_and_tokens, reduce_op="sum")
        self.log("val_loss", (loss / tokens).float(), prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leaves the frozen base out of the checkpoint."""
        checkpoint["state_dict"] = self.trained_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Makes sure that all that is trained is there; Lightning then loads it."""
        policy.check(self, checkpoint.get("state_dict", self.state_dict()), self.output)

    def trained_state(self) -> dict[str, Tensor]:
        """The parameters that are trained, gathered from all processes where they are shared out."""
        return policy.gather(self)

    def save(self, folder: Path, trained: dict[str, Tensor]) -> None:
        """Writes the adapter, or the whole model, and the tokenizer.

        Args:
            folder: Where it is written.
            trained: What `trained_state` has gathered.
        """
        state = {name.removeprefix("policy."): value for name, value in trained.items()}
        policy.write(self._trained(), state, folder)
        self.tokenizer.save_pretrained(folder)

    def flops(self, batch: Batch) -> float:
        """Operations of a batch, forward and backward."""
        return self._costs.flops(batch["tokens"], int((batch["labels"] != IGNORED).sum()))

    def statement(self) -> str:
        """What is trained, about how much memory that takes on each device, and what the learning rate does."""
        tokens = self.trainer.datamodule.most_tokens  # type: ignore[attr-defined]
        bytes_each = 2 if "16" in str(self.trainer.precision) else 4
        process = peak_bytes(self.device) if self.device.type == "cpu" else None
        costs = self._costs.statement(tokens, bytes_each, self.gradient_checkpointing, process)
        rate = self._rate.statement(int(self.trainer.estimated_stepping_batches))
        return f"{self.model}: {costs}\nlearning rate: {rate}"

    @property
    def _costs(self) -> Costs:
        if self._counted is None:
            self._counted = count_costs(self._trained())
        return self._counted

    def _summed_loss(self, batch: Batch) -> tuple[Tensor, int]:
        """The summed loss of a batch, and over how many tokens."""
        return supervised_loss(self._hidden_states(batch), batch["labels"], head_of(self._trained()))

    def _hidden_states(self, batch: Batch) -> Tensor:
        base = base_of(self._trained())
        inputs: dict[str, Any] = {"position_ids": batch["position_ids"], "attention_mask": batch.get("attention_mask")}
        inputs["use_cache"] = False  # the model's own settings stay as they are, for they are saved with it
        if "lengths" in batch:
            name = base.config._attn_implementation
            inputs |= packed_attention.boundaries(batch["lengths"], name, self.device)
        hidden: Tensor = base.base_model(batch["input_ids"], **inputs).last_hidden_state
        return hidden

    def _type_of_base(self) -> DType:
        if self.lora is None and self.base_dtype == "auto":
            return "float32"
        return dtype_on(self._trainer.strategy.root_device if self._trainer else torch.device("cpu"), self.base_dtype)

    def _trained(self) -> Policy:
        assert self.policy is not None, "configure_model comes first"
        return self.policy
