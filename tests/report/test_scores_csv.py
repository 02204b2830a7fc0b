"""`scores.csv` holds every score, and nothing that a spreadsheet would compute."""

import csv
import io

from cai_lightning.report.runs import load_runs
from cai_lightning.report.table import as_csv
from cai_lightning.report.words import SCORES, scores


def rows(*paths):
    runs = load_runs(paths)
    return list(csv.DictReader(io.StringIO(as_csv(SCORES, scores(runs)))))


def test_a_row_for_each_prompt_run_and_metric(make_run):
    columns = {"m": {"0a": 0.1, "0b": None}, "harm": {"0a": 1.0, "0b": 2.5}}
    written = rows(make_run("base", columns), make_run("tuned", columns))
    assert len(written) == 8
    assert {tuple(row) for row in written} == {("id", "category", "run", "metric", "score", "reason")}
    assert [row["score"] for row in written if row["run"] == "base"] == ["0.1", "", "1.0", "2.5"]
    assert [row["reason"] for row in written if row["metric"] == "m"] == ["", "timeout"] * 2


def test_a_text_is_no_formula(make_run):
    (row,) = rows(make_run("=cmd|calc!A0", {"+m": {"@id": 1.0}}))
    assert (row["run"], row["metric"], row["id"]) == ("'=cmd|calc!A0", "'+m", "'@id")
