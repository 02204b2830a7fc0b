"""Logs what every training run is watched by: gradient norm, learning rate, tokens per second, MFU and memory."""

import resource
import time
from typing import Any, Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

MATRIX = {"cuda": 8192, "cpu": 1024}
"""Rows of the square matrices by whose product the device's rate is measured."""


@runtime_checkable
class Costly(Protocol):
    """What knows the floating-point operations of a batch."""

    def flops(self, batch: Any) -> float:
        """Operations of forward and backward."""


class Throughput(Callback):
    """Logs, once a step: `grad_norm` (before clipping), `learning_rate`, `tokens_per_s` (padding left out, over all
    devices), `mfu` and `memory_gb`.

    MFU is the share of the device's rate of multiplying matrices in the precision of the training, measured once before
    the first step. Memory is the peak since the beginning, on a CPU that of the process.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rate = matrix_rate(pl_module.device, _dtype(str(trainer.precision)))
        self._restart()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restart()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restart()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        pl_module.log("grad_norm", torch.nn.utils.get_total_norm(gradients), batch_size=1)
        pl_module.log("learning_rate", optimizer.param_groups[0]["lr"], batch_size=1)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._tokens += batch["tokens"]
        self._flops += pl_module.flops(batch) if isinstance(pl_module, Costly) else 0.0
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


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a device that multiplies matrices."""
    size = MATRIX.get(device.type, MATRIX["cpu"])
    matrix = torch.ones(size, size, device=device, dtype=dtype)
    _ = matrix @ matrix
    _wait(device)
    began = time.perf_counter()
    for _ in range(3):
        matrix @ matrix
    _wait(device)
    return 3 * 2 * size**3 / (time.perf_counter() - began)


def peak_bytes(device: torch.device) -> int:
    """The most memory that was held so far: on the device, or by the process where that is the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _dtype(precision: str) -> torch.dtype:
    if "bf16" in precision:
        return torch.bfloat16
    return torch.float16 if "16" in precision else torch.float32
