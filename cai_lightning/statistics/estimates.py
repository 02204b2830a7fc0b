"""What the statistics return: a mean with its interval, and the difference of two runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval.

    Args:
        mean: The mean of the values; None where there is none.
        low: Lower end of the interval; None where fewer than two prompts tell nothing about the spread.
        high: Upper end of the interval, or None likewise.
        n: Number of values.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int

    @property
    def interval(self) -> list[float] | None:
        """The interval as `summary.json` holds it: [low, high] or None."""
        return None if self.low is None or self.high is None else [self.low, self.high]

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and 0 lies outside."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class PairedDifference:
    """The mean of the differences of two runs over the ids scored in both.

    Args:
        estimate: Mean difference and interval; its `n` is the number of pairs.
        left_out: Number of ids scored in only one of the two.
        p_value: Two-sided p-value of no difference; None where there is no interval.
        effect_size: Cohen's d_z, the mean difference over its standard deviation between prompts; None where all pairs
            differ alike.
        needed: Prompts needed to see a difference of this size with 80 % power; None where no number is enough, or
            where fine-tunings differ, which more prompts do not change.
        needed_seeds: Fine-tunings of each arm of several that are needed likewise, on these prompts; None where they
            do not differ, or where no number is enough.
    """

    estimate: Estimate
    left_out: int
    p_value: float | None = None
    effect_size: float | None = None
    needed: int | None = None
    needed_seeds: int | None = None
