"""A lock names its process, goes with it however it ends, and keeps no one for longer; more in `test_journal.py`."""

import os
import signal
import subprocess
import sys

import pytest

from cai_lightning.run import files
from cai_lightning.run.errors import UserError

HOLD = """\
import pathlib, sys, time
from cai_lightning.run import files
with files.locked(pathlib.Path(sys.argv[1])):
    print(1, flush=True)
    time.sleep(60)
"""


def test_nobody_holds_what_nobody_has_taken(tmp_path):
    assert files.holder(tmp_path / "fit.json") is None
    with files.locked(tmp_path / "fit.json"):
        assert files.holder(tmp_path / "fit.json") == str(os.getpid())
    assert files.holder(tmp_path / "fit.json") is None


def test_a_killed_process_holds_nothing(tmp_path):
    path = tmp_path / "fit.json"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "1\n"
        assert files.holder(path) == str(other.pid)
        with pytest.raises(UserError, match=f"process {other.pid} is writing to this file"), files.locked(path):
            pass
        other.send_signal(signal.SIGKILL)
    with files.locked(path):
        pass
