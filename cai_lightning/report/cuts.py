"""What predict says at its end about replies that were cut at their limit of tokens.

told_cuts(Path("runs/qwen_contextual/revisions.jsonl"))
# "cut at their limit of tokens: 3 of 64 responses (5 %), 10 of 64 critiques (16 %), none of 64 revisions"
"""

from collections import Counter
from pathlib import Path

from cai_lightning import journal
from cai_lightning.data.endings import CUT, finish_reasons


def told_cuts(path: Path) -> str:
    """How many of the responses, critiques and revisions of a run were cut, in words.

    Args:
        path: The run's `revisions.jsonl`.
    """
    made: Counter[str] = Counter()
    cut: Counter[str] = Counter()
    for id, row in journal.read(path).items():
        response, critiques, revisions = finish_reasons(row, f"{path}, row {id}")
        for kind, reasons in {"responses": [response], "critiques": critiques, "revisions": revisions}.items():
            made[kind] += len(reasons)
            cut[kind] += sum(reason in CUT for reason in reasons)
    parts = [f"{_count(cut[kind], count)} {kind}{_share(cut[kind], count)}" for kind, count in made.items() if count]
    return f"cut at their limit of tokens: {', '.join(parts)}" if parts else ""


def _count(cut: int, count: int) -> str:
    return f"{cut or 'none'} of {count}"


def _share(cut: int, count: int) -> str:
    return f" ({100 * cut / count:.0f} %)" if cut else ""
