"""The README's commands are real: what they name exists, and what they run parses."""

import re
import shlex
from pathlib import Path

import pytest

from cai_lightning.cli import main
from cai_lightning.sections import RUN_VERBS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
PARSED = (*RUN_VERBS, "ask")
VERBS = [command[3:] for command in COMMANDS if command[:3] == ["python", "-m", "cai_lightning"]]


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_there_are_commands():
    assert len(VERBS) >= 6


@pytest.mark.parametrize("command", [c for c in VERBS if c[0] not in PARSED], ids=" ".join)
def test_a_plain_verb_gets_as_far_as_the_first_missing_file(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 1
    named = capsys.readouterr().err.partition("error: ")[2].partition(":")[0]
    assert named
    assert any(word.startswith(named) or named.startswith(word) for word in command[1:]), named


@pytest.mark.parametrize("command", [c for c in VERBS if c[0] in PARSED], ids=" ".join)
def test_a_verb_parses(command, capsys):
    arguments = command if "--print_config" in command else [*command, "--print_config"]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0, capsys.readouterr().err


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "make"], ids=" ".join)
def test_a_make_target_exists(command):
    assert re.search(rf"^{command[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "sbatch"], ids=" ".join)
def test_a_batch_script_and_its_configuration_exist(command):
    named = [ROOT / word for word in command if word.endswith((".sbatch", ".yaml"))]
    assert len(named) == 2
    assert all(path.is_file() for path in named)


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_a_link_leads_somewhere(link):
    assert (ROOT / link).exists()
