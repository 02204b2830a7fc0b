"""Validate keeps an answer without words, scores it by no metric, and counts it; predict sets its row aside."""

import pytest

from cai_lightning.data.prompts import read_prompts

BLANK, THINKING = (" \n", None), ("", "Hm, and")


@pytest.fixture
def mute(experiment, flaky):
    """The engine, and metrics that are told from one another."""
    metrics = [{"class_path": f"outside.{name}"} for name in ("Length", "Fragile")]
    experiment.sections["validate"]["model"]["init_args"]["metrics"] = metrics
    experiment.save()
    return flaky


def test_an_answer_without_words_is_kept_and_scored_by_no_metric(experiment, mute, tests, capsys, evaluators):
    experiment.write_revisions()
    mute.silent.update({(tests[0].id, "response"): BLANK, (tests[1].id, "response"): THINKING})
    whys = {tests[0].id: "empty response", tests[1].id: "unfinished thought"}
    for again in (False, True):
        evaluators.calls.clear()
        mute.asked.clear()
        assert experiment("validate") == 0
        assert len(mute.asked) == (0 if again else len(tests)), "no answer is drawn twice"
        rows = {row["id"]: row for row in experiment.rows("responses.jsonl")}
        assert rows.keys() == {prompt.id for prompt in tests}
        assert (rows[tests[0].id]["response"], "thought" in rows[tests[0].id]) == (" \n", False)
        silent = rows[tests[1].id]
        assert (silent["response"], silent["thought"], silent["finish_reason"]) == ("", "Hm, and", "length")
        assert rows[tests[2].id]["thought"] == "Well."
        scores = {(row["id"], row["metric"]): row for row in experiment.rows("scores.jsonl")}
        for metric in ("length", "fragile"):
            for id, why in whys.items():
                assert (scores[id, metric]["score"], scores[id, metric]["reason"]) == (None, why)
        assert not whys.keys() & set(evaluators.calls)
        summary = experiment.summary()
        assert summary["metrics"]["length"]["reasons"] == {"empty response": 1, "unfinished thought": 1}
        counts = {"empty responses": 1, "unfinished thoughts": 1, "without a response": 0, "responses": len(tests)}
        assert counts.items() <= summary["counts"].items()
        shown = capsys.readouterr().err
        assert f"warning: of {len(tests)} responses 1 empty responses, 1 unfinished thoughts: no metric scores" in shown


def test_nothing_is_said_of_silence_where_there_is_none(experiment, mute, capsys):
    experiment.write_revisions()
    assert experiment("validate") == 0
    assert "no metric scores" not in capsys.readouterr().err


def test_a_row_without_words_is_set_aside_and_the_next_run_draws_anew(experiment, mute, prompts_file, capsys):
    prompts = read_prompts(str(prompts_file))
    bad = prompts[5].id
    mute.silent.update({(bad, "critique0"): THINKING})
    for run in (1, 2):
        assert experiment("predict") == (0 if run == 1 else 1)
        (failed,) = experiment.rows("failed.jsonl")
        assert (failed["id"], failed["stage"], failed["silent_draws"]) == (bad, "critique 1", {"critique 1": 3 * run})
        assert failed["reason"] == "unfinished thought in each of 3 draws"
        drawn = [seed for seed in mute.asked if seed.startswith(f"42:{bad}:critique0")]
        numbers = range(3 * run - 3, 3 * run)
        assert drawn == [f"42:{bad}:critique0{f':{number}' if number else ''}" for number in numbers]
    mute.silent.clear()
    assert experiment("predict") == 0
    assert not (experiment.run / "failed.jsonl").exists()
    row = next(row for row in experiment.rows("revisions.jsonl") if row["id"] == bad)
    assert row["rounds"][0]["critique"] == f"reply to 42:{bad}:critique0:6"
    assert row["initial_response"] == f"reply to 42:{bad}:response"
    assert row["thoughts"] == ["Well."] * 3


def test_thoughts_are_left_out_where_there_are_none(experiment, mute, prompts_file):
    for prompt in read_prompts(str(prompts_file)):
        mute.silent.update({(prompt.id, stage): ("Yes.", None) for stage in ("response", "critique0", "revision0")})
    assert experiment("predict", "--data.limit", 5) == 0
    assert not any("thoughts" in row for row in experiment.rows("revisions.jsonl"))
