"""What Lightning launches ends with the process that launched it, and nothing else does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cai_lightning.run.processes import LAUNCHER, ending_together, launched_by_the_first

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
RANK = """
import os, time
from cai_lightning.run.processes import ending_together
with ending_together():
    print(os.getpid(), flush=True)
    time.sleep(60)
"""
FIRST = f"""
import os, subprocess, sys, time
from cai_lightning.run.processes import ending_together
with ending_together():
    subprocess.Popen([sys.executable, "-c", {RANK!r}], env={{**os.environ, "LOCAL_RANK": sys.argv[1]}})
    time.sleep(60)
"""


def gone(pid):
    """Whether a process ends soon; one that nobody waits for is gone all the same."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def launch(rank):
    """The first process, and the number of the one that it launches."""
    first = subprocess.Popen([sys.executable, "-c", FIRST, str(rank)], stdout=subprocess.PIPE, text=True)
    return first, int(first.stdout.readline())


@linux
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_rank_does_not_outlive_the_first_process(end):
    first, rank = launch(1)
    with first:
        first.send_signal(end)
    assert gone(rank)


@linux
def test_a_rank_whose_first_process_died_before_it_could_ask_does_not_begin():
    environment = {**os.environ, "LOCAL_RANK": "1", LAUNCHER: "1"}
    late = subprocess.run([sys.executable, "-c", RANK], env=environment, capture_output=True, check=False)
    assert (late.returncode, late.stdout) == (-signal.SIGKILL, b"")


@linux
def test_a_process_of_its_own_goes_on():
    """Such as one that a shell has started: it may outlive that."""
    first, other = launch(0)
    with first:
        first.kill()
    os.kill(other, 0)
    os.kill(other, signal.SIGKILL)


def test_the_mark_is_gone_after_the_verb(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")  # as torchrun sets it
    with ending_together():
        assert os.environ[LAUNCHER] == str(os.getpid())
        assert not launched_by_the_first()
    assert LAUNCHER not in os.environ
