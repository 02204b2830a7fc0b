"""What `validate` prints at its end: each column with its mean, how many rows have a score, and why others have none.

Console().print(summary_table(read_summary(run)))
"""

from typing import Any

from rich.table import Table
from rich.text import Text

from cai_lightning.report.runs import printable

ARROWS = {"higher": "↑", "lower": "↓"}
MOST_REASONS = 3


def summary_table(summary: dict[str, Any]) -> Table:
    """The metrics of a summary, a row for each column; reasons are shown, never obeyed."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("metric", "mean [95 %]", "scored", "unscored", ""):
        table.add_column(heading, overflow="fold")
    tests = sum(summary["counts"].get(name, 0) for name in ("responses", "without a response"))
    for name, entry in summary["metrics"].items():
        style = "red" if entry["not_run"] else ""
        cells = (_mean(entry), f"{entry['scored']}/{tests}", str(entry["unscored"]))
        table.add_row(f"{printable(name)} {ARROWS[entry['direction']]}", *map(Text, cells), Text(_notes(entry), style))
    return table


def told_counts(summary: dict[str, Any]) -> str:
    """How many responses there are, and how many of them show that a model has come off its track."""
    counts = summary["counts"]
    names = ("cut at max_new_tokens", "looping", "empty responses", "unfinished thoughts")
    told = [f"{counts[name]} {name}" for name in names if name in counts]
    told += [f"{unknown} of unknown end"] if (unknown := counts.get("of unknown end")) else []
    return f"{counts.get('responses', 0)} responses: {', '.join(told)}" if told else ""


def _mean(entry: dict[str, Any]) -> str:
    if entry["mean"] is None:
        return "-"
    interval = "" if entry["ci95"] is None else " [{:.3f}, {:.3f}]".format(*entry["ci95"])
    return f"{entry['mean']:.3f}{interval}"


def _notes(entry: dict[str, Any]) -> str:
    """Why there are no scores, or fewer than there are rows, and how many are of truncated texts."""
    parts = [f"not run: {entry['not_run']}"] if entry["not_run"] else []
    parts += [f"{entry['missing']} not scored yet"] if entry.get("missing") else []
    reasons = [f"{count} x {reason}" for reason, count in entry["reasons"].items()]
    others = len(reasons) - MOST_REASONS
    parts += [*reasons[:MOST_REASONS], f"{others} other reasons"] if others > 0 else reasons
    parts += [f"{entry['truncated']} scored on a truncated text"] if entry.get("truncated") else []
    return printable("; ".join(parts))
