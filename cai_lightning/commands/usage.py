"""Usage errors: which setting is wrong and how, in one line out of the several that jsonargparse makes of it.

usage_error('Parser key "model": ...')
# model: SupervisedFineTuning has no setting 'learnign_rate'; did you mean 'learning_rate'?
"""

import inspect
import pydoc
import re
from difflib import get_close_matches
from functools import cache
from typing import Any, NoReturn

from jsonargparse import _loaders_dumpers
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

from cai_lightning.run.config import refuse_repeated_keys

FRAME = re.compile(
    "Parser key|Problem with|Does not validate|Subtypes:|Errors:|Given value|Expected a path but"
    "|Expected a <class 'NoneType'>"
)
"""How the lines begin that are put around what is wrong."""

KEY = re.compile(r'Parser key "([\w.]+)":')
OWNER = re.compile(r"Problem with given class_path '([\w.]+)'")
UNKNOWN = re.compile(r"Option '([\w.]+)' is not accepted")
ABSENT = re.compile(r"module '([\w.]+)' has no attribute '(\w+)'")
OPTION = re.compile(r"does not accept option 'trainer\.(\w+)'")
EXPECTED = re.compile(r"Expected an? (?:<class '([\w.]+)'>|typing\.Literal\[(.+?)\])(?:\. Got value: (.*))?$")
GIVEN = re.compile(r"Given value: (.*)")

REWORDED = {
    "No supported gpu backend found!": (
        "the configuration sets trainer.accelerator: gpu, but this machine has no GPU that PyTorch can use. Add "
        "--trainer.accelerator cpu, which is slow, or begin with configs/laptop_contextual.yaml."
    )
}
"""Lightning's own words that tell a user nothing, and what is said instead."""


class Parser(LightningArgumentParser):
    """Says in one line which setting is wrong, and how, below the usage of the verb."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # one for a part of the settings
            super().error(message, ex)
        if self._subcommands_action:
            self._subcommands_action.choices[self.args[0]].error(message, ex)
        super().error(usage_error(message), ex)


@cache
def refuse_repeated_settings() -> None:
    """Makes jsonargparse take a value with a key twice for no YAML."""
    refuse_repeated_keys(_loaders_dumpers.get_yaml_default_loader())  # type: ignore[no-untyped-call]


def usage_error(message: str) -> str:
    """The setting, what is wrong with it, and the nearest name where one was misspelt.

    Args:
        message: jsonargparse's; one that does not look as expected is handed back as it is.
    """
    if option := OPTION.search(message):
        return f"trainer has no setting {option[1]!r}{_nearest(option[1], _settings(Trainer))}"
    deepest = _deepest(message)
    if not deepest or not KEY.match(message):
        return message
    before, _, after = message.partition(deepest)
    return f"{'.'.join(KEY.findall(before))}: {_worded(deepest.strip(' -'), before, after)}"


def summarize(error: Exception) -> str:
    """What a constructor had to say, in words that a user can act on."""
    text = str(error)
    deepest = _deepest(text) if FRAME.match(text) else ""
    return REWORDED.get(text) or deepest.strip(" -") or " ".join(text.split())


def _deepest(message: str) -> str:
    """The first of the lines that are indented most, those left out that are put around what is wrong."""
    lines = [line for line in message.splitlines() if line.startswith(" ") and not FRAME.match(line.strip(" -"))]
    return max(lines, key=lambda line: len(line) - len(line.lstrip()), default="")


def _worded(wrong: str, before: str, after: str) -> str:
    if unknown := UNKNOWN.match(wrong):
        owner = OWNER.findall(before)[-1]
        names = _settings(pydoc.locate(owner))
        return f"{owner.rpartition('.')[2]} has no setting {unknown[1]!r}{_nearest(unknown[1], names)}"
    if absent := ABSENT.match(wrong):
        return f"{absent[1]} has no {absent[2]!r}{_nearest(absent[2], dir(pydoc.locate(absent[1])))}"
    if expected := EXPECTED.match(wrong):
        kind, words, value = expected.groups()
        given = GIVEN.search(after)
        return f"expected {kind or f'one of {words}'}, found {value or (given[1] if given else 'nothing')}"
    return wrong


def _settings(owner: Any) -> list[str]:
    return list(inspect.signature(owner).parameters)


def _nearest(name: str, names: list[str]) -> str:
    found = get_close_matches(name, names, n=1)
    return f"; did you mean {found[0]!r}?" if found else f"; it has {', '.join(n for n in names if n[0] != '_')}."
