"""`summary.json` counts the scores of this adapter and these settings, and nothing else."""

from importlib import metadata

import pytest

from cai_lightning.report.summary import read_summary, write_summary
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Score
from cai_lightning.statistics import mean_interval

SCORES = {"a": 1.0, "b": 0.0, "c": 0.5}
ESTIMATE = mean_interval(SCORES)
HARMLESS = {
    "harmlessness": {
        "direction": "higher",
        "settings": "s1",
        "mean": ESTIMATE.mean,
        "ci95": ESTIMATE.interval,
        "not_run": None,
    }
}


def write_scores(run, *scores):
    with jsonl.JournalWriter(run / "scores.jsonl") as writer:
        for score in scores:
            writer.append(score)
    jsonl.merge(run / "scores.jsonl")


def summarize(run, columns, adapter="a1"):
    write_summary(run, columns, {"responses": 3}, references="r1", config="c1", adapter=adapter)
    return read_summary(run)


def test_fields_of_the_design(tmp_path):
    run = tmp_path / "qwen"
    write_scores(run, *(Score(id, "harmlessness", score, adapter="a1", settings="s1") for id, score in SCORES.items()))
    summary = summarize(run, HARMLESS)
    metric = summary["metrics"]["harmlessness"]
    assert summary["run"] == "qwen"
    assert summary["counts"] == {"responses": 3}
    assert (summary["references"], summary["config"], summary["adapter"]) == ("r1", "c1", "a1")
    assert summary["versions"]["torch"] == metadata.version("torch")
    assert set(summary["versions"]) == {"cai_lightning", "torch", "transformers", "lightning", "peft"}
    assert metric["mean"] == 0.5
    assert metric["ci95"] == ESTIMATE.interval
    assert (metric["scored"], metric["unscored"], metric["not_run"]) == (3, 0, None)
    assert (metric["direction"], metric["settings"]) == ("higher", "s1")


def test_unscored_rows_are_counted_by_reason(tmp_path):
    write_scores(
        tmp_path,
        Score("a", "harmlessness", 1.0, adapter="a1", settings="s1"),
        Score("b", "harmlessness", None, "timeout", adapter="a1", settings="s1"),
        Score("c", "harmlessness", None, "timeout", adapter="a1", settings="s1"),
        Score("d", "harmlessness", None, adapter="a1", settings="s1"),
    )
    metric = summarize(tmp_path, HARMLESS)["metrics"]["harmlessness"]
    assert (metric["scored"], metric["unscored"]) == (1, 3)
    assert metric["reasons"] == {"timeout": 2, "no reason given": 1}


def test_scores_of_truncated_texts_are_counted(tmp_path):
    details = {"a": {"truncated": True}, "b": {"truncated": False, "tokens": 7}, "c": {}, "d": {"truncated": True}}
    write_scores(
        tmp_path,
        *(Score(id, "harmlessness", 1.0, None, detail, "a1", "s1") for id, detail in details.items()),
        Score("e", "harmlessness", None, "timeout", {"truncated": True}, "a1", "s1"),
    )
    assert summarize(tmp_path, HARMLESS)["metrics"]["harmlessness"]["truncated"] == 2


def test_scores_of_another_adapter_or_other_settings_do_not_count(tmp_path):
    write_scores(
        tmp_path,
        Score("a", "harmlessness", 1.0, adapter="a1", settings="s1"),
        Score("b", "harmlessness", 0.0, adapter="old", settings="s1"),
        Score("c", "harmlessness", 0.0, adapter="a1", settings="old"),
        Score("d", "other", 0.0, adapter="a1", settings="s1"),
    )
    assert summarize(tmp_path, HARMLESS)["metrics"]["harmlessness"]["scored"] == 1
    assert summarize(tmp_path, HARMLESS, adapter=None)["metrics"]["harmlessness"]["scored"] == 0


def test_the_last_score_of_an_id_counts(tmp_path):
    write_scores(
        tmp_path,
        Score("a", "harmlessness", None, "timeout", adapter="a1", settings="s1"),
        Score("a", "harmlessness", 0.25, adapter="a1", settings="s1"),
    )
    metric = summarize(tmp_path, HARMLESS)["metrics"]["harmlessness"]
    assert (metric["scored"], metric["unscored"]) == (1, 0)


@pytest.mark.parametrize(("high", "scale"), [(5.0, [1.0, 5.0]), (float("inf"), [1.0, None])])
def test_a_scale_may_have_no_end(tmp_path, high, scale):
    summary = summarize(tmp_path, {"judge": {"direction": "higher", "scale": [1.0, high]}})
    assert summary["metrics"]["judge"]["scale"] == scale


def test_an_evaluator_that_could_not_run_says_why(tmp_path):
    judge = {"direction": "higher", "mean": None, "ci95": None, "not_run": "no server"}
    metric = summarize(tmp_path, {"judge": judge})["metrics"]["judge"]
    assert (metric["mean"], metric["ci95"], metric["scored"], metric["not_run"]) == (None, None, 0, "no server")


@pytest.mark.parametrize("score", ["0.5", True, float("nan"), float("inf"), [1.0], 1e300, 10**400])
def test_a_score_that_is_no_finite_number_is_an_error(tmp_path, score):
    jsonl.write(
        tmp_path / "scores.jsonl",
        [{"id": "a", "metric": "harmlessness", "score": score, "adapter": "a1", "settings": "s1"}],
    )
    with pytest.raises(UserError, match=r"scores\.jsonl, line 1: field 'score' should be (a valid|a finite|less)"):
        summarize(tmp_path, HARMLESS)


def test_a_score_without_an_id_is_an_error(tmp_path):
    jsonl.write(tmp_path / "scores.jsonl", [{"metric": "harmlessness", "score": 1.0}])
    with pytest.raises(UserError, match=r"scores\.jsonl, line 1: no 'id' in this row"):
        summarize(tmp_path, HARMLESS)


def test_reading_what_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such run"):
        read_summary(tmp_path / "nowhere")
    with pytest.raises(UserError, match="run validate first"):
        read_summary(tmp_path)


@pytest.mark.parametrize(
    "counts", ["[]", "true", "-1", "NaN", '"none"', "null", '{"dropped": "3"}', '{"dropped": true}']
)
def test_reading_counts_that_count_nothing(tmp_path, counts):
    (tmp_path / "summary.json").write_text(f'{{"metrics": {{}}, "counts": {counts}}}')
    with pytest.raises(UserError, match=r"summary\.json: field 'counts.*' should be .*Run validate again"):
        read_summary(tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "[" * 200_000, "[]", '{"run": "x"}', '{"metrics": {"judge": {"direction": "up"}}}']
)
def test_reading_a_broken_summary(tmp_path, text):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(UserError, match=r"summary\.json: .*(JSON|metrics).*Run validate again"):
        read_summary(tmp_path)
