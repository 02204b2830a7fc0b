"""What a log says of a training: where it is, how it goes and how long it takes."""

from types import SimpleNamespace

import pytest
import torch

from cai_lightning.callbacks import progress
from cai_lightning.callbacks.progress import StepLines

BATCH = {"tokens": 1000}


@pytest.fixture
def clock(monkeypatch):
    """Seconds, set by hand."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def trainer(rank=0, size=1, step=0):
    return SimpleNamespace(
        is_global_zero=rank == 0,
        world_size=size,
        estimated_stepping_batches=40,
        global_step=step,
        callback_metrics={},
        sanity_checking=False,
    )


def trained(lines, training, clock, steps, seconds=10.0):
    """So many steps of two batches each."""
    for _ in range(steps):
        for part in range(2):
            clock[0] += seconds / 2
            training.global_step += part
            training.callback_metrics["train_loss"] = torch.tensor(2.0 - training.global_step / 100)
            lines.on_train_batch_end(training, None, None, BATCH, 0)


def test_a_line_comes_every_half_minute_and_after_every_validation(clock, capsys):
    lines, training = StepLines(), trainer(size=2, step=10)
    lines.on_train_start(training, None)
    trained(lines, training, clock, 7)
    training.callback_metrics["val_loss"] = torch.tensor(1.25)
    lines.on_validation_end(training, None)
    trained(lines, training, clock, 23)
    lines.on_train_end(training, None)
    said = capsys.readouterr().err.splitlines()
    assert said[:4] == [
        "fit: step 10/40",
        "fit: step 13/40, loss 1.870, 400 tokens/s, 0:05:15 left",
        "fit: step 17/40, loss 1.830, 400 tokens/s, 0:03:50 left",
        "fit: step 17/40, validation loss 1.250",
    ]
    assert said[-1].startswith("fit: step 40/40, loss 1.600")
    assert "left" not in said[-1]
    assert len(said) == 11


def test_a_terminal_has_a_bar_and_other_processes_say_nothing(clock, capsys, monkeypatch):
    for rank, terminal in ((1, False), (0, True)):
        lines, training = StepLines(), trainer(rank, 2)
        monkeypatch.setattr(progress, "has_bar", lambda terminal=terminal: terminal)
        lines.on_train_start(training, None)
        trained(lines, training, clock, 10)
        lines.on_validation_end(training, None)
        lines.on_train_end(training, None)
    assert capsys.readouterr().err == ""


def test_a_validation_before_the_first_step_is_none(clock, capsys):
    lines, training = StepLines(), trainer()
    training.sanity_checking = True
    training.callback_metrics["val_loss"] = torch.tensor(1.25)
    lines.on_validation_end(training, None)
    assert capsys.readouterr().err == ""


def test_fit_says_in_a_log_how_it_goes(experiment, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    experiment.write_revisions()
    assert experiment("fit", "--trainer.max_epochs", 1) == 0
    out, err = capsys.readouterr()
    assert "Epoch" not in out
    said = [line for line in err.splitlines() if line.startswith("fit: step ")]
    total = int(said[-1].split(",")[0].rpartition("/")[2])
    assert said[0] == f"fit: step 0/{total}"
    assert len([line for line in said if " tokens/s" in line]) >= total - 1
    assert any(line.startswith(f"fit: step {total}/{total}, validation loss ") for line in said)
