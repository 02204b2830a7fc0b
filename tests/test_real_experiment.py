"""Every command of `scripts/real_experiment.sh` parses: the real thing takes twenty minutes."""

import subprocess
import sys
from pathlib import Path

import pytest

from cai_lightning.cli.main import main
from cai_lightning.run.config import RUN_VERBS

ROOT = Path(__file__).parents[1]


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """What the script runs, written down by what it takes for Python."""
    log, python = tmp_path / "log", tmp_path / "python"
    python.write_text(
        f'#!{sys.executable}\nimport sys\nopen({str(log)!r}, "a").write("\\0".join(sys.argv[1:]) + "\\n")\n'
    )
    python.chmod(0o755)
    monkeypatch.setenv("PYTHON", str(python))
    monkeypatch.setenv("PROMPTS", "a folder")
    monkeypatch.chdir(ROOT)
    subprocess.run(["scripts/real_experiment.sh"], check=True, capture_output=True, timeout=60)
    return [line.split("\0")[2:] for line in log.read_text().splitlines()]


def test_it_runs_every_verb_and_every_command_parses(commands, capsys):
    by_verb = {verb: sorted(command[2] for command in commands if command[0] == verb) for verb in RUN_VERBS}
    tuned = ["configs/smollm2_contextual.yaml", "configs/smollm2_random.yaml"]
    assert by_verb == {"predict": tuned, "fit": tuned, "validate": ["configs/smollm2_base.yaml", *tuned]}
    assert [command[0] for command in commands[-2:]] == ["compare", "inspect"]
    for command in (c for c in commands if c[0] in RUN_VERBS):
        with pytest.raises(SystemExit) as stop:
            main([*command, "--print_config"])
        said = capsys.readouterr()
        assert stop.value.code == 0, said.err
        assert command[0] == "fit" or "prompts: a folder" in said.out
