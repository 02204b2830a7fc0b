"""One prompt and what the models say about it, and how that is shown to people.

One prompt and what the models say about it: the base model, critique and revision, the fine-tuned model.

An exchange for people: panels in a terminal, plain text elsewhere. What a model says is shown, never obeyed.

show(Exchange("How do I pick a lock?", [Passage("base", "I will not help with that.")]))
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.status import Status
from rich.table import Table
from rich.text import Text

from cai_lightning.commands.ask.experiment import Experiment, device, serving, wait_for
from cai_lightning.modules import CritiqueRevision
from cai_lightning.run.records import Prompt, Revision, Round
from cai_lightning.run.text import printable_lines

BASE = "base model"
FINE_TUNED = "fine-tuned model"


@dataclass(frozen=True)
class Passage:
    """A text and what it is.

    Args:
        heading: What it is.
        text: The words.
        cut: Whether the model came to its maximum of tokens in it.
        model: Which model it is from, where that is not told by what stands around it.
        thought: What it thought before; None where it did not.
    """

    heading: str
    text: str
    cut: bool = False
    model: str = ""
    thought: str | None = None


@dataclass(frozen=True)
class Step:
    """One round of critique and revision: its principle, and what was asked and said."""

    heading: str
    passages: list[Passage]


@dataclass(frozen=True)
class Exchange:
    """A prompt, the answers of the models, and the steps from the first of them to its last revision."""

    prompt: str
    answers: list[Passage]
    steps: list[Step] = field(default_factory=list)


def ask_base(experiment: Experiment, prompt: Prompt) -> Exchange:
    """Asks the model before any fine-tuning, which revises its answer where the experiment has a chain."""
    if experiment.chain:
        return _exchange(_revise(experiment.chain, prompt))
    return Exchange(prompt.prompt, [_answer(BASE, experiment, None, prompt)])


def ask_fine_tuned(experiment: Experiment, adapter: Path, prompt: Prompt) -> Passage:
    """Asks the model with its adapter, by the same draw as validate."""
    return _answer(FINE_TUNED, experiment, adapter, prompt)


def _revise(chain: CritiqueRevision, prompt: Prompt) -> Revision:
    chain.to(device())
    with serving(chain.engine, lambda: chain.prepare([prompt], 1)) as runner:
        return wait_for(runner, chain.revise(prompt))


def _answer(heading: str, experiment: Experiment, adapter: Path | None, prompt: Prompt) -> Passage:
    evaluation = experiment.evaluation
    with serving(evaluation.answerer, lambda: evaluation.answerer.start(device(), adapter)) as runner:
        reply = wait_for(runner, evaluation.reply(prompt))
    return Passage(heading, reply.text, reply.finish_reason == "length", experiment.name(adapter), reply.thought)


def _exchange(revision: Revision) -> Exchange:
    thoughts = revision.thoughts or [None] * len(revision.finish_reasons)
    ends = ((reason == "length", thought) for reason, thought in zip(revision.finish_reasons, thoughts, strict=True))
    cut, thought = next(ends)
    base = Passage(BASE, revision.initial_response, cut, revision.model, thought)
    steps = [_step(number, made, ends) for number, made in enumerate(revision.rounds, 1)]
    return Exchange(revision.prompt, [base], steps)


def _step(number: int, made: Round, ends: Iterator[tuple[bool, str | None]]) -> Step:
    """One round; `ends` tells of each reply in turn whether it was cut, and its thought."""
    similarity = "" if made.similarity is None else f", similarity {made.similarity:.2f}"
    passages = []
    if made.critique is not None:
        passages.append(Passage("Critique request", made.principle_used))
        cut, thought = next(ends)
        passages.append(Passage("Critique", made.critique, cut, thought=thought))
    passages.append(Passage("Revision request", made.revision_request))
    cut, thought = next(ends)
    passages.append(Passage("Revision", made.revision, cut, thought=thought))
    return Step(f"Round {number}: principle {made.principle_id}{similarity}", passages)


BEGINNING = 80
"""Characters that are shown of a thought."""

CUT = "[cut at the maximum of tokens]"


def folded(thought: str | None) -> list[str]:
    """A thought as one line that tells how it begins; no line where there is none."""
    if thought is None:
        return []
    words = printable_lines(thought).split()
    return [f"[thought of {len(words)} words: {shorten(' '.join(words), BEGINNING, placeholder=' ...')}]"]


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
    beside = Table.grid(expand=True)
    for _ in exchange.answers:
        beside.add_column(ratio=1)
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
    thought = "".join(f"{line}\n" for line in folded(passage.thought))
    return Text.assemble(
        (model + thought, "dim"), printable_lines(passage.text), (f"\n{CUT}" if passage.cut else "", "yellow")
    )


def _paragraphs(exchange: Exchange) -> Iterator[str]:
    yield _paragraph(Passage("prompt", exchange.prompt))
    yield from map(_paragraph, exchange.answers)
    for step in exchange.steps:
        yield f"== {printable_lines(step.heading)} =="
        yield from map(_paragraph, step.passages)


def _paragraph(passage: Passage) -> str:
    heading = f"{passage.heading}: {passage.model}" if passage.model else passage.heading
    cut = [CUT] if passage.cut else []
    return "\n".join(
        [f"-- {printable_lines(heading)} --", *folded(passage.thought), printable_lines(passage.text), *cut]
    )
