"""What a verb says at its end about rows that failed."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cai_lightning.errors import UserError
from cai_lightning.report.runs import printable

MOST_REASONS = 3
MOST_LETTERS = 160


def tell_failures(reasons: Sequence[str], tried: int, where: str) -> None:
    """Warns of rows that failed.

    Args:
        reasons: Why, one reason for each row.
        tried: How many rows the verb has tried.
        where: Where they stand, such as `set aside in failed.jsonl`.

    Raises:
        UserError: All of them failed.
    """
    if not reasons:
        return
    text = (
        f"{len(reasons)} of the {tried} rows tried failed and are {where}: {_by_reason(reasons)}. "
        "The same command tries them again."
    )
    if len(reasons) == tried:
        raise UserError(text)
    print(f"warning: {text}", file=sys.stderr)


def tell_missing(ids: Sequence[str], tests: int, path: Path) -> None:
    """Warns of test prompts that got no response and were not to get one.

    Args:
        ids: Those without a response.
        tests: How many test prompts there are.
        path: The file of responses.
    """
    if not ids:
        return
    shown = ", ".join(ids[:MOST_REASONS]) + (", ..." if len(ids) > MOST_REASONS else "")
    print(f"warning: {len(ids)} of the {tests} test prompts have no response in {path}: {shown}", file=sys.stderr)


def _by_reason(reasons: Sequence[str]) -> str:
    counts = Counter(reason if len(reason) <= MOST_LETTERS else f"{reason[:MOST_LETTERS]}..." for reason in reasons)
    shown = [f"{count} x {printable(reason)}" for reason, count in counts.most_common(MOST_REASONS)]
    others = len(counts) - len(shown)
    return "; ".join([*shown, f"{others} other reasons"] if others else shown)
