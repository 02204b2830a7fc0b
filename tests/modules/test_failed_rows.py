"""A row that fails is set aside with its reason, is tried again, and takes no other with it."""

import pytest

from cai_lightning.data.prompts import read_prompts


@pytest.fixture
def prompts(prompts_file):
    return read_prompts(str(prompts_file))


def test_a_failed_row_is_set_aside_and_made_by_the_next_run(experiment, flaky, prompts, capsys):
    bad = {prompts[3].id: "response", prompts[7].id: "critique0", prompts[30].id: "revision0"}
    flaky.failing |= set(bad.items())
    assert experiment("predict") == 0
    assert len(experiment.rows("revisions.jsonl")) == 37
    failed = experiment.rows("failed.jsonl")
    assert [(row["id"], row["stage"]) for row in failed] == [
        (prompts[3].id, "response"), (prompts[7].id, "critique 1"), (prompts[30].id, "revision 1"),
    ]  # fmt: skip
    assert {row["reason"] for row in failed} == {"the server answers 500"}
    assert [row["prompt"] for row in failed] == [prompts[n].prompt for n in (3, 7, 30)]
    shown = capsys.readouterr().err
    assert "warning: 3 of the 40 rows tried failed and are set aside in" in shown
    assert "3 x the server answers 500. The same command tries them again." in shown
    assert "37/40 rows, 3 failed" in shown
    flaky.failing.remove((prompts[7].id, "critique0"))
    assert experiment("predict") == 0
    assert {seed.split(":")[1] for seed in flaky.asked} == set(bad)
    assert [row["id"] for row in experiment.rows("failed.jsonl")] == [prompts[3].id, prompts[30].id]
    flaky.failing.clear()
    assert experiment("predict") == 0
    assert [row["id"] for row in experiment.rows("revisions.jsonl")] == [prompt.id for prompt in prompts]
    assert not list(experiment.run.glob("failed*"))


def test_where_every_row_fails_the_status_says_so(experiment, flaky, prompts, capsys):
    flaky.failing.add("critique0")
    assert experiment("predict", "--data.limit", 5) == 1
    assert "error: 5 of the 5 rows tried failed" in capsys.readouterr().err
    assert not (experiment.run / "revisions.jsonl").exists()
    flaky.failing.clear()
    assert experiment("predict", "--data.limit", 4) == 0
    flaky.failing.add("all")
    assert experiment("predict", "--data.limit", 5) == 1
    assert "error: 1 of the 1 rows tried failed" in capsys.readouterr().err
    assert [row["id"] for row in experiment.rows("failed.jsonl")] == [prompts[4].id]


def test_a_server_that_is_down_ends_it_soon(experiment, flaky, capsys):
    flaky.failing.add("all")
    assert experiment("predict") == 1
    assert "error: gave up after 16 rows in a row had failed" in capsys.readouterr().err
    assert len(flaky.asked) <= 20
    flaky.failing.clear()
    assert experiment("predict") == 0
    assert len(experiment.rows("revisions.jsonl")) == 40
    assert not list(experiment.run.glob("failed*"))


def test_failures_alone_hold_no_setting_fast(experiment, flaky):
    flaky.failing.add("all")
    model = "--model.engine.init_args.model"
    assert experiment("predict", "--data.limit", 2, model, "misspelt") == 1
    assert len(experiment.rows("failed.jsonl")) == 2
    flaky.failing.clear()
    assert experiment("predict", "--data.limit", 2, model, "right") == 0
    assert not (experiment.run / "failed.jsonl").exists()


def test_fresh_moves_failures_aside(experiment, flaky, prompts):
    flaky.failing.add(prompts[0].id)
    assert experiment("predict", "--data.limit", 3) == 0
    flaky.failing.clear()
    assert experiment("predict", "--data.limit", 1, "--fresh") == 0
    assert [row["id"] for row in experiment.rows("before-1/failed.jsonl")] == [prompts[0].id]
    assert not (experiment.run / "failed.jsonl").exists()


def test_a_prompt_without_a_response_is_unscored_and_answered_by_the_next_run(experiment, flaky, tests, capsys):
    experiment.write_revisions()
    flaky.failing |= {tests[1].id, tests[2].id}
    assert experiment("validate") == 0
    assert "warning: 2 of the" in capsys.readouterr().err
    rows = {row["id"]: row for row in experiment.rows("scores.jsonl")}
    assert rows.keys() == {prompt.id for prompt in tests}
    for n in (1, 2):
        assert rows[tests[n].id]["score"] is None
        assert rows[tests[n].id]["reason"] == "no response: the server answers 500"
    summary = experiment.summary()
    column = summary["metrics"]["length"]
    assert (column["scored"], column["unscored"]) == (len(tests) - 2, 2)
    assert column["reasons"] == {"no response: the server answers 500": 2}
    assert summary["counts"]["without a response"] == 2
    flaky.failing.remove(tests[2].id)
    assert experiment("validate") == 0
    assert {seed.split(":")[1] for seed in flaky.asked} == {tests[1].id, tests[2].id}
    assert experiment.summary()["metrics"]["length"]["unscored"] == 1
    flaky.failing.clear()
    assert experiment("validate") == 0
    column = experiment.summary()["metrics"]["length"]
    assert (column["scored"], column["unscored"]) == (len(tests), 0)
    assert len(experiment.rows("scores.jsonl")) == len(tests)


def test_where_no_prompt_is_answered_validate_says_so(experiment, flaky, tests, capsys):
    experiment.write_revisions()
    flaky.failing.add("all")
    assert experiment("validate") == 1
    assert f"error: {len(tests)} of the {len(tests)} rows tried failed and are unscored" in capsys.readouterr().err
    assert experiment.summary()["metrics"]["length"]["unscored"] == len(tests)
