"""What a step of training costs: operations and memory, counted from the layers before it, and measured as it goes on.

costs = count_costs(policy)
costs.flops(tokens=4096, supervised=3000) / seconds / matrix_rate(device, dtype)  # model FLOPs utilization
"""

import resource
import time
from dataclasses import dataclass
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import Optimizer

from cai_lightning.models.adapters import Policy, base_of, head_of

HEAP = 1.4
"""How many times their size activations take on a CPU, measured with SmolLM2 in float32 and bfloat16: the heap does not
give back what is freed between those that are kept."""


class Throughput(Callback):
    """Logs, once a step: `grad_norm` (before clipping), `learning_rate`, `tokens_per_s` (padding left out, over all
    devices), `mfu` and `memory_gb`.

    MFU is the share of the device's rate of multiplying matrices in the precision of the training, measured once before
    the first step, of the operations that the module counts by `flops(batch)`, as every `PolicyModule` does. Memory is
    the peak since the beginning, on a CPU that of the process.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rate = matrix_rate(pl_module.device, _dtype(str(trainer.precision)))
        self._restart()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restart()

    on_validation_end = on_train_epoch_start

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        pl_module.log("grad_norm", torch.nn.utils.get_total_norm(gradients), batch_size=1)
        pl_module.log("learning_rate", optimizer.param_groups[0]["lr"], batch_size=1)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._tokens += batch["tokens"]
        self._flops += cast(Any, pl_module).flops(batch)
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        seconds = time.perf_counter() - self._began
        figures = {"mfu": self._flops / seconds / self._rate, "memory_gb": peak_bytes(pl_module.device) / 1e9}
        speed = self._tokens * trainer.world_size / seconds
        pl_module.log("tokens_per_s", speed, prog_bar=True, batch_size=1)
        pl_module.log_dict(figures, batch_size=1)
        self._restart()

    def _restart(self) -> None:
        self._began, self._tokens, self._flops = time.perf_counter(), 0, 0.0


@dataclass(frozen=True)
class Costs:
    """Sizes of a model in training.

    Args:
        parameters: All parameters.
        trained: Those that are trained.
        bytes_held: Bytes of the parameters.
        exact: Weights of linear layers that are held in 32 bits.
        body: Operations of one token in the linear layers, forward and backward, the head left out.
        head: Operations of one token in the head, likewise.
        width: Numbers that go into and come out of the linear layers for one token.
        layers: Number of transformer layers.
        hidden: Size of the hidden state.
    """

    parameters: int
    trained: int
    bytes_held: int
    exact: int
    body: int
    head: int
    width: int
    layers: int
    hidden: int

    def flops(self, tokens: int, supervised: int) -> float:
        """Operations of forward and backward. Attention scores and what gradient checkpointing repeats are not counted.

        Args:
            tokens: Tokens of the batch.
            supervised: Those that are learned, which alone go through the head.
        """
        return float(tokens * self.body + supervised * self.head)

    def activation_bytes(self, tokens: int, bytes_each: int, checkpointing: bool) -> int:
        """About how many bytes the activations of a batch take.

        Args:
            tokens: Tokens of the batch.
            bytes_each: Bytes of a number: 2 in bfloat16.
            checkpointing: Whether only the inputs of the layers are kept, and one layer at a time is computed again.
        """
        kept = self.layers * self.hidden + self.width // self.layers if checkpointing else self.width
        return tokens * bytes_each * kept

    def copied_bytes(self, bytes_each: int) -> int:
        """Bytes of the copies that mixed precision makes of 32-bit weights, and keeps from forward to backward."""
        return 2 * self.exact if bytes_each == 2 else 0

    def statement(
        self, tokens: int, bytes_each: int, checkpointing: bool, logits: int, process: int | None = None
    ) -> str:
        """Two lines for a person: what is trained, and about how much memory that takes on each device.

        Args:
            tokens: Tokens of the largest batch.
            bytes_each: Bytes of a number of its activations.
            checkpointing: Whether they are computed twice.
            logits: Bytes of the logits that are there at a time.
            process: On a CPU, the bytes that the process takes before the first step; None on another device.
        """
        activations = self.activation_bytes(tokens, bytes_each, checkpointing)
        parts = {
            "weights": self.bytes_held,
            "copies of them in 16 bits": self.copied_bytes(bytes_each),
            "gradients and optimizer": 12 * self.trained,  # AdamW has two moments, all in float32
            f"activations of up to {tokens:,} tokens": round(activations * (1 if process is None else HEAP)),
            "logits": logits,
            "the program": max(0, (process or 0) - self.bytes_held),
        }
        listed = ", ".join(f"{size / 1e9:.2f} {name}" for name, size in parts.items() if size)
        return (
            f"{self.parameters / 1e6:,.1f} M parameters, {self.trained / 1e6:,.2f} M of them trained\n"
            f"memory: about {sum(parts.values()) / 1e9:.1f} GB ({listed})"
        )


def count_costs(policy: Policy) -> Costs:
    """Counts what stands in `Costs`."""
    head = head_of(policy)
    config = base_of(policy).config.get_text_config(decoder=True)
    body = [layer for layer in base_of(policy).modules() if isinstance(layer, nn.Linear) and layer is not head]
    parameters = list(policy.parameters())
    uncounted = sum(layer.in_features * layer.out_features - layer.weight.numel() for layer in body)  # where quantized
    return Costs(
        parameters=uncounted + sum(p.numel() for p in parameters),
        trained=sum(p.numel() for p in parameters if p.requires_grad),
        bytes_held=sum(p.numel() * p.element_size() for p in parameters),
        exact=sum(layer.weight.numel() for layer in (*body, head) if layer.weight.dtype == torch.float32),
        body=sum(_operations(layer) for layer in body),
        head=_operations(head),
        width=sum(layer.in_features + layer.out_features for layer in body),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
    )


def _operations(layer: nn.Linear) -> int:
    """Of one token: 4 a multiplication (forward, and back to the inputs), 2 more where the weight is trained."""
    return layer.in_features * layer.out_features * (6 if layer.weight.requires_grad else 4)


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a device that multiplies matrices."""
    from torch.utils.benchmark import Timer  # imports what compiles

    size = 8192 if device.type == "cuda" else 1024
    matrix = torch.ones(size, size, device=device, dtype=dtype)
    product = Timer("matrix @ matrix", globals={"matrix": matrix}, num_threads=torch.get_num_threads())
    return 2 * size**3 / product.timeit(3).mean  # warmed up, and waited for on a GPU


def peak_bytes(device: torch.device) -> int:
    """The most memory that was held so far: on the device, or by the process where that is the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _dtype(precision: str) -> torch.dtype:
    if "bf16" in precision:
        return torch.bfloat16
    return torch.float16 if "16" in precision else torch.float32
