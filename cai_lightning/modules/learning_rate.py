"""What the learning rate does over a training: it rises, then stays as it is or falls to 0.

scheduler = rate.scheduler(optimizer, steps=96)
rate.statement(steps=96)  # "rises for 3 of 96 steps to 0.0001, then constant"
"""

from dataclasses import dataclass
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

Schedule = Literal["constant", "cosine", "linear"]
AFTER = {"constant": "constant", "cosine": "along a cosine down to 0", "linear": "in a line down to 0"}


@dataclass(frozen=True)
class LearningRate:
    """A rise to the peak, and what follows.

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
            raise ValueError(
                f"model.warmup: a share from 0 to 1 or a whole number of steps expected, found {self.warmup}"
            )

    def rise(self, steps: int) -> int:
        """The number of steps of the warm-up, where the training has so many."""
        return round(self.warmup if self.warmup >= 1 else self.warmup * steps)

    def scheduler(self, optimizer: Optimizer, steps: int) -> LRScheduler:
        """What sets the learning rate of an optimizer from step to step."""
        name = "constant_with_warmup" if self.schedule == "constant" else self.schedule
        scheduler: LRScheduler = get_scheduler(name, optimizer, self.rise(steps), steps)
        return scheduler

    def statement(self, steps: int) -> str:
        """What it does, for a person; a warm-up that outlasts the training is told as such."""
        rise = self.rise(steps)
        if rise >= steps:
            highest = self.peak * (steps - 1) / rise
            return (
                f"rises in all {steps:,} steps to {highest:.3g}, never to {self.peak:g}: model.warmup is {rise:,} steps"
            )
        begins = f"rises for {rise:,} of {steps:,} steps to" if rise else "begins at"
        return f"{begins} {self.peak:g}, then {AFTER[self.schedule]}"
