"""The command line of a verb that is one function: its arguments are the options, its docstring explains them.

call(compare, ["runs/base", "runs/contextual", "--output", "report"], "compare", "Which run is better?")
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cai_lightning.run.errors import UserError

PROGRAM = "python -m cai_lightning"
RUNS = {"runs": {"nargs": "+", "type": Path, "metavar": "RUN", "help": "Folders of the runs."}}
"""The runs that a command is about, without an option's name in front."""


def run_folder(name: str) -> Path:
    """The folder that `--run` names; without a name, as from an unset variable, it would be the current folder.

    Raises:
        UserError: There is no name, or one that no folder can have.
    """
    if not name.strip() or "\0" in name:
        raise UserError(f"--run: the name of a folder expected, found {name!r}.")
    return Path(name)


def call(
    command: Callable[..., None],
    args: Sequence[str],
    verb: str,
    about: str,
    positional: Mapping[str, Mapping[str, Any]] = RUNS,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Reads the words behind a verb and calls its function.

    Args:
        command: Its arguments become options.
        args: The words behind the verb.
        verb: Its name, for the usage.
        about: One line on what it is for.
        positional: The arguments that need no option's name, with what jsonargparse is to know of each.
        options: The options that the signature does not say enough of, such as those that take no value.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog=f"{PROGRAM} {verb}", description=about)
    given = {**positional, **(options or {})}
    for name, known in given.items():
        parser.add_argument(name, **known)
    parser.add_function_arguments(command, skip={name.lstrip("-").replace("-", "_") for name in given})
    settings = parser.parse_args(list(args))
    command(**parser.instantiate_classes(settings).as_dict())
