"""A chat with the fine-tuned model of an experiment, or with its base model where it has no other."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from cai_lightning import chat
from cai_lightning.asking.display import CUT, folded, shown, waiting
from cai_lightning.asking.exchange import BASE, FINE_TUNED
from cai_lightning.asking.experiment import Experiment
from cai_lightning.asking.serving import device, serving, wait_for
from cai_lightning.errors import UserError
from cai_lightning.modules import Evaluation
from cai_lightning.records import Conversation, user

YOU = "you> "
QUIT = "/quit"
RESET = "/reset"


def converse(experiment: Experiment) -> None:
    """Answers line after line, each in the light of those before it, until the input ends."""
    evaluation, adapter = experiment.evaluation, experiment.adapter
    try:
        with serving(evaluation.answerer, lambda: evaluation.answerer.start(device(), adapter)) as runner:
            print(_greeting(experiment, adapter))
            talk: Conversation = []
            for line in takewhile(lambda line: line != QUIT, _lines()):
                talk = [] if line == RESET else _turn(runner, evaluation, talk, line)
    except KeyboardInterrupt:
        print()


def utf8(text: str) -> str:
    """The text, once it is sure to be one.

    Raises:
        UserError: It has bytes that are no UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"not UTF-8: {text[:80]!a}") from None
    return text


def _greeting(experiment: Experiment, adapter: Path | None) -> str:
    """Who speaks, and how the user leaves."""
    who = f"{FINE_TUNED if adapter else BASE}: {experiment.name(adapter)}"
    lines = [who, *([experiment.note] if experiment.note else []), f"{RESET} begins anew, {QUIT} leaves."]
    return shown("\n".join(lines)) + "\n"


def _turn(runner: asyncio.Runner, evaluation: Evaluation, talk: Conversation, line: str) -> Conversation:
    """The conversation with a turn of each more; as it was where there is no reply."""
    asked = [*talk, user(line)]
    try:
        with waiting("the model answers"):
            reply = wait_for(runner, evaluation.answerer.reply(asked, f"{evaluation.seed}:chat{len(talk)}"))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return talk
    print("".join(f"{line}\n" for line in folded(reply.thought)), end="", flush=True)
    if reply.why_silent:
        print(f"error: no reply: {reply.why_silent}", file=sys.stderr)
        return talk
    cut = f"\n{CUT}" if reply.finish_reason == "length" else ""
    print(f"model> {shown(reply.text)}{cut}\n", flush=True)
    return chat.answered(asked, reply.text)


def _lines() -> Iterator[str]:
    """What is typed or piped in, line by line; blank ones say nothing. What is piped in is shown."""
    typed = sys.stdin.isatty()
    if typed:
        with suppress(ImportError):
            import readline  # noqa: F401  it gives input() its editing and its history
    while True:
        try:
            line = utf8(input(YOU if typed else ""))
        except EOFError:
            print(end="\n" if typed else "")
            return
        except UnicodeDecodeError as error:
            raise UserError(f"standard input: not UTF-8 ({error})") from None
        if line.strip():
            if not typed:
                print(YOU + shown(line))
            yield line
