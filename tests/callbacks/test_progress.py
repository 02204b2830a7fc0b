"""The line of progress says rows, failures, speed and the time left, alike on a terminal and in a log."""

import pytest
from rich.console import Console

from cai_lightning.callbacks import progress
from cai_lightning.callbacks.progress import RowProgress
from cai_lightning.callbacks.recording import Sink
from cai_lightning.engines import Reply


class Process:
    def __init__(self, rank=0, size=1):
        self.is_global_zero, self.world_size = rank == 0, size


@pytest.fixture
def clock(monkeypatch):
    """Seconds, set by hand."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def started(monkeypatch, terminal=False, **process):
    shown = RowProgress()
    shown._console = Console(stderr=True, force_terminal=terminal)
    shown.setup(Process(**process), None, "predict")
    shown.on_stage("revisions", 100, 20)
    return shown


def test_the_state_is_reckoned_from_this_runs_rows(monkeypatch, clock):
    shown = started(monkeypatch)
    assert shown._state() == "20/100 rows"
    clock[0] += 10
    for n in range(5):
        shown.on_reply(0, 2000, cut=False)
        shown.on_row(failed=n == 0)
    assert shown._state() == "24/100 rows, 1 failed, 1,000 tokens/s, 0:02:30 left"
    for _ in range(75):
        shown.on_row()
    assert shown._state() == "99/100 rows, 1 failed, 1,000 tokens/s"


def test_replies_that_were_cut_are_counted(monkeypatch, clock):
    shown = started(monkeypatch)
    for reason in ("stop", "length", "unknown"):
        Sink(shown).reply(Reply("text", reason, 0))
    assert shown._state() == "20/100 rows, 1 of 3 replies cut"


def test_a_log_gets_a_line_every_half_minute(monkeypatch, clock, capsys):
    shown = started(monkeypatch, size=2)
    for _ in range(7):
        clock[0] += 10
        shown.on_row()
    shown.teardown(Process(), None, "predict")
    assert capsys.readouterr().err.splitlines() == [
        "revisions (process 1 of 2): 20/100 rows",
        "revisions (process 1 of 2): 24/100 rows, 0:12:40 left",
        "revisions (process 1 of 2): 27/100 rows, 0:12:10 left",
    ]


def test_other_processes_say_nothing(monkeypatch, clock, capsys):
    shown = started(monkeypatch, rank=1, size=2)
    clock[0] += 60
    shown.on_row()
    shown.teardown(Process(1, 2), None, "predict")
    assert capsys.readouterr().err == ""
