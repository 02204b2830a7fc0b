"""`python -m cai_lightning ask [PROMPT] --config FILE`: what an experiment's models say to one prompt, or in a chat."""

import re
from collections.abc import Sequence

from cai_lightning.asking.dialogue import converse, utf8
from cai_lightning.asking.display import show, waiting
from cai_lightning.asking.exchange import ask_base, ask_fine_tuned
from cai_lightning.asking.experiment import USAGE, Experiment, read_experiment
from cai_lightning.errors import UserError
from cai_lightning.quiet import quiet
from cai_lightning.records import Prompt, prompt_id

HELP = f"""\
usage: {USAGE}

Shows what the base model answers to a prompt, its critiques and revisions with the principles chosen (the section
predict), and beside it what the fine-tuned model answers (the section validate). Without a prompt it is a chat with
the fine-tuned model, where there is one, or with the base model; piped lines are its turns.

  --config FILE      The experiment; a later file overrides an earlier one.
  --run DIR          Folder of the run whose adapter answers; runs/X for --config X.yaml.
  --seed N           Draws other answers; a prompt of the corpus and the experiment's own seed give the corpus's row.
  --model.KEY VALUE  Overrides a setting in both sections, where both have it: --model.revisions 4, --model.adapter DIR.

A prompt that looks like an option goes behind all others and a --: ask --config FILE -- --prompt
"""
_OPTION = re.compile(r"-[ch]|--[a-z][\w.]*(=.*)?", re.DOTALL)
_FLAGS = ("-h", "--help", "--print_config")


def main(args: Sequence[str]) -> None:
    """Asks, or chats.

    Args:
        args: The words behind the verb.

    Raises:
        UserError: The configuration, the prompt or the adapter is not as it should be, or a model does not answer.
    """
    words, options = _separate(args)
    if any(name in ("-h", "--help") for name, _ in options):
        print(HELP)
        return
    prompt = _prompt(" ".join(words)) if words else None
    quiet()
    experiment = read_experiment(options)
    if prompt:
        _ask_once(experiment, prompt)
    else:
        converse(experiment)


def _ask_once(experiment: Experiment, prompt: Prompt) -> None:
    """Asks one model after the other, for only one is in memory at a time, and shows what was said up to an error."""
    adapter = experiment.adapter
    with waiting("the base model answers"):
        exchange = ask_base(experiment, prompt)
    try:
        if adapter:
            with waiting("the fine-tuned model answers"):
                exchange.answers.append(ask_fine_tuned(experiment, adapter, prompt))
    finally:
        show(exchange, experiment.note)


def _separate(args: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The words of the prompt, and the options with their values; all but flags have one."""
    words: list[str] = []
    options: list[tuple[str, str]] = []
    remaining = iter(args)
    for arg in remaining:
        if arg == "--":
            words += remaining
        elif _OPTION.fullmatch(arg):
            name, equals, value = arg.partition("=")
            options.append((name, value if equals or name in _FLAGS else next(remaining, "")))
        else:
            words.append(arg)
    return words, options


def _prompt(text: str) -> Prompt:
    if not text.strip():
        raise UserError("the prompt is empty; leave it out for a chat.")
    return Prompt(prompt_id(utf8(text)), text)
