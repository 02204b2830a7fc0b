"""The script behind `make demo`: its verbs meet the services that it starts, and nothing of it outlives it."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cai_lightning.run.config import read_configuration

ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:4711"
PYTHON = f"""\
#!/usr/bin/env bash
# Stands for Python: notes its words, and the processes that serve or never end.
if [ "$2" = cai_lightning.sandbox ]; then
  echo $$ >>"$NOTES/processes"
  [ "$FAILS" = serve ] && exit 1
  sleep 0.3
  echo "serving on {ADDRESS}"
  exec sleep 600
fi
echo "$*" >>"$NOTES/commands"
[ "$FAILS" = "$3" ] && exit 3
if [ "$FAILS" = never ] && [ "$3" = validate ]; then
  echo $$ >>"$NOTES/processes"
  exec sleep 600
fi
exit 0
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    stub = tmp_path / "python"
    stub.write_text(PYTHON)
    stub.chmod(0o755)

    def run(fails=""):
        settings = {"PYTHON": str(stub), "NOTES": str(tmp_path), "FAILS": fails, "TMPDIR": str(tmp_path)}
        return subprocess.Popen(
            [ROOT / "scripts" / "sandbox_experiment.sh"],
            cwd=ROOT,
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return run


def lives(number):
    """Whether that process still runs: one that has ended stays listed until its end is asked for."""
    try:
        return "State:\tZ" not in Path("/proc", number, "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def assert_all_gone(tmp_path):
    """What never ends by itself has ended, the service above all, and the folder of intermediate files is gone."""
    started = (tmp_path / "processes").read_text().split()
    until = time.monotonic() + 30  # whoever adopts them may take a moment to bury them
    while time.monotonic() < until and any(map(lives, started)):
        time.sleep(0.05)
    assert [number for number in started if lives(number)] == []
    assert list(tmp_path.glob("tmp.*")) == []


def test_validate_asks_the_services_where_they_are(start, tmp_path):
    with start() as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    commands = [line.split() for line in (tmp_path / "commands").read_text().splitlines()]
    validated = [command for command in commands if command[2] == "validate"]
    assert len(validated) == 6
    for command in validated:
        name = command[4]
        assert command[command.index("--shared.service") + 1] == ADDRESS
        assert str(read_configuration(ROOT / name).section("validate")).count("127.0.0.1:8899") == 2
        told = read_configuration(ROOT / name, {"shared.service": ADDRESS}).section("validate")
        assert str(told).count(ADDRESS) == 2
    assert not any("--shared.service" in command for command in commands if command not in validated)
    assert commands[-1][2] == "compare"
    assert_all_gone(tmp_path)


@pytest.mark.parametrize("verb", ["predict", "fit", "validate", "serve"])
def test_a_failure_ends_it_and_the_services(verb, start, tmp_path):
    with start(verb) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, None), out
    assert "compare" not in (tmp_path / "commands").read_text()
    assert_all_gone(tmp_path)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_interrupted(sign, start, tmp_path):
    """With a verb before it in the background, which bash would keep Ctrl-C from."""
    with start("never") as process:
        while not _is_validating(tmp_path / "commands"):
            time.sleep(0.05)
        os.killpg(process.pid, sign)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert_all_gone(tmp_path)


def _is_validating(commands):
    return commands.exists() and " validate --config configs/sandbox_base.yaml" in commands.read_text()
