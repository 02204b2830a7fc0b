"""What `validate` has found: handed to the summary, and printed at its end with the reasons of rows without a score.

write_evaluation(run, model, data)
show_evaluation(run)
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cai_lightning.data.defects import CUT, LOOPING, repeated_ngrams
from cai_lightning.data.prompt_data import PromptData, ResponseData
from cai_lightning.metrics.base import estimate_in
from cai_lightning.metrics.scoring import Outcome, metric_digest
from cai_lightning.modules import Evaluation
from cai_lightning.report.failures import SILENCES, silences
from cai_lightning.report.numbers import ARROWS, by_reason, with_interval
from cai_lightning.report.summary import ColumnReport, read_summary, write_summary
from cai_lightning.report.table import Field, Row, Table, console
from cai_lightning.run import manifest
from cai_lightning.run.jsonl import read_records
from cai_lightning.run.records import UNKNOWN, Response
from cai_lightning.run.text import printable
from cai_lightning.statistics import Interval

UNTRACKED = ("cut at max_new_tokens", "looping", *SILENCES.values())
"""Counts of responses that show that a model has come off its track."""


def write_evaluation(run: Path, model: Evaluation, data: PromptData | ResponseData) -> None:
    """Writes `<run>/summary.json` once all scores are in their file."""
    adapter = model.adapter_digest(run)
    tests = {test.prompt.id for test in data.tests}
    made = read_records(run / "responses.jsonl", Response).values()
    rows = [row for row in made if row.adapter == adapter and row.id in tests]
    counts = {
        "responses": len(rows),
        "without a response": len(tests) - len(rows),
        "cut at max_new_tokens": sum(row.finish_reason in CUT for row in rows),
        "of unknown end": sum(row.finish_reason == UNKNOWN for row in rows),
        "looping": sum(repeated_ngrams(row.response) > LOOPING for row in rows),
        **silences(rows),
        "without a reference": sum(row.reference is None for row in rows),
    }
    write_summary(
        run,
        [column for outcome in model.outcomes for column in _columns(outcome, model)],
        counts,
        references=data.reference_digest(run),
        config=manifest.digest(manifest.settings({"model": model, "data": data})),
        adapter=adapter,
        unfinished=model.why_unfinished(run),
        ids=tests,
    )


def show_evaluation(run: Path) -> None:
    """Prints `<run>/summary.json` as a table, how the responses ended, and a warning where some say nothing."""
    summary = read_summary(run)
    console().print(summary_table(summary).terminal())
    console().print(told_counts(summary), highlight=False)
    counts = summary["counts"]
    if told := ", ".join(f"{counts[name]} {name}" for name in SILENCES.values() if counts.get(name)):
        print(f"warning: of {counts['responses']} responses {told}: no metric scores them", file=sys.stderr)
    if summary["unfinished"]:
        print(f"warning: {printable(summary['unfinished'])}", file=sys.stderr)


def summary_table(summary: dict[str, Any]) -> Table:
    """The metrics of a summary, a row for each column."""
    tests = sum(summary["counts"].get(name, 0) for name in ("responses", "without a response"))
    return Table("", [_row(name, entry, tests) for name, entry in summary["metrics"].items()])


def told_counts(summary: dict[str, Any]) -> str:
    """How many responses there are, and how many of them show that a model has come off its track."""
    counts = summary["counts"]
    told = [f"{counts[name]} {name}" for name in UNTRACKED if name in counts]
    told += [f"{unknown} of unknown end"] if (unknown := counts.get("of unknown end")) else []
    return f"{counts.get('responses', 0)} responses: {', '.join(told)}" if told else ""


def _row(name: str, entry: dict[str, Any], tests: int) -> Row:
    low, high = entry["ci95"] or (None, None)
    return {
        "metric": f"{name} {ARROWS[entry['direction']][0]}",
        "mean [95 %]": with_interval(Interval(entry["mean"], low, high, entry["scored"]), "{:.3f}".format),
        "scored": f"{entry['scored']}/{tests}",
        "unscored": str(entry["unscored"]),
        "": Field("; ".join(_remarks(entry)), style="worse" if entry["not_run"] else ""),
    }


def _remarks(entry: dict[str, Any]) -> Iterator[str]:
    """Why there are no scores, or fewer than there are rows, and how many are of truncated texts."""
    if entry["not_run"]:
        yield f"not run: {entry['not_run']}"
    if entry.get("missing"):
        yield f"{entry['missing']} not scored yet"
    yield from by_reason(entry["reasons"])
    if entry.get("truncated"):
        yield f"{entry['truncated']} scored on a truncated text"


def _columns(outcome: Outcome, model: Evaluation) -> list[ColumnReport]:
    metric = outcome.metric
    return [
        ColumnReport(
            name=column.name,
            direction=column.direction,
            low=column.low,
            high=column.high,
            estimate=estimate_in(model.computed, column.name),
            not_run=outcome.not_run,
            settings=metric_digest(metric),
            uses_references=metric.uses_references,
            revision=outcome.revision,
            evaluator=manifest.settings(metric),
        )
        for column in metric.columns
    ]
