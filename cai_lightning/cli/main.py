"""The command line. The verbs of a run are Lightning's, the others are plain commands; nothing heavy is imported here.

python -m cai_lightning predict --config configs/qwen_contextual.yaml
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from cai_lightning.run.config import RUN_VERBS, cut_sections
from cai_lightning.run.errors import UserError
from cai_lightning.run.processes import ending_together
from cai_lightning.run.text import printable_lines

USAGE = """\
usage: python -m cai_lightning VERB ...

Constitutional AI with open models. One experiment is one YAML file with a section for each verb:

  predict   --config FILE [--run DIR] [overrides]   prompts → response, critique, revision   → runs/X/revisions.jsonl
  fit       --config FILE [--run DIR] [overrides]   LoRA fine-tuning on the revisions        → runs/X/adapter/
  validate  --config FILE [--run DIR] [overrides]   answers the test prompts and scores them → runs/X/summary.json
  import    FILE --run DIR                          responses made elsewhere, for validate   → runs/X/responses.jsonl
  pairwise  RUN RUN [--judge.model NAME ...]        which run's responses a judge prefers     → RUN/pairwise/
  compare   RUN... [--audit FILE...] [--output DIR] which run is better, true or noise       → report/
  inspect   RUN... [--sample N] [--output DIR]      what the revisions are made of, side by side
  export    RUN --output DIR [--merge]              the adapter, or the whole model, with its card → DIR/
  audit     --config FILE --comparisons FILE        how far each evaluator can be trusted, by people's labels
  ask       [PROMPT] --config FILE [--run DIR]      base model, critique and revision, fine-tuned model; or a chat

Every verb goes on where it was when it is started again; rows that failed are tried again. `predict --dry-run` says
beforehand what tokens, hours and money it would take. Overrides are dotted: --data.limit 5, --model.lora.r 8.
`python -m cai_lightning VERB --help` explains the settings; --print_config shows them as they would be used.
"""

COMMANDS = {
    "compare": "cai_lightning.commands.compare",
    "pairwise": "cai_lightning.commands.pairwise",
    "inspect": "cai_lightning.commands.inspect.command",
    "export": "cai_lightning.commands.export.command",
    "import": "cai_lightning.commands.importing",
    "audit": "cai_lightning.commands.audit.command",
    "ask": "cai_lightning.commands.ask.command",
}
"""The verbs that are no Trainer's, each with the module whose `main` gets the words behind it."""

RESUMABLE = ("predict", "validate", "audit")
"""The verbs that keep what is finished; fit goes on from a checkpoint, and says itself whether there is one."""


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
        kept = "what is finished is kept, and the same command goes on from here" if args[0] in RESUMABLE else ""
        print("; ".join(filter(None, ["interrupted", str(interrupt) or kept])), file=sys.stderr)
        return 130


def _dispatch(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if args else 2
    verb, *rest = args
    if verb in RUN_VERBS:
        return _run_verb(verb, rest)
    if verb in COMMANDS:
        import_module(COMMANDS[verb]).main(rest)
        return 0
    print(f"error: there is no verb {verb!r}; choose one of {', '.join((*RUN_VERBS, *COMMANDS))}", file=sys.stderr)
    return 2


def _run_verb(verb: str, rest: list[str]) -> int:
    arguments = cut_sections(verb, rest)
    with ending_together():
        from cai_lightning.cli.lightning_cli import CAICLI

        CAICLI(args=[verb, *arguments])
    return 0
