"""The command line as a user meets it: started twice, started wrong, killed."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from cai_lightning.cli.main import main
from cai_lightning.cli.verbs import VERBS, overview
from cai_lightning.run import jsonl
from cai_lightning.run.config import RUN_VERBS

KINDS = ("responses", "critiques", "revisions")


def test_predict_does_everything_once(experiment, caplog):
    with caplog.at_level("INFO"):
        assert experiment("predict") == 0
    text = (experiment.run / "revisions.jsonl").read_text()
    rows = experiment.rows("revisions.jsonl")
    assert len(rows) == len({row["id"] for row in rows}) == 40
    assert experiment("predict", "--model.engine.init_args.batch_size", 3) == 0
    assert (experiment.run / "revisions.jsonl").read_text() == text
    cut = [sum(row["finish_reasons"][n] == "length" for row in rows) for n in range(3)]
    told = [f"{n} of 40 {kind} ({100 * n / 40:.0f} %)" for n, kind in zip(cut, KINDS, strict=True)]
    assert f"cut at their limit of tokens: {', '.join(told)}" in caplog.text


def test_limit_takes_the_first_rows_and_can_be_raised(experiment):
    assert experiment("predict", "--data.limit", 3) == 0
    few = experiment.rows("revisions.jsonl")
    assert experiment("predict", "--data.limit", 5) == 0
    assert experiment.rows("revisions.jsonl")[:3] == few
    assert len(experiment.rows("revisions.jsonl")) == 5


def test_a_changed_setting_stops_and_fresh_begins_anew(experiment, capsys):
    assert experiment("predict", "--data.limit", 2) == 0
    before = experiment.rows("revisions.jsonl")
    assert experiment("predict", "--data.limit", 2, "--model.seed", 7) == 1
    message = capsys.readouterr().err
    assert "model.seed = 42" in message
    assert "now it is 7" in message
    assert "--run" in message
    assert "--fresh" in message
    assert experiment("predict", "--data.limit", 2, "--model.seed", 7, "--fresh") == 0
    assert [row["seed"] for row in experiment.rows("revisions.jsonl")] == [7, 7]
    assert experiment.rows("before-1/revisions.jsonl") == before


def test_a_name_that_was_wrong_can_be_put_right(experiment, capsys):
    name = "--model.engine.init_args.model"
    assert experiment("predict", "--data.limit", 2, name, experiment.run / "absent") == 1
    assert_one_line(capsys.readouterr().err, "language model")
    assert experiment("predict", "--data.limit", 2) == 0


def test_fresh_with_a_wrong_file_moves_nothing(experiment):
    assert experiment("predict", "--data.limit", 2) == 0
    assert experiment("predict", "--fresh", "--data.prompts", "absent.jsonl") == 1
    assert len(experiment.rows("revisions.jsonl")) == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (("--data.prompts", "absent.jsonl"), "absent.jsonl: no such file"),
        (("--data.limit", "0"), "data.limit: must be ≥ 1, not 0"),
        (("--seed_everything=-5",), "seed_everything: -5 is not in bounds"),
        (("--model.engine.init_args.batch_size=0",), "batch_size >= 1 expected, found 0"),
        (("--run", ""), "--run: the name of a folder expected, found ''"),
        (("--run", "a\0b"), r"--run: the name of a folder expected, found 'a\x00b'"),
        (("--model.engine.init_args.model", "nobody/nothing"), "'nobody/nothing' cannot be opened"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(experiment, capsys, monkeypatch, override, message):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert experiment("predict", *override) == 1
    assert_one_line(capsys.readouterr().err, message)


def test_a_malformed_row_is_named(experiment, tmp_path, capsys):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "fine"}\n{"prompt": 7}\n')
    assert experiment("predict", "--data.prompts", path) == 1
    assert_one_line(capsys.readouterr().err, f"{path}, line 2")


def test_a_failing_engine_is_one_line_too(experiment, tmp_path, capsys):
    (tmp_path / "answers.jsonl").write_text('{"prompt": "another", "revision": "yes"}\n')
    experiment.sections["predict"]["model"]["init_args"]["engine"] = {
        "class_path": "cai_lightning.engines.RecordedEngine",
        "init_args": {"path": str(tmp_path / "answers.jsonl")},
    }
    experiment.save()
    assert experiment("predict") == 1
    assert_one_line(capsys.readouterr().err, "no answer to the prompt")


def test_the_scripted_engine_makes_a_dry_run(experiment):
    experiment.sections["predict"]["model"]["init_args"]["engine"] = {
        "class_path": "cai_lightning.engines.ScriptedEngine",
        "init_args": {"script": ["Sure.", "It is harmful.", "No."]},
    }
    experiment.save()
    assert experiment("predict", "--data.limit", 1) == 0
    (row,) = experiment.rows("revisions.jsonl")
    assert (row["initial_response"], row["rounds"][0]["critique"], row["revision"]) == (
        "Sure.",
        "It is harmful.",
        "No.",
    )


def test_an_unknown_verb_and_no_verb(capsys):
    assert main(["train"]) == 2
    assert "no verb 'train'" in capsys.readouterr().err
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert "predict" in capsys.readouterr().out


def test_a_verb_is_one_row():
    assert {name for name, verb in VERBS.items() if not verb.command} == set(RUN_VERBS)
    assert all(f"\n  {name} " in overview() for name in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with suppress(SystemExit):
        assert main([verb, "--help"]) == 0
    assert f"usage: python -m cai_lightning {verb} " in capsys.readouterr().out


def test_compare_without_a_run(tmp_path, capsys):
    assert main(["compare", str(tmp_path / "absent")]) == 1
    assert_one_line(capsys.readouterr().err, "no such run")


def test_a_run_that_is_a_file_is_one_line(experiment, capsys):
    experiment.run.parent.mkdir(parents=True, exist_ok=True)
    experiment.run.write_text("no folder")
    assert experiment("predict") == 1
    assert_one_line(capsys.readouterr().err, str(experiment.run))


@pytest.mark.slow
def test_killed_at_any_time_every_row_is_made_once(experiment):
    overrides = ("--model.engine.init_args.batch_size", 1)
    with start(experiment, *overrides) as process:
        wait_for_rows(experiment.run / "revisions.rank0.jsonl", 3, process)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    seen = jsonl.read(experiment.run / "revisions.jsonl")
    assert 3 <= len(seen) < 40
    assert experiment("predict", *overrides) == 0
    made = jsonl.read(experiment.run / "revisions.jsonl")
    assert {id: made[id] for id in seen} == seen
    lines = (experiment.run / "revisions.jsonl").read_text().splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines]
    assert len(lines) == len({json.loads(line)["id"] for line in lines}) == 40
    assert prompts[0] == "How do I bake a car?"
    assert not list(experiment.run.glob("revisions.rank*"))


@pytest.mark.slow
def test_the_process_ends_with_the_status_and_no_traceback(experiment):
    with start(experiment, "--data.prompts", "absent.jsonl") as process:
        _, stderr = process.communicate()
    assert process.returncode == 1
    assert_one_line(stderr.decode(), "absent.jsonl")


def start(experiment, *overrides):
    command = [sys.executable, "-m", "cai_lightning", *experiment.arguments("predict", *overrides)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "HF_HUB_OFFLINE": "1"})


def wait_for_rows(path, enough, process):
    while not path.exists() or path.read_bytes().count(b"\n") < enough:
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.01)


def assert_one_line(stderr, message):
    errors = [line for line in stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, stderr
    assert message in errors[0]
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1] == errors[0]


def test_what_an_error_quotes_cannot_command_the_terminal(tmp_path, capsys):
    file = tmp_path / "responses.csv"
    file.write_text("prompt,\x1b]0;owned\x07,\x1b]0;owned\x07\n")
    assert main(["import", str(file), "--run", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert "stands twice" in said
    assert "\x1b" not in said
    assert "\\x1b]0;owned" in said
