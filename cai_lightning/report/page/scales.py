"""A scale for one axis of a plot on the page: places in per cent of its width, so that plots are as wide as the screen.

>>> scale = scale_over([0.12, 0.87])
>>> scale.low, scale.high, scale.place(0.5)
(0.0, 1.0, 50.0)
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
INTERVALS = 5
"""Most intervals between ticks."""


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    place: float
    label: str


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, both multiples of `step`."""

    low: float
    high: float
    step: float

    def place(self, value: float) -> float:
        """Where a value stands, from 0 to 100."""
        return round(min(100.0, max(0.0, 100 * (value - self.low) / (self.high - self.low))), 2)

    @property
    def ticks(self) -> list[Tick]:
        count = round((self.high - self.low) / self.step)
        return [Tick(round(100 * n / count, 2), self._label(self.low + n * self.step)) for n in range(count + 1)]

    def _label(self, value: float) -> str:
        digits = len(f"{self.step:.10g}".partition(".")[2])
        return f"{round(value, 10) + 0.0:.{digits}f}"


def scale_over(values: Iterable[float]) -> Scale:
    """The smallest scale of round numbers that holds these values; without any it goes from 0 to 1."""
    known = list(values) or [0.0, 1.0]
    low, high = min(known), max(known)
    if low == high:
        low, high = low - 0.5, high + 0.5
    step = _step((high - low) / INTERVALS)
    return Scale(step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9), step)


def whole_scale(values: Iterable[float]) -> Scale:
    """The scale of these values; scores from 0 to 1 are shown on all of it, lest small differences look large."""
    known = list(values)
    return scale_over([*known, 0.0, 1.0] if known and min(known) >= 0 and max(known) <= 1 else known)


def _step(least: float) -> float:
    """The least round number that is not smaller."""
    power = _power_below(least)
    return next(power * step for step in STEPS if power * step >= least * (1 - 1e-9))


def _power_below(value: float) -> float:
    return float(10.0 ** math.floor(math.log10(value)))
