"""Without an engine validate scores what a run holds, and makes no response."""

import pytest

from cai_lightning.run import jsonl


@pytest.fixture
def answered(experiment):
    """An experiment whose test prompts are answered and not scored."""
    experiment.write_revisions()
    experiment.write_responses()
    return experiment


def without_engine(experiment, data=None):
    section = experiment.sections["validate"]
    section["model"]["init_args"]["engine"] = None
    if data is not None:
        section["data"] = {"class_path": "cai_lightning.data.ResponseData", "init_args": data}
    experiment.save()


@pytest.mark.parametrize("data", [None, {}], ids=["PromptData", "ResponseData"])
def test_it_scores_what_is_there_and_changes_no_response(answered, data, evaluators):
    before = (answered.run / "responses.jsonl").read_text()
    without_engine(answered, data)
    evaluators.calls.clear()
    assert answered("validate", "--strict") == 0
    assert (answered.run / "responses.jsonl").read_text() == before
    rows = answered.rows("responses.jsonl")
    assert [row["id"] for row in answered.rows("scores.jsonl")] == [row["id"] for row in rows]
    summary = answered.summary()
    assert summary["metrics"]["length"]["scored"] == summary["counts"]["responses"] == len(rows)
    assert summary["adapter"] is None
    evaluators.calls.clear()
    assert answered("validate") == 0
    assert not set(evaluators.calls) - {"Length.free"}


def test_responses_of_an_adapter_that_is_not_here_are_scored_too(answered):
    rows = [{**row, "adapter": "0123456789abcdef"} for row in answered.rows("responses.jsonl")]
    jsonl.write(answered.run / "responses.jsonl", rows)
    without_engine(answered, {})
    assert answered("validate", "--model.adapter", "run") == 0
    assert answered.summary()["adapter"] == "0123456789abcdef"
    assert answered.summary()["metrics"]["length"]["scored"] == len(rows)


def test_one_response_changed_is_scored_again_alone(answered, evaluators):
    without_engine(answered, {})
    assert answered("validate") == 0
    rows = answered.rows("responses.jsonl")
    rows[2]["response"] = "something else"
    jsonl.write(answered.run / "responses.jsonl", rows)
    evaluators.calls.clear()
    assert answered("validate") == 0
    assert evaluators.calls == ["Length.load", rows[2]["id"], "Length.free"]


def test_what_has_no_response_is_named_and_counted(answered, capsys):
    rows = answered.rows("responses.jsonl")
    jsonl.write(answered.run / "responses.jsonl", rows[1:])
    without_engine(answered)
    assert answered("validate") == 0
    err = capsys.readouterr().err
    assert f"warning: 1 of the {len(rows)} test prompts have no response in" in err
    assert rows[0]["id"] in err
    assert answered.summary()["counts"]["without a response"] == 1
    assert answered.summary()["metrics"]["length"]["reasons"] == {"no response: the run holds none": 1}


def test_none_at_all_is_an_error_that_says_what_to_do(experiment, capsys):
    without_engine(experiment, {})
    assert experiment("validate") == 1
    assert "no responses to score. Import some (python -m cai_lightning import FILE --run" in capsys.readouterr().err
    assert not experiment.run.exists()


def test_responses_of_two_adapters_are_not_mixed(answered, capsys):
    rows = answered.rows("responses.jsonl")
    rows[0]["adapter"] = "0123456789abcdef"
    jsonl.write(answered.run / "responses.jsonl", rows)
    without_engine(answered, {})
    assert answered("validate") == 1
    assert "responses of 2 adapters (0123456789abcdef, None)" in capsys.readouterr().err


def test_fresh_moves_the_scores_aside_and_leaves_the_responses(answered, evaluators):
    without_engine(answered, {})
    assert answered("validate") == 0
    before = (answered.run / "responses.jsonl").read_text()
    evaluators.calls.clear()
    assert answered("validate", "--fresh", "--data.limit", 3) == 0
    assert (answered.run / "responses.jsonl").read_text() == before
    assert len(evaluators.calls) == 3 + 2
    assert {path.name for path in (answered.run / "before-1").iterdir()} == {"scores.jsonl", "summary.json"}
    assert answered.summary()["counts"]["responses"] == 3


@pytest.mark.parametrize("name", ["responses.jsonl", "scores.jsonl"])
def test_a_malformed_row_is_one_line_before_any_work(answered, evaluators, name, capsys):
    without_engine(answered, {})
    assert answered("validate") == 0
    with (answered.run / name).open("a") as file:
        file.write('{"id": "zz", "metric": "length"}\n')
    evaluators.calls.clear()
    assert answered("validate") == 1
    assert f"{answered.run / name}, line 8: no '" in capsys.readouterr().err
    assert evaluators.calls == []
