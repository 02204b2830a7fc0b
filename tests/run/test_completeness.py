"""What a verb reads is all that the verb before it was to make, or it is said, and stands in what comes of it."""

import json
import os

import pytest

from cai_lightning.cli.main import main
from cai_lightning.commands.ask.experiment import read_experiment
from cai_lightning.run import files, jsonl, manifest
from cai_lightning.run.errors import UserError
from cai_lightning.run.manifest import check_predicted, unfinished

REVISIONS = ("revisions", "data.corpus")


@pytest.fixture
def killed(experiment):
    """An experiment whose training was killed in its second of two epochs."""
    experiment.write_revisions()
    experiment.sections["validate"]["model"]["init_args"]["adapter"] = "run"
    experiment.sections["fit"]["trainer"]["callbacks"] = [{"class_path": "outside.Killed"}]
    experiment.save()
    assert experiment("fit") == 9
    del experiment.sections["fit"]["trainer"]["callbacks"]
    experiment.save()
    return experiment


def test_an_unfinished_training_is_evaluated_only_where_that_is_asked_for(killed, tmp_path, capsys):
    adapter = killed.run / "adapter"
    why = f"{adapter}: fit has not finished, and this is the best of it so far, of step 4 of 8"
    assert unfinished(adapter) == why
    assert killed("validate") == 1
    assert f"error: {why}. The same fit command goes on with it" in capsys.readouterr().err
    assert not (killed.run / "responses.jsonl").exists()
    elsewhere = ("--model.adapter", adapter, "--data.references", killed.run / "revisions.jsonl")
    killed.run = tmp_path / "other"
    assert killed("validate", *elsewhere) == 1
    assert why in capsys.readouterr().err
    assert killed("validate", *elsewhere, "--model.unfinished", "true") == 0
    assert f"warning: {why}" in capsys.readouterr().err
    assert killed.summary()["unfinished"] == why
    assert main(["compare", str(killed.run), "--output", str(tmp_path / "report")]) == 0
    assert "fit has not finished" in (tmp_path / "report" / "report.md").read_text()


def test_finished_it_is_evaluated_and_the_word_is_gone(killed):
    assert killed("validate", "--model.unfinished", "true") == 0
    assert killed.summary()["unfinished"]
    assert killed("fit") == 0
    assert unfinished(killed.run / "adapter") is None
    assert killed("validate") == 0
    assert killed.summary()["unfinished"] is None


def test_export_and_ask_say_so_too(killed, tmp_path, capsys):
    arguments = ["export", str(killed.run), "--output", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "of step 4 of 8. The same fit command goes on with it" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*arguments, "--unfinished"]) == 0
    assert "The training had not finished" in (tmp_path / "out" / "README.md").read_text()
    asked = read_experiment([f"--config={killed.config}", f"--run={killed.run}"])
    assert asked.adapter == killed.run / "adapter"
    assert "fit has not finished" in asked.note


def test_the_process_that_is_at_work_is_named(killed):
    with files.locked(killed.run / "fit.json"):
        assert unfinished(killed.run / "adapter").endswith(f"process {os.getpid()} is at work on it")
    assert "process" not in unfinished(killed.run / "adapter").removeprefix(str(killed.run))


def test_nothing_is_known_of_what_no_fit_has_left_there(tmp_path):
    (tmp_path / "adapter").mkdir()
    assert unfinished(tmp_path / "adapter") is None
    (tmp_path / "fit.json").write_text("{}")
    assert unfinished(tmp_path / "mine") is None


def test_fit_does_not_begin_beside_predict(experiment, capsys):
    experiment.write_revisions()
    with files.locked(experiment.run / "predict.json"):
        assert experiment("fit") == 1
    said = capsys.readouterr().err
    assert f"predict, process {os.getpid()}, is still making these revisions" in said
    assert not (experiment.run / "fit.json").exists()
    elsewhere = experiment.run / "revisions.jsonl"
    experiment.run = experiment.run.with_name("other")
    with files.locked(elsewhere.with_name("predict.json")):
        assert experiment("fit", "--data.corpus", elsewhere) == 1
    assert "is still making these revisions" in capsys.readouterr().err


def test_revisions_of_a_killed_predict_are_counted(experiment, capsys):
    assert experiment("predict") == 0
    assert manifest.noted(experiment.run, "predict")["rows"] == 40
    path = experiment.run / "revisions.jsonl"
    assert check_predicted(path, *REVISIONS) is None
    rows = [{**row, "revision": "I will not help with that."} for row in experiment.rows("revisions.jsonl")]
    (experiment.run / "failed.jsonl").write_text(json.dumps({"id": rows[0]["id"], "reason": "no answer"}) + "\n")
    jsonl.write(jsonl.rank_file(path, 0), rows[1:5])
    jsonl.write(path, rows[5:])
    capsys.readouterr()
    assert experiment("fit") == 0
    assert "predict has made 39 of 40 revisions there (1 failed)" in capsys.readouterr().err
    jsonl.write(path, rows)
    assert experiment("fit") == 1
    assert "digest of corpus" in capsys.readouterr().err


def test_a_damaged_note_is_named(tmp_path):
    (tmp_path / "predict.json").write_text("[]")
    with pytest.raises(UserError, match=r"predict\.json"):
        check_predicted(tmp_path / "revisions.jsonl", *REVISIONS)
