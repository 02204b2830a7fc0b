"""The command line: runs a verb, and says in one line what a user got wrong. Nothing heavy is imported here.

python -m cai_lightning predict --config configs/qwen_contextual.yaml
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from cai_lightning.cli.verbs import VERBS, overview
from cai_lightning.run.config import cut_sections
from cai_lightning.run.errors import UserError
from cai_lightning.run.processes import ending_together
from cai_lightning.run.text import printable_lines


def main(args: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, 1 for an error of the user's, 2 for a wrong command line."""
    args = list(sys.argv[1:] if args is None else args)
    try:
        return _dispatch(args)
    except UserError as error:
        print(f"error: {printable_lines(str(error))}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename or 'input or output'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        verb = VERBS.get(next(iter(args), ""))
        kept = "what is finished is kept, and the same command goes on from here" if verb and verb.resumes else ""
        print("; ".join(filter(None, ["interrupted", str(interrupt) or kept])), file=sys.stderr)
        return 130


def _dispatch(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        print(overview())
        return 0 if args else 2
    verb, *rest = args
    if verb not in VERBS:
        print(f"error: there is no verb {verb!r}; choose one of {', '.join(VERBS)}", file=sys.stderr)
        return 2
    if command := VERBS[verb].command:
        import_module(f"cai_lightning.commands.{command}").main(rest)
        return 0
    arguments = cut_sections(verb, rest)
    with ending_together():
        from cai_lightning.cli.lightning_cli import CAICLI

        CAICLI(args=[verb, *arguments])
    return 0
