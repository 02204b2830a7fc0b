"""What `validate` has found, handed to the summary: its columns, and counts of everything that is not a score."""

import sys
from pathlib import Path

from rich.console import Console

from cai_lightning import provenance
from cai_lightning.data.prompt_data import PromptData
from cai_lightning.data.repetition import LOOPING, repeated_ngrams
from cai_lightning.data.response_data import ResponseData
from cai_lightning.metrics import ResponseMetric
from cai_lightning.modules import Evaluation
from cai_lightning.modules.scoring import metric_digest
from cai_lightning.record_files import read_records
from cai_lightning.records import UNKNOWN, Response, shared_id
from cai_lightning.report.runs import printable
from cai_lightning.report.silence import SILENCES, silences
from cai_lightning.report.summary import ColumnReport, read_summary, write_summary
from cai_lightning.report.validation import summary_table, told_counts

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
        config=provenance.digest(provenance.settings({"model": model, "data": data})),
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
            evaluator=provenance.settings(metric),
        )
        for column in metric.columns
    ]
