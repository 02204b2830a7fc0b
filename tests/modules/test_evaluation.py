"""Validate answers and scores each test prompt once, whoever wrote the evaluator, and hides no failure."""

import csv
import math

import pytest

from cai_lightning.engines import ScriptedEngine
from cai_lightning.modules import Evaluation
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError


@pytest.fixture
def validation(experiment):
    experiment.write_revisions()
    return experiment


def use(experiment, *names, **settings):
    metrics = [{"class_path": f"outside.{name}"} for name in names]
    experiment.sections["validate"]["model"]["init_args"].update(metrics=metrics, **settings)
    experiment.save()


def test_an_evaluator_from_outside_needs_its_class_path_alone(validation, tests, evaluators):
    assert validation("validate") == 0
    column = validation.summary()["metrics"]["length"]
    lengths = [len(prompt.prompt) for prompt in tests]
    assert column["mean"] == pytest.approx(sum(lengths) / len(lengths))
    assert column["ci95"][0] <= column["mean"] <= column["ci95"][1]
    assert (column["scored"], column["unscored"], column["direction"]) == (len(tests), 0, "higher")
    assert (column["scale"], column["not_run"]) == ([0.0, None], None)
    assert len(column["settings"]) == 16
    assert evaluators.calls == ["Length.load", *(prompt.id for prompt in tests), "Length.free"]


def test_what_the_summary_says_is_logged_where_a_logger_is_named(validation, tmp_path):
    logger = ("--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", tmp_path, "--trainer.logger.name", "log")
    assert validation("validate", *logger) == 0
    (path,) = tmp_path.glob("log/*/metrics.csv")
    (row,) = csv.DictReader(path.read_text().splitlines())
    column = validation.summary()["metrics"]["length"]
    said = [float(row[f"length{suffix}"]) for suffix in ("", "_low", "_high", "_scored")]
    assert said == pytest.approx([column["mean"], *column["ci95"], column["scored"]])


def test_the_records_are_those_of_the_design(validation, tests):
    assert validation("validate") == 0
    rows = validation.rows("responses.jsonl")
    assert [row["id"] for row in rows] == [prompt.id for prompt in tests]
    assert all(row["reference"] == "I will not help with that, sorry." for row in rows)
    assert all(row["adapter"] is None and row["finish_reason"] in ("stop", "length") for row in rows)
    scores = validation.rows("scores.jsonl")
    assert [(row["id"], row["metric"], row["score"]) for row in scores] == [
        (prompt.id, "length", float(len(prompt.prompt))) for prompt in tests
    ]
    counts = validation.summary()["counts"]
    assert counts["responses"] == len(tests)
    assert counts["without a reference"] == 0
    assert counts["cut at max_new_tokens"] == sum(row["finish_reason"] == "length" for row in rows)


def test_answers_that_were_recorded_have_no_known_end(experiment, validation, tests):
    """A column `cut` of zeros would say that all of them are whole."""
    recorded = {"path": str(validation.run / "revisions.jsonl")}
    engine = {"class_path": "cai_lightning.engines.RecordedEngine", "init_args": recorded}
    experiment.sections["validate"]["model"]["init_args"]["engine"] = engine
    experiment.save()
    assert validation("validate") == 0
    counts = validation.summary()["counts"]
    assert (counts["cut at max_new_tokens"], counts["of unknown end"]) == (0, len(tests))


def test_started_again_it_answers_and_scores_nothing_twice(validation, evaluators):
    assert validation("validate") == 0
    before = {name: (validation.run / name).read_text() for name in ("responses.jsonl", "scores.jsonl", "summary.json")}
    evaluators.calls.clear()
    overrides = ("--model.engine.init_args.batch_size", 2, "--model.score_batch_size", 1)
    assert validation("validate", *overrides) == 0
    assert not set(evaluators.calls) - {"Length.free"}
    assert {name: (validation.run / name).read_text() for name in before} == before


def test_what_is_missing_is_made_and_no_more(validation, evaluators, tests):
    assert validation("validate") == 0
    before = validation.rows("responses.jsonl")
    for name in ("responses", "scores"):
        lines = (validation.run / f"{name}.jsonl").read_text().splitlines(keepends=True)
        (validation.run / f"{name}.jsonl").unlink()
        (validation.run / f"{name}.rank0.jsonl").write_text("".join(lines[1:-1]) + lines[-1][:20])
    evaluators.calls.clear()
    assert validation("validate") == 0
    assert evaluators.calls == ["Length.load", tests[0].id, tests[-1].id, "Length.free"]
    assert validation.rows("responses.jsonl") == before
    assert validation.summary()["metrics"]["length"]["scored"] == len(tests)


def test_an_evaluator_that_cannot_start_is_said_and_filled_in_later(validation, evaluators, capsys, tests):
    use(validation, "Fragile", "Length")
    evaluators.broken = True
    assert validation("validate") == 0
    assert validation("validate", "--strict") == 1
    assert (
        "error: every other score is kept, but these evaluators did not run: fragile: the service"
        in capsys.readouterr().err
    )
    columns = validation.summary()["metrics"]
    assert columns["fragile"]["not_run"] == "the service sleeps"
    assert (columns["fragile"]["scored"], columns["fragile"]["mean"]) == (0, None)
    assert (columns["length"]["scored"], columns["length"]["not_run"]) == (len(tests), None)
    evaluators.broken = False
    evaluators.calls.clear()
    assert validation("validate") == 0
    assert not set(evaluators.calls) - {"Length.free"}
    columns = validation.summary()["metrics"]
    bread = sum("bread" in prompt.prompt for prompt in tests)
    assert 0 < bread < len(tests)
    assert columns["fragile"]["not_run"] is None
    assert (columns["fragile"]["scored"], columns["fragile"]["unscored"]) == (len(tests) - bread, bread)
    assert columns["fragile"]["mean"] == pytest.approx(0.5)
    assert columns["fragile"]["direction"] == "lower"


def test_an_unscored_row_has_its_reason_and_is_tried_again(validation, tests):
    use(validation, "Fragile")
    for _ in range(2):
        assert validation("validate") == 0
        rows = {row["id"]: row for row in validation.rows("scores.jsonl")}
        assert len(rows) == len(tests) == len(validation.rows("scores.jsonl"))
        for prompt in tests:
            unscored = "bread" in prompt.prompt
            assert rows[prompt.id]["score"] == (None if unscored else 0.5)
            assert rows[prompt.id]["reason"] == ("about bread" if unscored else None)
            assert rows[prompt.id]["detail"] == {"n": 1}


def test_an_evaluator_with_other_settings_scores_anew(validation, evaluators, tests):
    assert validation("validate") == 0
    first = validation.summary()["metrics"]["length"]
    use(validation, "Length")
    validation.sections["validate"]["model"]["init_args"]["metrics"][0]["init_args"] = {"scale": 2.0}
    validation.save()
    assert validation("validate") == 0
    second = validation.summary()["metrics"]["length"]
    assert second["mean"] == pytest.approx(2 * first["mean"])
    assert second["settings"] != first["settings"]
    assert second["scored"] == len(tests)


def test_responses_of_another_adapter_are_missing(validation, tests, evaluators):
    assert validation("validate") == 0
    base = validation.rows("responses.jsonl")
    assert validation("fit", "--trainer.max_epochs", 1) == 0
    evaluators.calls.clear()
    assert validation("validate", "--model.adapter", "run") == 0
    tuned = validation.rows("responses.jsonl")
    assert len(tuned) == len(tests)
    assert len({row["adapter"] for row in tuned}) == 1
    assert len(tuned[0]["adapter"]) == 16
    assert [row["response"] for row in tuned] != [row["response"] for row in base]
    assert [row["adapter"] for row in validation.rows("scores.jsonl")] == [tuned[0]["adapter"]] * len(tests)
    assert len(evaluators.calls) == len(tests) + 2
    assert validation.summary()["adapter"] == tuned[0]["adapter"]


def test_changed_references_stop_it(validation, capsys):
    assert validation("validate") == 0
    digest = validation.summary()["references"]
    text = (validation.run / "revisions.jsonl").read_text()
    (validation.run / "revisions.jsonl").rename(validation.run / "revisions.rank0.jsonl")
    assert validation("validate") == 0
    assert validation.summary()["references"] == digest
    (validation.run / "revisions.rank0.jsonl").write_text(text.replace("sorry", "friend"))
    assert validation("validate") == 1
    assert "digest of references" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"references": "absent.jsonl"}, "absent.jsonl: the references are missing"),
        ({"shares": {"test": 0.0}}, "none of its 40 prompts is in the test part"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_made(validation, change, message, capsys):
    validation.sections["validate"]["data"]["init_args"].update(change)
    validation.save()
    assert validation("validate") == 1
    assert message in capsys.readouterr().err
    assert not (validation.run / "responses.jsonl").exists()


def test_without_an_adapter_it_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="Run fit first"):
        Evaluation(ScriptedEngine(["Sure."]), [], adapter="run").adapter_folder(tmp_path)


def test_a_column_that_two_evaluators_give_is_refused(evaluators):
    with pytest.raises(ValueError, match="the column 'length' is given by more than one evaluator"):
        Evaluation(None, [evaluators.Length(), evaluators.Length(scale=2.0)])


def test_a_prompt_without_reference_is_counted(validation, tests):
    rows = [row for row in validation.rows("revisions.jsonl") if row["id"] != tests[0].id]
    jsonl.write(validation.run / "revisions.jsonl", rows)
    assert validation("validate") == 0
    assert validation.summary()["counts"]["without a reference"] == 1
    assert validation.rows("responses.jsonl")[0]["reference"] is None
    assert not math.isnan(validation.summary()["metrics"]["length"]["mean"])
