"""`python -m cai_lightning ask [PROMPT] --config FILE`: what an experiment's models say to one prompt, or in a chat.

The chat is with the fine-tuned model of the experiment, or with its base model where it has no other. An exchange is
shown in panels in a terminal, and as plain text elsewhere. What a model says is shown, never obeyed.
"""

import asyncio
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import takewhile
from textwrap import shorten

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.status import Status
from rich.table import Column, Table
from rich.text import Text

from cai_lightning.commands.ask.experiment import (
    BASE,
    FINE_TUNED,
    USAGE,
    Exchange,
    Experiment,
    Passage,
    Step,
    ask_base,
    ask_evaluated,
    device,
    read_experiment,
    serving,
)
from cai_lightning.modules import Evaluation
from cai_lightning.principles import wording
from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.processes import quiet
from cai_lightning.run.records import Conversation, Prompt, prompt_id, user
from cai_lightning.run.text import printable_lines

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

YOU = "you> "
QUIT = "/quit"
RESET = "/reset"

BEGINNING = 80
"""Characters that are shown of a thought."""

CUT = "[cut at the maximum of tokens]"


def main(args: Sequence[str]) -> None:
    """Asks, or chats.

    Args:
        args: The words behind the verb.

    Raises:
        UserError: The configuration, the prompt or the adapter is not as it should be, or a model does not answer.
    """
    words, options = _separate(args)
    if {"-h", "--help"} & set(options):
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
                exchange.answers.append(ask_evaluated(experiment, adapter, prompt))
    finally:
        show(exchange, experiment.note)


def _separate(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of the prompt, and the options, each with its value behind a `=`; all but flags have one."""
    words, options = list[str](), list[str]()
    remaining = iter(args)
    for arg in remaining:
        if arg == "--":
            words += remaining
        elif not _OPTION.fullmatch(arg):
            words.append(arg)
        else:
            whole = "=" in arg or arg in _FLAGS
            options.append(arg if whole else f"{arg}={next(remaining, '')}")
    return words, options


def _prompt(text: str) -> Prompt:
    if not text.strip():
        raise UserError("the prompt is empty; leave it out for a chat.")
    return Prompt(prompt_id(utf8(text)), text)


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


def converse(experiment: Experiment) -> None:
    """Answers line after line, each in the light of those before it, until the input ends."""
    evaluation, adapter = experiment.evaluation, experiment.adapter
    try:
        with serving(evaluation.answerer, lambda: evaluation.answerer.start(device(), adapter)) as runner:
            who = f"{FINE_TUNED if adapter else BASE}: {experiment.name(adapter)}"
            lines = filter(None, [who, experiment.note, f"{RESET} begins anew, {QUIT} leaves."])
            print(printable_lines("\n".join(lines)) + "\n")
            talk: Conversation = []
            for line in takewhile(lambda line: line != QUIT, _lines()):
                talk = [] if line == RESET else _turn(runner, evaluation, talk, line)
    except KeyboardInterrupt:
        print()


def _turn(runner: asyncio.Runner, evaluation: Evaluation, talk: Conversation, line: str) -> Conversation:
    """The conversation with a turn of each more; as it was where there is no reply."""
    asked = [*talk, user(line)]
    try:
        with waiting("the model answers"):
            reply = runner.run(evaluation.answerer.reply(asked, f"{evaluation.seed}:chat{len(talk)}"))
        print(folded(reply.thought), end="", flush=True)
        if reply.why_silent:
            raise ReplyError(reply.why_silent)
    except ReplyError as error:
        print(f"error: no reply: {error}", file=sys.stderr)
        return talk
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return talk
    cut = f"\n{CUT}" if reply.finish_reason == "length" else ""
    print(f"model> {printable_lines(reply.text)}{cut}\n", flush=True)
    return wording.answered(asked, reply.text)


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
                print(YOU + printable_lines(line))
            yield line


def folded(thought: str | None) -> str:
    """A thought as one line that tells how it begins; no line where there is none."""
    if thought is None:
        return ""
    words = printable_lines(thought).split()
    return f"[thought of {len(words)} words: {shorten(' '.join(words), BEGINNING, placeholder=' ...')}]\n"


def show(exchange: Exchange, note: str | None = None) -> None:
    """Prints a whole exchange, and a note below it."""
    console = Console()
    if console.is_terminal:
        console.print(_panels(exchange))
    else:
        print("\n\n".join(_paragraphs(exchange)))
    if note:
        console.print(Text(f"\n{printable_lines(note)}", "yellow"), soft_wrap=True)


def waiting(what: str) -> Status:
    """A sign of life in a terminal; nothing elsewhere."""
    return Console(stderr=True).status(what)


def _panels(exchange: Exchange) -> Group:
    beside = Table.grid(*(Column(ratio=1) for _ in exchange.answers), expand=True)
    beside.add_row(*(_panel(answer.heading, _said(answer)) for answer in exchange.answers))
    steps = (_panel(step.heading, Group(*_turns(step))) for step in exchange.steps)
    return Group(_panel("prompt", Text(printable_lines(exchange.prompt))), beside, *steps)


def _panel(heading: str, content: RenderableType) -> Panel:
    return Panel(content, title=Text(printable_lines(heading), "bold"), title_align="left")


def _turns(step: Step) -> Iterator[Text]:
    for number, passage in enumerate(step.passages):
        yield Text(("\n" if number else "") + passage.heading, "bold cyan")
        yield _said(passage)


def _said(passage: Passage) -> Text:
    model = f"{printable_lines(passage.model)}\n\n" if passage.model else ""
    return Text.assemble((model, "dim"), _words(passage))


def _words(passage: Passage) -> Text:
    """What was thought before, the words, and whether they were cut."""
    cut = f"\n{CUT}" if passage.cut else ""
    return Text.assemble((folded(passage.thought), "dim"), printable_lines(passage.text), (cut, "yellow"))


def _paragraphs(exchange: Exchange) -> Iterator[str]:
    yield from map(_paragraph, [Passage("prompt", exchange.prompt), *exchange.answers])
    for step in exchange.steps:
        yield f"== {printable_lines(step.heading)} =="
        yield from map(_paragraph, step.passages)


def _paragraph(passage: Passage) -> str:
    heading = f"{passage.heading}: {passage.model}" if passage.model else passage.heading
    return f"-- {printable_lines(heading)} --\n{_words(passage).plain}"
