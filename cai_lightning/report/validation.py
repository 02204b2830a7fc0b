"""What `validate` has found: handed to the summary, and printed with the rows that have no score.

What `validate` prints at its end: each column with its mean, how many rows have a score, and why others have none.

Console().print(summary_table(read_summary(run)))

What `validate` has found, handed to the summary: its columns, and counts of everything that is not a score.
"""

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cai_lightning.data.prompt_data import PromptData, ResponseData
from cai_lightning.data.repetition import LOOPING, repeated_ngrams
from cai_lightning.metrics import ResponseMetric
from cai_lightning.metrics.scoring import metric_digest
from cai_lightning.modules import Evaluation
from cai_lightning.report.failures import SILENCES, silences
from cai_lightning.report.summary import ColumnReport, read_summary, write_summary
from cai_lightning.run import manifest
from cai_lightning.run.record_files import read_records
from cai_lightning.run.records import UNKNOWN, Response, shared_id
from cai_lightning.run.text import printable

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


WIDTH = 100
"""Columns of a table that goes to a file or a pipe."""


def write_evaluation(run: Path, model: Evaluation, data: PromptData | ResponseData) -> None:
    """Writes `<run>/summary.json` once all scores are in their file."""
    adapter = model.adapter_digest(run)
    tests = {test.prompt.id for test in data.tests}
    made = read_records(run / "responses.jsonl", Response).values()
    rows = [row for row in made if row.adapter == adapter and row.id in tests]
    counts = {
        "responses": len(rows),
        "without a response": len(tests) - len(rows),
        "cut at max_new_tokens": sum(row.finish_reason == "length" for row in rows),
        "of unknown end": sum(row.finish_reason == UNKNOWN for row in rows),
        "looping": sum(repeated_ngrams(row.response) > LOOPING for row in rows),
        **silences(rows),
        "without a reference": sum(row.reference is None for row in rows),
    }
    write_summary(
        run,
        [column for metric in model.evaluators for column in _columns(metric, model)],
        counts,
        references=data.reference_digest(run),
        config=manifest.digest(manifest.settings({"model": model, "data": data})),
        adapter=adapter,
        unfinished=model.why_unfinished(run),
        ids=tests,
        prompts={test.prompt.id: shared_id(test.prompt) for test in data.tests},
    )


def show_evaluation(run: Path) -> None:
    """Prints `<run>/summary.json` as a table, how the responses ended, and a warning where some say nothing."""
    summary = read_summary(run)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(summary_table(summary))
    console.print(told_counts(summary), highlight=False)
    counts = summary["counts"]
    if told := ", ".join(f"{counts[name]} {name}" for name in SILENCES.values() if counts.get(name)):
        print(f"warning: of {counts['responses']} responses {told}: no metric scores them", file=sys.stderr)
    if summary["unfinished"]:
        print(f"warning: {printable(summary['unfinished'])}", file=sys.stderr)


def _columns(metric: ResponseMetric, model: Evaluation) -> list[ColumnReport]:
    first = metric.columns[0].name
    return [
        ColumnReport(
            name=column.name,
            direction=column.direction,
            low=column.low,
            high=column.high,
            not_run=model.not_run.get(first),
            settings=metric_digest(metric),
            uses_references=metric.uses_references,
            revision=model.revisions.get(first),
            evaluator=manifest.settings(metric),
        )
        for column in metric.columns
    ]
