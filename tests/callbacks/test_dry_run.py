"""A dry run counts tokens, reckons with rows in flight, and leaves nothing behind."""

import json

import pytest
from rich.console import Console

from cai_lightning.callbacks.dry_run import MOST_ROWS, Price, Trial, _note, _table

ENGINE = {"class_path": "cai_lightning.engines.ScriptedEngine", "init_args": {"script": ["Sure.", "It is bad.", "No."]}}


@pytest.fixture
def scripted(experiment):
    experiment.sections["predict"]["model"]["init_args"]["engine"] = ENGINE
    experiment.save()
    return experiment


def words(text):
    return " ".join(text.split())


def printed(table):
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table)
    return words(capture.get())


@pytest.mark.parametrize(
    ("rows", "width", "least", "most"),
    [
        (1600, 16, 1000.0, 1000.0),  # as many in flight as were tried
        (1600, 64, 250.0, 1000.0),  # four times as many: between four times as fast and no faster
        (32, 64, 10.0, 20.0),  # never more in flight than there are
        (4, 64, 2.5, 2.5),
    ],
)
def test_rows_in_flight_together_do_not_add_up(rows, width, least, most):
    trial = Trial(rows=16, seconds=10.0, prompt_tokens=100, tokens=50)
    assert trial.time(rows, width) == pytest.approx((least, most))


def test_the_table_multiplies():
    trial = Trial(rows=4, seconds=8.0, prompt_tokens=1000.0, tokens=200.0)
    text = printed(_table(trial, 3600, 2, 8, Price(0.5, 2.0, per_hour=4.0)))
    assert "prompt tokens 1,000 3,600,000" in text
    assert "written tokens 200 720,000" in text
    assert "time on this machine 0:30:00 to 1:00:00" in text  # 1,800 rows on each of two processes, one every 1 to 2 s
    assert "US dollars 5.24 to 7.24" in text  # 3.6 * 0.5 + 0.72 * 2, and half an hour or a whole one


def test_what_is_not_known_is_not_shown():
    text = printed(_table(Trial(4, 8.0, 0.0, 200.0), 10, 1, 4, Price()))
    assert "prompt tokens not told by this engine" in text
    assert "dollars" not in text
    assert "predict keeps" not in _note(Trial(4, 8.0, 0.0, 200.0), 1, 4)
    assert "predict keeps 8 in flight" in _note(Trial(4, 8.0, 0.0, 200.0), 1, 8)


def test_it_writes_nothing_and_counts_what_is_missing(scripted, capsys):
    assert scripted("predict", "--dry-run", "--model.price.per_million_tokens", 1e6) == 0
    shown = words(capsys.readouterr().out)
    assert "dry run: 40 of 40 rows are to be made" in shown
    assert "a row 40 rows" in shown
    assert "written tokens 5 200" in shown
    assert "US dollars without prompts 200.00" in shown
    assert "Measured on 8 rows in flight together, which were thrown away" in shown
    assert not scripted.run.exists()
    assert scripted("predict", "--data.limit", 30) == 0
    before = {path.name: path.read_bytes() for path in scripted.run.iterdir()}
    assert scripted("predict", "--dry-run") == 0
    assert "dry run: 10 of 40 rows are to be made" in words(capsys.readouterr().out)
    assert {path.name: path.read_bytes() for path in scripted.run.iterdir()} == before
    assert scripted("predict", "--dry-run", "--data.limit", 30) == 0
    assert "dry run: 0 of 30 rows are to be made" in words(capsys.readouterr().out)


def test_a_model_behind_it_counts_its_tokens(experiment, capsys):
    engine = experiment.sections["predict"]["model"]["init_args"]["engine"]
    engine["init_args"]["batch_size"] = 64
    experiment.save()
    assert experiment("predict", "--dry-run") == 0
    shown = words(capsys.readouterr().out)
    assert f"Measured on {MOST_ROWS} rows in flight together" in shown
    assert "not told" not in shown
    assert not experiment.run.exists()


def test_it_tells_of_what_would_stop_the_run(scripted, capsys):
    assert scripted("predict", "--data.limit", 2) == 0
    assert scripted("predict", "--dry-run", "--model.seed", 7) == 1
    assert "now it is 7" in capsys.readouterr().err
    assert scripted("predict", "--dry-run", "--fresh") == 1
    assert "leave --fresh out" in capsys.readouterr().err
    assert json.loads((scripted.run / "predict.json").read_text())["settings"]["model.seed"] == 42


def test_a_price_changes_no_row(scripted):
    assert scripted("predict", "--data.limit", 2) == 0
    assert scripted("predict", "--data.limit", 3, "--model.price", '{"per_hour": 2.5}') == 0


def test_help_tells_of_it(capsys, experiment):
    assert experiment("predict", "--help") == 0
    assert "--dry-run" in capsys.readouterr().out
    assert experiment("validate", "--help") == 0
    assert "--dry-run" not in capsys.readouterr().out
