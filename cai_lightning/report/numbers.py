"""Numbers in words, alike in all tables.

>>> p_value(0.0123), p_value(0.0001)
('0.012', '<0.001')
"""

from cai_lightning.statistics import Interval

NOTHING = "-"


def number(estimate: Interval, sign: str = "") -> str:
    """A mean with its interval."""
    if estimate.mean is None:
        return NOTHING
    digits = 3 if max(map(abs, (estimate.mean, *(estimate.interval or ())))) < 1 else 2
    mean = f"{estimate.mean:{sign}z.{digits}f}"
    if estimate.interval is None:
        return mean
    return f"{mean} [{', '.join(f'{end:z.{digits}f}' for end in estimate.interval)}]"


def p_value(p: float | None) -> str:
    """A p-value to three digits."""
    return NOTHING if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
