"""What a verb says at its end about rows that failed, replies that were cut and answers that say nothing.

tell_failures(["timeout"], tried=40, where="set aside in failed.jsonl")
told_cuts(Path("runs/qwen_contextual/revisions.jsonl"))
# "cut at their limit of tokens: 3 of 64 responses (5 %), 10 of 64 critiques (16 %), none of 64 revisions"
"""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from cai_lightning.data.corpus import read_journal
from cai_lightning.data.defects import CUT
from cai_lightning.report.numbers import by_reason, part
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import UNKNOWN, Response
from cai_lightning.run.text import printable

MOST_NAMED = 3
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
    shown = ", ".join(ids[:MOST_NAMED]) + (", ..." if len(ids) > MOST_NAMED else "")
    print(f"warning: {len(ids)} of the {tests} test prompts have no response in {path}: {shown}", file=sys.stderr)


def _by_reason(reasons: Sequence[str]) -> str:
    counts = Counter(reason if len(reason) <= MOST_LETTERS else f"{reason[:MOST_LETTERS]}..." for reason in reasons)
    return printable("; ".join(by_reason(dict(counts.most_common()))))


def told_cuts(path: Path) -> str:
    """How many of the responses, critiques and revisions of a run were cut, in words.

    Args:
        path: The run's `revisions.jsonl`.
    """
    made = Counter(responses=0, critiques=0, revisions=0)
    cut: Counter[str] = Counter()
    for _, row in read_journal(path).values():
        for stage, reason in row.endings.items():
            kind = f"{stage.partition(' ')[0]}s" if reason not in (None, UNKNOWN) else "unknown"
            made[kind] += 1
            cut[kind] += reason in CUT
    unknown = made.pop("unknown", 0)
    parts = [part(cut[kind], count, kind) for kind, count in made.items() if count]
    parts += [f"the end of {unknown} replies is not known"] if unknown else []
    return f"cut at their limit of tokens: {', '.join(parts)}" if parts else ""


SILENCES = {"empty response": "empty responses", "unfinished thought": "unfinished thoughts"}
"""Why a response says nothing, with the name of its count in a summary."""


def silences(responses: Iterable[Response]) -> dict[str, int]:
    """How many responses say nothing, by the name of the count in a summary."""
    counts = Counter(response.why_silent for response in responses)
    return {name: counts[why] for why, name in SILENCES.items()}
