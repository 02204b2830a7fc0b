"""Scores that are not those that the summary tells of are not believed."""

import json

import pytest

from cai_lightning.report.comparison import compare_runs
from cai_lightning.report.runs import load_runs
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Score

SCORES = {f"{n:04x}": n / 40 for n in range(40)}


@pytest.fixture
def run(make_run):
    return make_run("tuned", {"m": SCORES | {"ff": None}, "n": SCORES})


def change(run, change):
    """Writes the scores of the column `m` anew."""
    rows = list(jsonl.read(run / "scores.jsonl").values())
    jsonl.write(
        run / "scores.jsonl", [made for row in rows for made in (change(row) if row["metric"] == "m" else [row])]
    )


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda row: [row] if row["id"] < "0010" else [], "16 rows are scored here, 40 in summary.json"),
        (lambda row: [row] if row["score"] is not None else [], "0 rows are unscored here, 1 in summary.json"),
        (lambda row: [row | {"score": row["score"] and row["score"] / 2}], "the mean is 0.24375 here, 0.4875 in"),
        (lambda row: [row | {"adapter": "another"}], "0 rows are scored here, 40 in summary.json"),
    ],
)
def test_scores_that_were_cut_or_edited_are_an_error(run, edit, words):
    change(run, edit)
    with pytest.raises(UserError, match=rf"scores\.jsonl, metric m: {words}.*Run validate again"):
        load_runs([run])


def test_while_a_validation_is_under_way_the_column_is_not_run_with_the_reason(make_run, run):
    """The first new rows take the place of old ones, which carry other settings."""
    with jsonl.JournalWriter(run / "scores.jsonl") as writer:
        for id in list(SCORES)[:25]:
            writer.append(Score(id, "m", 1.0, settings="s2"))
    comparison = compare_runs(load_runs([make_run("base", {"m": SCORES, "n": SCORES}), run]), "base")
    m, n = (column.cells[1] for column in comparison.columns)
    assert m.not_run == ("a validation is under way or was broken off: 15 rows are scored here, 40 in summary.json")
    assert (m.estimate.mean, m.rank, m.difference) == (None, None, None)
    assert (n.not_run, n.estimate.n) == (None, 40)


def test_a_summary_that_does_not_count_is_believed(run):
    path = run / "summary.json"
    summary = json.loads(path.read_text())
    summary["metrics"]["m"] = {"direction": "higher", "settings": "s1"}
    path.write_text(json.dumps(summary))
    (loaded,) = load_runs([run])
    assert len(loaded.values("m")) == 40


@pytest.mark.parametrize("mean", ["high", True, float("nan"), 10**400], ids=lambda mean: f"{mean!s:.9}")
def test_a_mean_that_is_no_number_is_an_error(run, mean):
    path = run / "summary.json"
    summary = json.loads(path.read_text())
    summary["metrics"]["m"]["mean"] = mean
    path.write_text(json.dumps(summary))
    with pytest.raises(UserError, match=r"in summary\.json"):
        load_runs([run])
