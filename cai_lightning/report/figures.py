"""Figures in the files of other verbs, as they may be: shares, intervals and counts. What cannot be is a `ValueError`.

share(document["win_rate"])
"""

from typing import Any

from cai_lightning.record_files import is_number


def share(value: Any) -> float | None:
    """A number from 0 to 1; None where there is none."""
    if value is None:
        return None
    if is_number(value) and 0 <= value <= 1:
        return float(value)
    raise ValueError(f"a number from 0 to 1 expected, found {value!s:.60}")


def interval(value: Any) -> tuple[float, float] | None:
    """Two finite numbers; None where there are none."""
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 2 and all(map(is_number, value)):
        return float(value[0]), float(value[1])
    raise ValueError(f"two finite numbers expected, found {value!s:.60}")


def count(value: Any) -> int:
    """A whole number from 0 on."""
    if type(value) is int and value >= 0:
        return value
    raise ValueError(f"a whole number from 0 on expected, found {value!s:.60}")
