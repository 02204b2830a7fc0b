"""Figures in words, alike in all tables and messages.

>>> p_value(0.0123), p_value(0.0001)
('0.012', '<0.001')
>>> part(12, 40), part(0, 40, "responses")
('12 of 40 (30 %)', 'none of 40 responses')
>>> by_reason({"no verdict": 5, "timeout": 1})
['5 x no verdict', '1 x timeout']
"""

from collections.abc import Callable, Mapping

from cai_lightning.report.summary import Direction
from cai_lightning.statistics import Interval

NOTHING = "-"
ARROWS: dict[Direction | None, str] = {"higher": "↑ higher is better", "lower": "↓ lower is better", None: ""}
MOST_REASONS = 3
Write = Callable[[float], str]


def number(estimate: Interval, sign: str = "") -> str:
    """A mean, with this sign where it is not below 0, and its interval; to three digits where all is below 1."""
    ends = [abs(end) for end in (estimate.mean, *(estimate.interval or ())) if end is not None]
    digits = 3 if max(ends, default=0.0) < 1 else 2
    words = with_interval(estimate, f"{{:z.{digits}f}}".format)
    return words if words.startswith("-") else sign + words


def with_interval(estimate: Interval, write: Write, unit: str = "") -> str:
    """A mean with its interval on one line.

    Args:
        estimate: The mean and its interval.
        write: Writes one value.
        unit: What stands behind the mean, such as ` %`.
    """
    return " ".join(filter(None, over_interval(estimate, write, unit)))


def over_interval(estimate: Interval, write: Write, unit: str = "") -> tuple[str, str]:
    """The same as two texts, the interval to stand below the mean."""
    if estimate.mean is None:
        return NOTHING, ""
    interval = f"[{', '.join(map(write, estimate.interval))}]" if estimate.interval else ""
    return f"{write(estimate.mean)}{unit}", interval


def in_hundredths(share: float, digits: int = 1) -> str:
    """A share in per cent, without that word."""
    return f"{100 * share:.{digits}f}"


def span(low: int, high: int) -> str:
    """From a number to another one, or that number alone."""
    return f"{low}" if low == high else f"{low} to {high}"


def told(value: float | None, spec: str) -> str:
    """A value in this format."""
    return NOTHING if value is None else format(value, spec)


def per_cent(share: float | None, spec: str = ".0f") -> str:
    """A share in per cent, in this format."""
    return NOTHING if share is None else f"{100 * share:{spec}} %"


def part(count: int, whole: int, of: str = "") -> str:
    """How many of how many."""
    all_of_them = f"{whole} {of}".rstrip()
    return f"{count} of {all_of_them} ({per_cent(count / whole)})" if count else f"none of {all_of_them}"


def p_value(p: float | None) -> str:
    """A p-value to three digits."""
    return NOTHING if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def by_reason(counts: Mapping[str, int]) -> list[str]:
    """How many for each of the first reasons, and how many other reasons there are."""
    told = [f"{count} x {reason}" for reason, count in counts.items()]
    others = len(told) - MOST_REASONS
    return [*told[:MOST_REASONS], f"{others} other reasons"] if others > 0 else told
