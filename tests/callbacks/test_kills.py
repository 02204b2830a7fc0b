"""Killed at any moment, with one process or two, predict loses no row and makes none twice; asked to end, it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cai_lightning.run import files, jsonl

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("what", [[], ["--labels"]], ids=["revisions", "labels"])
def test_four_kills_lose_nothing(what):
    command = [sys.executable, str(SCRIPTS / "kill_test.py"), "--kills", "4", *what]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "4 kills, 120 rows, each of them there exactly once" in finished.stdout


@pytest.fixture
def slow(experiment):
    """The experiment with an engine that waits, in two processes where asked."""
    engine = {"class_path": "kill_test.WaitingEngine", "init_args": {"failing": 0.0}}
    experiment.sections["predict"]["model"]["init_args"]["engine"] = engine
    experiment.save()
    return experiment


def start(experiment):
    enough = 2 + len(jsonl.read(experiment.run / "revisions.jsonl"))
    command = [sys.executable, "-m", "cai_lightning", *experiment.arguments("predict")]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    while len(jsonl.read(experiment.run / "revisions.jsonl")) < enough:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    return process


@pytest.mark.slow
def test_sigterm_and_ctrl_c_end_it_at_once(slow):
    for sent, status in ((signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)):
        process = start(slow)
        process.send_signal(sent)
        message = process.communicate()[1]
        assert process.returncode == status
        assert ("what is finished is kept" in message) == (sent == signal.SIGINT)
        assert "Traceback" not in message
    assert 4 <= len(jsonl.read(slow.run / "revisions.jsonl")) < 40


@pytest.mark.parametrize(
    ("step", "said"),
    [(0, "there is no checkpoint yet, so the same command begins anew"), (2, "the same command goes on from {last}")],
)
def test_an_interrupted_training_says_what_there_is(experiment, step, said, capsys):
    experiment.write_revisions()
    interrupted = {"class_path": "outside.Stopped", "init_args": {"step": step, "interrupted": True}}
    experiment.sections["fit"]["trainer"]["callbacks"] = [interrupted]
    experiment.save()
    assert experiment("fit", "--checkpoint_every", 1) == 130
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning does not hear a second one
    last = experiment.run / "checkpoints" / "last.ckpt"
    assert last.exists() == (step > 0)
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"interrupted; {said.format(last=last)}")


@pytest.mark.parametrize("verb", ["predict", "fit", "validate"])
def test_two_of_a_verb_do_not_work_on_one_run(experiment, verb, capsys):
    experiment.write_revisions()
    predicted = {"verb": "predict", "settings": {}}
    (experiment.run / "predict.json").write_text(json.dumps(predicted))
    with files.locked(experiment.run / f"{verb}.json"):
        assert experiment(verb) == 1
    assert f"{verb}.json: process {os.getpid()} is writing to this file" in capsys.readouterr().err
    assert json.loads((experiment.run / "predict.json").read_text()) == predicted
    assert not (experiment.run / "adapter").exists()
