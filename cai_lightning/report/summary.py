"""`<run>/summary.json` and the scores behind it: what `validate` found, for a person, a script and `compare`.

    write_summary(run, columns, counts, references, config, adapter)
    summary = read_summary(run)
    scores = read_scores(run, {"harmlessness": (settings_digest, revision)}, adapter=None)
    metrics, scores = agreeing(run, summary["metrics"], scores)

    console().print(summary_table(summary).terminal())

A metric of the summary is a column that an evaluator declares (`columns` of `metrics.base.ResponseMetric`); the
configuration names the evaluators at `validate.model.init_args.metrics`. What is told of each of them is made in
`report/results.py`, or counted here by `_counted`, and `_row` shows it at the end of `validate`: a new figure is a line
in both. What `compare` shows is in `report/words.py`.

A file of scores may have been cut short, edited, or belong to another validation; then its numbers are not those that
`validate` has summarized, and no comparison is made of them (`agreeing`).
"""

import json
import math
from collections import Counter
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from cai_lightning.report.table import ARROWS, Field, Row, Table, as_json, by_reason, with_interval, write_files
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import is_number, parse, read_records
from cai_lightning.run.records import FOREIGN, Score
from cai_lightning.run.text import whole_json
from cai_lightning.statistics import Direction, Interval, mean_interval
from cai_lightning.statistics.intervals import Prompts, by_prompt

Evaluator = tuple[str | None, str | None]
"""What made a score: the digest of an evaluator's settings, and its revision."""

NO_REASON = "no reason given"


@dataclass(frozen=True)
class ColumnScores:
    """What one column holds for the prompts of a run.

    Args:
        values: Scores by id.
        unscored: Why a row is unscored, by id.
        details: What the evaluator has said besides, by id.
    """

    values: dict[str, float] = field(default_factory=dict)
    unscored: dict[str, str] = field(default_factory=dict)
    details: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def reasons(self) -> Counter[str]:
        """How many rows are unscored, by reason."""
        return Counter(self.unscored.values())

    @property
    def truncated(self) -> int:
        """How many scores are of a text that the evaluator has not read whole."""
        return sum(self.details[id].get("truncated") is True for id in self.values if id in self.details)


def read_scores(
    run: Path, made_by: Mapping[str, Evaluator], adapter: str | None, ids: Container[str] | None = None
) -> dict[str, ColumnScores]:
    """The scores of every column asked for.

    Args:
        run: Folder of the run; without a `scores.jsonl` every column is empty.
        made_by: The columns, each with the digest of settings and the revision that its scores must carry.
        adapter: Digest of the adapter that the scores must carry; None for the base model.
        ids: The prompts whose scores count; None takes all.

    Raises:
        UserError: A row of the file is malformed.
    """
    columns = {name: ColumnScores() for name in made_by}
    for score in read_records(run / "scores.jsonl", Score).values():
        counts = score.metric in columns and (ids is None or score.id in ids)
        if counts and (score.settings, score.revision, score.adapter) == (*made_by[score.metric], adapter):
            _add(columns[score.metric], score)
    return columns


def _add(column: ColumnScores, score: Score) -> None:
    if score.detail:
        column.details[score.id] = score.detail
    if score.score is None:
        column.unscored[score.id] = score.reason or NO_REASON
    else:
        column.values[score.id] = float(score.score)


Metrics = dict[str, dict[str, Any]]


def agreeing(
    run: Path, metrics: Metrics, scores: Mapping[str, ColumnScores]
) -> tuple[Metrics, dict[str, ColumnScores]]:
    """The columns and their scores; while a validation is under way, those that disagree are not run, with the reason.

    Args:
        run: Folder of the run.
        metrics: What the summary says of each column.
        scores: What its file of scores holds.

    Raises:
        UserError: They disagree, and no validation has left its own files beside the scores.
    """
    path = run / "scores.jsonl"
    wrong = {name: why for name, entry in metrics.items() if (why := _disagreement(entry, scores[name]))}
    if wrong and not jsonl.rank_files(path):
        name, why = next(iter(wrong.items()))
        raise UserError(f"{path}, metric {name}: {why}. Run validate again.")
    reasons = {name: {"not_run": f"a validation is under way or was broken off: {why}"} for name, why in wrong.items()}
    kept = {name: ColumnScores() if name in wrong else column for name, column in scores.items()}
    return {name: entry | reasons.get(name, {}) for name, entry in metrics.items()}, kept


def _disagreement(entry: Mapping[str, Any], scores: ColumnScores) -> str | None:
    """In what the scores are not those that the summary tells of; None where they are, or it does not tell."""
    for word, found in (("scored", len(scores.values)), ("unscored", len(scores.unscored))):
        if entry.get(word, found) != found:
            return f"{found} rows are {word} here, {entry[word]!r} in summary.json"
    mean = by_prompt(scores.values).mean if scores.values else None
    told = entry.get("mean", mean)
    near = is_number(told) and mean is not None and math.isclose(told, mean, rel_tol=1e-12, abs_tol=1e-12)
    return None if told == mean or near else f"the mean is {mean} here, {told!r} in summary.json"


FILE = "summary.json"
PACKAGES = {"cai_lightning": "cai-lightning"} | {name: name for name in ("torch", "transformers", "lightning", "peft")}
"""Module names of the packages whose versions are written down, with the names they are distributed under."""

UNIT_SCALE = [0.0, 1.0]


def write_summary(
    run: Path,
    columns: Metrics,
    counts: dict[str, int],
    references: str | None,
    config: str,
    adapter: str | None = None,
    ids: Collection[str] | None = None,
    unfinished: str | None = None,
) -> None:
    """Summarizes `<run>/scores.jsonl` in `<run>/summary.json`.

    Args:
        run: Folder of the run.
        columns: The columns of all evaluators, also of those that could not run, and what is told of each beside the
            counts of its scores: their `mean` and its interval `ci95`, as the evaluator has computed them over all
            processes; its `direction` and `scale`; why its evaluator did `not_run`; the digest of the `settings` and
            the `revision` that its scores were made under, the `evaluator` in words, and whether it `uses_references`.
        counts: What was truncated, dropped or repaired, and how many responses there are.
        references: Digest of the file of references; None where there is none.
        config: Digest of the settings of the run.
        adapter: Digest of the adapter whose scores count; None for the base model.
        unfinished: Why the adapter is not what its training would have come to; None where it is.
        ids: The prompts whose scores count, and are missing where there are none; None takes all that there are.
    """
    made_by = {name: (entry.get("settings"), entry.get("revision")) for name, entry in columns.items()}
    scores = read_scores(run, made_by, adapter, ids)
    summary = {
        "run": run.resolve().name,
        "metrics": {name: entry | _counted(scores[name], ids) for name, entry in columns.items()},
        "counts": counts,
        "versions": {name: _version(distribution) for name, distribution in PACKAGES.items()},
        "references": references,
        "config": config,
        "adapter": adapter,
        "unfinished": unfinished,
        "prompts": None if ids is None else sorted(ids),
    }
    write_files(run, {FILE: as_json(summary)})


def recorded_column(values: Mapping[str, float], prompts: Prompts, source: str, note: str) -> dict[str, Any]:
    """What a summary tells of scores that came with the responses; `validate` keeps them, for nobody can make them.

    Args:
        values: The scores by id; the higher the better.
        prompts: What each id shares with the others about its prompt.
        source: Digest of their file; scores of another one do not compare.
        note: What is to be said of them.
    """
    estimate = mean_interval(values, unit_scale=False, prompts=prompts)
    return {
        "mean": estimate.mean,
        "ci95": estimate.interval,
        "direction": "higher",
        "scale": [-math.inf, math.inf],
        "not_run": None,
        "uses_references": False,
        "source": source,
        "note": note,
    }


def recorded_columns(run: Path, adapter: str | None, prompts: Prompts) -> Metrics:
    """The columns of a run's summary whose scores came with its responses, told anew of these prompts."""
    path = run / FILE
    known = read_summary(run)["metrics"] if path.is_file() else {}
    entries = {name: entry for name, entry in known.items() if "source" in entry}
    scores = read_scores(run, dict.fromkeys(entries, (None, None)), adapter, prompts)
    return {
        name: recorded_column(scores[name].values, prompts, entry["source"], entry["note"])
        for name, entry in entries.items()
        if scores[name].values
    }


def read_summary(run: Path) -> dict[str, Any]:
    """The summary of a run.

    Raises:
        UserError: There is no such run, it has no summary, or that file is broken.
    """
    path = run / FILE
    if not run.is_dir():
        raise UserError(f"{run}: no such run.")
    if not path.is_file():
        raise UserError(f"{path} is missing: run validate first.")
    text = whole_json(path.read_bytes())
    try:
        parse(_Summary, text, str(path))
    except UserError as error:
        raise UserError(f"{error} Run validate again.") from None
    summary: dict[str, Any] = json.loads(text)
    return summary


@dataclass(frozen=True)
class _SummaryColumn:
    __pydantic_config__ = FOREIGN

    direction: Direction
    evaluator: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Summary:
    """What has to be in a summary, and of which kind, for anything to be made of it."""

    __pydantic_config__ = FOREIGN

    metrics: dict[str, _SummaryColumn]
    prompts: list[str] | None = None
    adapter: str | None = None
    counts: dict[str, int] = field(default_factory=dict)


def _counted(scores: ColumnScores, ids: Collection[str] | None) -> dict[str, Any]:
    tried = scores.values.keys() | scores.unscored.keys()
    return {
        "scored": len(scores.values),
        "unscored": len(scores.unscored),
        "missing": len(set(ids or ()) - tried),
        "truncated": scores.truncated,
        "reasons": dict(scores.reasons.most_common()),
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def summary_table(summary: dict[str, Any]) -> Table:
    """The metrics of a summary, a row for each column."""
    tests = sum(summary["counts"].get(name, 0) for name in ("responses", "without a response"))
    return Table("", [_row(name, entry, tests) for name, entry in summary["metrics"].items()])


def _row(name: str, entry: dict[str, Any], tests: int) -> Row:
    return {
        "metric": f"{name} {ARROWS[entry['direction']][0]}",
        "mean [95 %]": with_interval(Interval.of(entry["mean"], entry["ci95"], entry["scored"]), "{:.3f}".format),
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
