"""The command line of a verb that is one function, and in one line what is wrong with a setting.

    call(compare, ["runs/base", "runs/contextual", "--output", "report"], "compare", "Which run is better?")

    usage_error('Parser key "model": ...')
    # model: SupervisedFineTuning has no setting 'learnign_rate'; did you mean 'learning_rate'?

A function's arguments are the options, its docstring explains them. Nothing heavy is imported here.
"""

import inspect
import pydoc
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cai_lightning.run.errors import UserError

PROGRAM = "python -m cai_lightning"

Known = Mapping[str, Mapping[str, Any]]
"""Arguments by their names on the command line, with what the parser is to know of each beside its help."""

RUNS: Known = {"runs": {"nargs": "+", "type": Path, "metavar": "RUN"}}
"""The runs that a command is about, without an option's name in front."""


def call(command: Callable[..., None], args: Sequence[str], verb: str, about: str, known: Known = RUNS) -> None:
    """Reads the words behind a verb and calls its function.

    Args:
        command: Its arguments become options.
        args: The words behind the verb.
        verb: Its name, for the usage.
        about: One line on what it is for.
        known: The arguments that need no option's name, and the options that the signature does not say enough of.
    """
    command(**read_arguments(command, args, verb, about, known))


def read_arguments(
    command: Callable[..., None], args: Sequence[str], verb: str, about: str, known: Known, **parser_settings: Any
) -> dict[str, Any]:
    """Likewise, and returns the arguments; what is False by default becomes a switch.

    Args:
        command: Its arguments become options.
        args: The words behind the verb.
        verb: Its name, for the usage.
        about: What it is for.
        known: The arguments that the signature does not say enough of.
        parser_settings: Those of jsonargparse's parser.

    Raises:
        UserError: A constructor does not take what it is given.
    """
    from jsonargparse import ArgumentParser

    documented = ArgumentParser()
    documented.add_function_arguments(command)
    parser = ArgumentParser(prog=f"{PROGRAM} {verb}", description=about, **parser_settings)
    help_of = {action.dest: action.help for action in documented._actions}
    parameters = inspect.signature(command).parameters.values()
    switches = {f"--{each.name}": {"action": "store_true"} for each in parameters if each.default is False}
    for name, settings in {**switches, **known}.items():
        action = parser.add_argument(name, **settings)
        action.help = help_of.pop(action.dest, action.help)
    added = set[str | int](each.name for each in parameters if each.name not in help_of)
    parser.add_function_arguments(command, skip=added)
    try:
        return dict(parser.instantiate_classes(parser.parse_args(list(args))).as_dict())
    except ValueError as error:
        raise UserError(summarize(error)) from error


def check_confidence(confidence: float) -> None:
    """Refuses what is no share of intervals.

    Raises:
        UserError: It does not lie between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise UserError(f"--confidence {confidence:g}: expected a number between 0 and 1, such as 0.95.")


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

TRAINER = "lightning.pytorch.Trainer"

REWORDED = {
    "No supported gpu backend found!": (
        "the configuration sets trainer.accelerator: gpu, but this machine has no GPU that PyTorch can use. Add "
        "--trainer.accelerator cpu, which is slow, or begin with configs/laptop_contextual.yaml."
    )
}
"""Lightning's own words that tell a user nothing, and what is said instead."""


def usage_error(message: str) -> str:
    """The setting, what is wrong with it, and the nearest name where one was misspelt.

    Args:
        message: jsonargparse's; one that does not look as expected is handed back as it is.
    """
    if option := OPTION.search(message):
        return f"trainer has no setting {option[1]!r}{_nearest(option[1], _settings(TRAINER))}"
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
        return f"{owner.rpartition('.')[2]} has no setting {unknown[1]!r}{_nearest(unknown[1], _settings(owner))}"
    if absent := ABSENT.match(wrong):
        return f"{absent[1]} has no {absent[2]!r}{_nearest(absent[2], dir(pydoc.locate(absent[1])))}"
    if expected := EXPECTED.match(wrong):
        kind, words, value = expected.groups()
        given = GIVEN.search(after)
        return f"expected {kind or f'one of {words}'}, found {value or (given[1] if given else 'nothing')}"
    return wrong


def _settings(owner: str) -> list[str]:
    found: Any = pydoc.locate(owner)
    return list(inspect.signature(found).parameters)


def _nearest(name: str, names: list[str]) -> str:
    found = get_close_matches(name, names, n=1)
    return f"; did you mean {found[0]!r}?" if found else f"; it has {', '.join(n for n in names if n[0] != '_')}."
