"""What the command line says of the verbs of a run, and a usage error in one line.

What the command line says of the verbs of a run: usages, and options of their own.

A mistake in the settings in one line, out of the several that jsonargparse makes of it.
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

PROGRAM = "python -m cai_lightning"
DESCRIPTIONS = {
    "predict": "Revises red-team prompts by a constitution: response, critique, revision → RUN/revisions.jsonl",
    "fit": "Fine-tunes a LoRA adapter on the cleaned revisions → RUN/adapter/",
    "validate": "Answers the test prompts and scores the answers → RUN/responses.jsonl, scores.jsonl, summary.json",
}
CLASSES = {
    "predict": ("cai_lightning.modules.CritiqueRevision", "cai_lightning.data.PromptData"),
    "fit": ("cai_lightning.modules.SupervisedFineTuning", "cai_lightning.data.RevisionData"),
    "validate": ("cai_lightning.modules.Evaluation", "cai_lightning.data.PromptData"),
}
"""What `--help` points to: the classes of the shipped configurations."""


def parser_settings(verb: str) -> dict[str, str]:
    """A short usage, for an error shows it before its message, and where the settings of the parts are explained."""
    model, data = CLASSES[verb]
    more = {"predict": "[--dry-run] ", "validate": "[--strict] "}.get(verb, "")
    return {
        "description": (
            f"{DESCRIPTIONS[verb]}. The settings of its parts are explained by {PROGRAM} {verb} --model.help {model} "
            f"and --data.help {data}; --print_config shows them as they would be used."
        ),
        "usage": f"{PROGRAM} {verb} --config FILE [--run DIR] [--fresh] {more}[--print_config] [--KEY VALUE ...]",
    }


def add_options(parser: LightningArgumentParser, verb: str) -> None:
    """Adds the options that one verb has and the others do not."""
    if verb == "predict":
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Makes the first rows, throws them away, and says what tokens, hours and money the missing ones "
            "would take (money by model.price). Writes nothing.",
        )
    if verb == "fit":
        parser.add_argument(
            "--checkpoint_every",
            type=int,
            default=100,
            help="Optimizer steps between two checkpoints to go on from; the end of an epoch is one, too.",
        )
    if verb == "validate":
        parser.set_defaults({"verbose": False})  # the table of the means is ours
        parser.add_argument(
            "--strict", action="store_true", help="Ends with an error where an evaluator could not run."
        )


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
        super().error(mistake(message), ex)


@cache
def refuse_repeated_settings() -> None:
    """Makes jsonargparse take a value with a key twice for no YAML."""
    refuse_repeated_keys(_loaders_dumpers.get_yaml_default_loader())  # type: ignore[no-untyped-call]


def mistake(message: str) -> str:
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


def cause(error: Exception) -> str:
    """What a constructor had to say, in words that a user can act on."""
    text = str(error)
    deepest = _deepest(text) if FRAME.match(text) else ""
    return REWORDED.get(text) or deepest.strip(" -") or " ".join(text.split())


def _deepest(message: str) -> str:
    """The first of the lines that are indented most, those left out that are put around what is wrong."""
    causes = [line for line in message.splitlines() if line.startswith(" ") and not FRAME.match(line.strip(" -"))]
    return max(causes, key=lambda line: len(line) - len(line.lstrip()), default="")


def _worded(cause: str, before: str, after: str) -> str:
    if unknown := UNKNOWN.match(cause):
        owner = OWNER.findall(before)[-1]
        names = _settings(pydoc.locate(owner))
        return f"{owner.rpartition('.')[2]} has no setting {unknown[1]!r}{_nearest(unknown[1], names)}"
    if absent := ABSENT.match(cause):
        return f"{absent[1]} has no {absent[2]!r}{_nearest(absent[2], dir(pydoc.locate(absent[1])))}"
    if expected := EXPECTED.match(cause):
        kind, words, value = expected.groups()
        given = GIVEN.search(after)
        return f"expected {kind or f'one of {words}'}, found {value or (given[1] if given else 'nothing')}"
    return cause


def _settings(owner: Any) -> list[str]:
    return list(inspect.signature(owner).parameters)


def _nearest(name: str, names: list[str]) -> str:
    found = get_close_matches(name, names, n=1)
    return f"; did you mean {found[0]!r}?" if found else f"; it has {', '.join(n for n in names if n[0] != '_')}."
