"""Runs as `validate` leaves them, made of plain numbers."""

from collections.abc import Mapping

import pytest

from cai_lightning.report.summary import write_summary
from cai_lightning.run import jsonl
from cai_lightning.run.records import Response, Score
from cai_lightning.statistics import mean_interval


def make_run(
    run,
    columns: Mapping[str, Mapping[str, float | None]],
    references="r1",
    prompts=None,
    responses: Mapping[str, str | tuple[str, str]] | None = None,
    adapter=None,
    **reports,
):
    """Writes the scores and the summary of a run.

    Args:
        run: Its folder.
        columns: Scores by id by column; None is unscored.
        references: Digest of its references.
        prompts: Ids of the prompts that it was validated on; None as in an older summary.
        responses: Responses by id, each alone or with the category of its prompt, or with that and its finish reason.
        adapter: Digest of the adapter that they were made with.
        reports: What a column's report differs in, by the column's name.
    """
    described = {
        name: {"direction": "higher", "settings": "s1", "scale": [0.0, 1.0], "not_run": None}
        | {"mean": estimate(scores, prompts).mean, "ci95": estimate(scores, prompts).interval}
        | reports.get(name, {})
        for name, scores in columns.items()
    }
    made_by = {name: {key: fields.get(key) for key in ("settings", "revision")} for name, fields in described.items()}
    rows = [
        vars(Score(id, name, value, None if value is not None else "timeout", adapter=adapter, **made_by[name]))
        for name, scores in columns.items()
        for id, value in scores.items()
    ]
    jsonl.write(run / "scores.jsonl", rows)
    jsonl.write(run / "responses.jsonl", [response_row(id, said, adapter) for id, said in (responses or {}).items()])
    write_summary(run, described, {}, references, "c1", adapter, prompts)
    return run


def estimate(scores, prompts=None):
    """What an evaluator computes of its scores."""
    known = {id: value for id, value in scores.items() if value is not None and (prompts is None or id in prompts)}
    return mean_interval(known)


def response_row(id, said, adapter):
    response, category, *reason = said if isinstance(said, tuple) else (said, None)
    finish = reason[0] if reason else "stop"
    return vars(Response(id, f"prompt {id}", response, f"reference {id}", finish, "m", adapter, category))


@pytest.fixture(name="make_run")
def fixture_make_run(tmp_path):
    return lambda name, columns, **options: make_run(tmp_path / name, columns, **options)
