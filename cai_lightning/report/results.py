"""What a verb says at its end: what `validate` has found, which rows failed, and how many replies were cut.

write_evaluation(run, model, data)
show_evaluation(run)

tell_failures(["timeout"], tried=40, where="set aside in failed.jsonl")
told_cuts(Path("runs/qwen_contextual/revisions.jsonl"))
# "cut at their limit of tokens: 3 of 64 responses (5 %), 10 of 64 critiques (16 %), none of 64 revisions"
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cai_lightning.data.corpus import read_journal
from cai_lightning.data.defects import CUT, LOOPING, repeated_ngrams
from cai_lightning.data.labelled import Preference
from cai_lightning.data.prompt_data import PromptData, ResponseData
from cai_lightning.metrics.base import estimate_in
from cai_lightning.metrics.scoring import Outcome, metric_digest
from cai_lightning.modules import Evaluation
from cai_lightning.report.summary import read_summary, recorded_columns, summary_table, write_summary
from cai_lightning.report.table import by_reason, console, part
from cai_lightning.run import manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import read_records
from cai_lightning.run.records import UNKNOWN, Record, Response, Revision, shared_id
from cai_lightning.run.text import printable

MOST_NAMED = 3
MOST_LETTERS = 160
SILENCES = {"empty response": "empty responses", "unfinished thought": "unfinished thoughts"}
"""Why a response says nothing, with the name of its count in a summary."""
LITTLE = 0.5
"""Below this mass of both answers a model would rather answer something else."""
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
        recorded_columns(run, adapter, {row.id: shared_id(row) for row in rows})
        | dict(column for outcome in model.outcomes for column in _columns(outcome, model)),
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


def told_counts(summary: dict[str, Any]) -> str:
    """How many responses there are, and how many of them show that a model has come off its track."""
    counts = summary["counts"]
    told = [f"{counts[name]} {name}" for name in UNTRACKED if name in counts]
    told += [f"{unknown} of unknown end"] if (unknown := counts.get("of unknown end")) else []
    return f"{counts.get('responses', 0)} responses: {', '.join(told)}" if told else ""


def _columns(outcome: Outcome, model: Evaluation) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a summary tells of the columns of an evaluator beside their counts, by name."""
    told = {
        "not_run": outcome.not_run,
        "settings": metric_digest(outcome.metric),
        "uses_references": outcome.metric.uses_references,
        "revision": outcome.revision,
        "evaluator": manifest.settings(outcome.metric),
    }
    for column in outcome.metric.columns:
        estimate = estimate_in(model.computed, column.name)
        found = {"mean": estimate.mean, "ci95": estimate.interval, "scale": [column.low, column.high]}
        yield column.name, {**found, "direction": column.direction, **told}


def silences(responses: Iterable[Response]) -> dict[str, int]:
    """How many responses say nothing, by the name of the count in a summary."""
    counts = Counter(response.why_silent for response in responses)
    return {name: counts[why] for why, name in SILENCES.items()}


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
    counts = Counter(reason if len(reason) <= MOST_LETTERS else f"{reason[:MOST_LETTERS]}..." for reason in reasons)
    told = printable("; ".join(by_reason(dict(counts.most_common()))))
    text = (
        f"{len(reasons)} of the {tried} rows tried failed and are {where}: {told}. The same command tries them again."
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


def told_rows(kind: type[Record], path: Path) -> list[str]:
    """What is to be said of the rows that predict has made.

    Args:
        kind: Their kind; of one from outside the package only the file is known.
        path: Their file.
    """
    told = {Revision: told_cuts, Preference: told_labels}
    return [f"the {path.stem} are in {path}", *([said] if kind in told and (said := told[kind](path)) else [])]


def told_labels(path: Path) -> str:
    """How many of the responses of a file of preferences were cut, how many pairs are identical, and how sure the
    feedback model was to answer at all."""
    rows = list(read_records(path, Preference).values())
    readings = [reading for row in rows for label in row.labels for reading in label.readings]
    if not rows:
        return ""
    ends = [reason for row in rows for reason in row.finish_reasons]
    parts = [f"cut at their limit of tokens: {part(sum(end in CUT for end in ends), len(ends), 'responses')}"]
    parts += [f"identical, so not asked about: {part(sum(not row.labels for row in rows), len(rows), 'pairs')}"]
    little = sum(reading.mass < LITTLE for reading in readings)
    parts += [f"mass of both answers below {LITTLE}: {part(little, len(readings), 'readings')}"] if readings else []
    return "; ".join(parts)


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
