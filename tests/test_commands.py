"""Commands that README, docs, Makefile and scripts show are real: what they name exists, and what they run parses."""

import argparse
import ast
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from cai_lightning.cli.main import main
from cai_lightning.run.config import RUN_VERBS
from cai_lightning.sandbox import __main__ as sandbox

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELL = ("pip", "for", "done", "export")
"""First words of lines that are the shell's or a package manager's business."""

PARSED = (*RUN_VERBS, "ask")


def lines(text):
    """Its lines, each whole: a backslash continues one."""
    return [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def shown(document):
    """The commands of a Markdown text: those in its blocks of shell, and in the text itself."""
    text = document.read_text(encoding="utf-8")
    yield from (line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in lines(block))
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    yield from (span for span in spans if span.startswith(("python ", "make ", "sbatch ")))
    verbs = "|".join(RUN_VERBS)
    yield from (f"python -m cai_lightning {span}" for span in spans if re.match(rf"({verbs}) --config configs/", span))


def usage(script):
    """The commands in a script's own docstring."""
    docstring = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    yield from (line for line in lines(docstring) if line.startswith("python "))


def recipes():
    """The Makefile's calls of scripts, each variable in them standing for its own name."""
    for line in lines((ROOT / "Makefile").read_text(encoding="utf-8")):
        if found := re.search(r"\$\(PY\) (scripts/.*)", line):
            yield "python " + re.sub(r"\$\((\w+)\)", r"\1", found[1].replace("$(BENCH)", ""))


def commands():
    """All of them, each once, as words."""
    texts = [text for document in DOCUMENTS for text in shown(document)]
    texts += [text for script in sorted((ROOT / "scripts").glob("*.py")) for text in usage(script)]
    words = [tuple(shlex.split(text.removesuffix("&"), comments=True)) for text in [*texts, *recipes()]]
    return [list(command) for command in dict.fromkeys(words) if command and command[0] not in SHELL]


COMMANDS = commands()
VERBS = [command[3:] for command in COMMANDS if command[:3] == ["python", "-m", "cai_lightning"]]
SCRIPTS = [command[1:] for command in COMMANDS if command[0] == "python" and command[1].startswith("scripts/")]
SHELL_SCRIPTS = [command for command in COMMANDS if command[0].endswith(".sh")]
OTHERS = [c for c in COMMANDS if c[0] == "python" and c[3:] not in VERBS and c[1:] not in SCRIPTS]


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


class Read(Exception):
    """A script has read its command line."""


def test_there_are_commands_of_every_kind():
    assert len(VERBS) >= 20
    assert len(SCRIPTS) >= 12
    assert {command[0] for command in COMMANDS} - {command[0] for command in SHELL_SCRIPTS} == {
        "python",
        "make",
        "sbatch",
    }


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


@pytest.mark.filterwarnings("ignore:Importing from 'sentence_transformers:DeprecationWarning")
@pytest.mark.parametrize("command", SCRIPTS, ids=" ".join)
def test_a_script_knows_the_options(command, monkeypatch):
    def read(self, args=None, namespace=None):
        parse(self, args, namespace)
        raise Read

    parse = argparse.ArgumentParser.parse_args
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", read)
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    with pytest.raises(Read):
        runpy.run_path(command[0], run_name="__main__")


@pytest.mark.parametrize("command", SHELL_SCRIPTS, ids=" ".join)
def test_a_shell_script_knows_the_options(command):
    known = re.findall(
        r"--[a-z-]+(?=[ |)])", "".join(re.findall(r"^ +--.*\)", Path(command[0]).read_text(), re.MULTILINE))
    )
    assert known
    assert {word for word in command if word.startswith("--")} <= set(known)


@pytest.mark.parametrize("command", OTHERS, ids=" ".join)
def test_another_python_program_is_there(command):
    if command[:3] == ["python", "-m", "cai_lightning.sandbox"]:
        sandbox.parse(command[3:])
    else:
        assert Path(command[1]).is_file()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "make"], ids=" ".join)
def test_a_make_target_exists(command):
    targets = [word for word in command[1:] if "=" not in word]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "sbatch"], ids=" ".join)
def test_a_batch_script_and_its_configuration_exist(command):
    named = [ROOT / word for word in command if word.endswith((".sbatch", ".yaml"))]
    assert len(named) == 2
    assert all(path.is_file() for path in named)


@pytest.mark.parametrize(("document", "link"), [
    (document, link)
    for document in DOCUMENTS
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text(encoding="utf-8"))
])  # fmt: skip
def test_a_link_leads_somewhere(document, link):
    assert (document.parent / link).exists()
