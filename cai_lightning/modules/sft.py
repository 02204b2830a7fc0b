"""Supervised fine-tuning of a LoRA adapter on the cleaned revisions: the end of SL-CAI (Bai et al. 2022, 3.1)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, get_scheduler

from cai_lightning.data.collate import IGNORED, Batch
from cai_lightning.engines.loading import DType, load_model, load_tokenizer, save_fingerprint
from cai_lightning.errors import UserError


@dataclass(frozen=True)
class Lora:
    """Shape of the adapter (Hu et al. 2021), as PEFT names it.

    Args:
        r: Rank of the update.
        alpha: Its scale; the update is multiplied by alpha / r.
        dropout: Share of the adapter's inputs dropped in training.
        target_modules: Layers that get an update; `all-linear` takes every linear layer but the output head.
    """

    r: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: str | list[str] = "all-linear"


class SupervisedFineTuning(LightningModule):
    """Trains a LoRA adapter; the loss is the cross-entropy of the response's tokens, each of which counts the same.

    Args:
        model: Base model: name on the Hugging Face Hub, or a folder.
        lora: Shape of the adapter.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Of AdamW.
        warmup: Share of all steps in which the learning rate rises, from 0 to 1.
        schedule: What the learning rate does after that: `constant` as in the paper, `cosine` or `linear` down to 0.
        base_dtype: Type of the frozen base; the adapter is in float32.
        gradient_checkpointing: Computes activations twice to save memory.
        attn_implementation: Attention kernel, such as `flash_attention_2`; null lets transformers choose.
    """

    INCIDENTAL = frozenset({"gradient_checkpointing", "attn_implementation"})

    def __init__(
        self,
        model: str,
        lora: Lora = Lora(),
        learning_rate: float = 1e-4,
        weight_decay: float = 0.0,
        warmup: float = 0.03,
        schedule: Literal["constant", "cosine", "linear"] = "constant",
        base_dtype: DType = "auto",
        gradient_checkpointing: bool = False,
        attn_implementation: str | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.lora = lora
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.schedule = schedule
        self.base_dtype: DType = base_dtype
        self.gradient_checkpointing = gradient_checkpointing
        self.attn_implementation = attn_implementation
        self.strict_loading = False
        self.policy: PeftModel | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base model's tokenizer, loaded on first use."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.model)
        return self._tokenizer

    def configure_model(self) -> None:
        if self.policy is not None:
            return
        base = load_model(self.model, self.base_dtype, attn_implementation=self.attn_implementation)
        base.config.use_cache = False
        if self.gradient_checkpointing:
            base.gradient_checkpointing_enable({"use_reentrant": False})
            base.enable_input_require_grads()
        config = LoraConfig(
            r=self.lora.r,
            lora_alpha=self.lora.alpha,
            lora_dropout=self.lora.dropout,
            target_modules=self.lora.target_modules,
            task_type="CAUSAL_LM",
        )
        self.policy = get_peft_model(base, config).train()  # weights are loaded in eval mode
        # Constants; a process with fewer batches to validate on would be waited for when they are sent around.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=self.learning_rate, weight_decay=self.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = "constant_with_warmup" if self.schedule == "constant" else self.schedule
        scheduler = get_scheduler(schedule, optimizer, round(self.warmup * steps), steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss, tokens = self._loss(batch)
        self.log("train_loss", loss, prog_bar=True, batch_size=tokens)
        return loss * tokens / batch["expected_tokens"]

    def on_validation_epoch_start(self) -> None:
        self._loss_and_tokens = torch.zeros(2, device=self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss, tokens = self._loss(batch)
        self._loss_and_tokens += torch.stack([loss.detach() * tokens, loss.new_tensor(tokens)])

    def on_validation_epoch_end(self) -> None:
        """Logs the mean over the tokens of all processes, one of which may have had no rows."""
        loss, tokens = self.trainer.strategy.reduce(self._loss_and_tokens, reduce_op="sum")
        self.log("val_loss", loss / tokens, prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leaves the frozen base out of the checkpoint."""
        checkpoint["state_dict"] = dict(get_peft_model_state_dict(self._adapted()))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Loads the adapter; a tensor that is missing is an error, for PEFT would initialise it anew in silence."""
        state = checkpoint.pop("state_dict")
        expected = get_peft_model_state_dict(self._adapted()).keys()
        if missing := sorted(expected - state.keys()):
            raise UserError(f"the checkpoint lacks {len(missing)} tensors of the adapter, such as {missing[0]}.")
        set_peft_model_state_dict(self._adapted(), state)
        checkpoint["state_dict"] = {}

    def save_adapter(self, folder: Path) -> None:
        """Writes the adapter as a PEFT directory, with what its base looks like beside it."""
        policy = self._adapted()
        policy.save_pretrained(folder)
        save_fingerprint(policy.get_base_model(), folder)
        self.tokenizer.save_pretrained(folder)

    def _loss(self, batch: Batch) -> tuple[Tensor, int]:
        base = self._adapted().get_base_model()
        hidden = base.base_model(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        return supervised_loss(hidden, batch["labels"], base.get_output_embeddings())

    def _adapted(self) -> PeftModel:
        assert self.policy is not None, "configure_model comes first"
        return self.policy


def supervised_loss(hidden: Tensor, labels: Tensor, head: nn.Module) -> tuple[Tensor, int]:
    """Mean cross-entropy of the next token over the supervised places, the only ones that get logits.

    Args:
        hidden: Last hidden states [B, L, H].
        labels: Tokens [B, L], `IGNORED` where nothing is learned; place t is predicted from place t - 1.
        head: From hidden states to logits over the vocabulary.

    Returns:
        The loss, and over how many tokens it is the mean.
    """
    target = labels[:, 1:]
    kept = target != IGNORED
    logits = head(hidden[:, :-1][kept]).float()
    return nn.functional.cross_entropy(logits, target[kept]), int(kept.sum())
