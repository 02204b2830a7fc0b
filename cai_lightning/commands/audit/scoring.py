"""Runs evaluators over labelled responses; a score is written at once and kept, so that a second audit costs nothing.

A bar of scored responses in a terminal; in a log file a line at the beginning and at the end of each evaluator.

with counting("Harmlessness", total=876) as count:
    count()

columns = score(metric, labels, output, device, batch_size=64)
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cai_lightning.commands.audit.findings import ScoredColumn
from cai_lightning.commands.audit.labels import Labels
from cai_lightning.metrics import ResponseMetric
from cai_lightning.metrics.scoring import Scoring
from cai_lightning.modules.running import able_to_run
from cai_lightning.report.summary import read_scores
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError, WriteError
from cai_lightning.run.records import Score


@contextmanager
def counting(name: str, total: int) -> Iterator[Callable[[], None]]:
    """Shows how many of the responses an evaluator has scored; what it yields counts one."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    began = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=total)
        _say(console, f"{name}: {total} responses to score")
        yield lambda: bar.advance(task)
    _say(console, f"{name}: done in {time.monotonic() - began:.0f} s")


def _say(console: Console, line: str) -> None:
    if not console.is_terminal:
        console.print(line, highlight=False, markup=False)


FILE = "scores.jsonl"


def score(
    metric: ResponseMetric, labels: Labels, output: Path, device: torch.device, batch_size: int = 64
) -> list[ScoredColumn]:
    """Scores all responses with one evaluator, and returns what each of its columns holds.

    Args:
        metric: The evaluator; one that cannot run is told so in the result.
        labels: The responses.
        output: Folder of `scores.jsonl`; the scores that stand there are not made again.
        device: Where it computes.
        batch_size: Responses handed to it at once.
    """
    metric.to(device)
    nothing = _why_inapplicable(metric, labels)
    scoring = Scoring(metric, {} if nothing else dict(enumerate(labels.responses)), {}, output, None)
    not_run = None
    try:
        with able_to_run():
            _fill(scoring, output, device, batch_size)
    except WriteError:
        raise
    except UserError as error:
        not_run = str(error)
    finally:
        jsonl.merge(output / FILE, key=jsonl.by_metric)
    made_by = (scoring.settings, scoring.revision)
    ids = {response.id for response in labels.responses}
    scores = read_scores(output, {column.name: made_by for column in metric.columns}, None, ids)
    return [ScoredColumn(c, *made_by, scores[c.name], not_run, nothing) for c in metric.columns]


def _why_inapplicable(metric: ResponseMetric, labels: Labels) -> str | None:
    """Why an evaluator has nothing to say about any of the responses, such as for want of references."""
    reasons = [metric.inapplicable(response) for response in labels.responses]
    return None if None in reasons else max(set(reasons), key=reasons.count)


def _fill(scoring: Scoring, output: Path, device: torch.device, batch_size: int) -> None:
    """Makes the scores that are missing.

    Raises:
        UserError: The evaluator cannot run, or cannot go on; what it has scored is kept.
    """
    metric = scoring.metric
    with jsonl.JournalWriter(output / FILE) as writer:
        write = partial(_write, writer)
        scoring.look_up(write)
        if not scoring.missing:
            return
        try:
            metric.load(device)
            if metric.revision() != scoring.revision:  # loading has fetched the model
                scoring.look_up(write)
            with counting(type(metric).__name__, len(scoring.missing)) as count:
                scoring.score(batch_size, partial(_write, writer, count=count))
        finally:
            metric.free()


def _write(writer: jsonl.JournalWriter, scores: list[Score], count: Callable[[], None] | None = None) -> None:
    """Keeps the scores of one response, and counts it."""
    for row in scores:
        writer.append(row)
    if count:
        count()
