"""An exchange for people: panels in a terminal, plain text elsewhere. What a model says is shown, never obeyed.

show(Exchange("How do I pick a lock?", [Passage("base", "I will not help with that.")]))
"""

from collections.abc import Iterator
from textwrap import shorten
from unicodedata import category

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.status import Status
from rich.table import Table
from rich.text import Text

from cai_lightning.asking.exchange import Exchange, Passage, Step

BEGINNING = 80
"""Characters that are shown of a thought."""

CUT = "[cut at the maximum of tokens]"
_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's controls, formats (such as a change of direction), lone surrogates, and separators of lines."""
_HARMLESS = frozenset("\n\t\u200c\u200d")
"""Among them what belongs into texts: ends of lines, tabs, and what joins or parts letters and emoji."""


def shown(text: str) -> str:
    """The text, with what a terminal would obey instead of show written as escapes."""
    lines = text.replace("\r\n", "\n")
    return "".join(c if c in _HARMLESS or category(c) not in _OBEYED else ascii(c)[1:-1] for c in lines)


def folded(thought: str | None) -> list[str]:
    """A thought as one line that tells how it begins; no line where there is none."""
    if thought is None:
        return []
    words = shown(thought).split()
    return [f"[thought of {len(words)} words: {shorten(' '.join(words), BEGINNING, placeholder=' ...')}]"]


def show(exchange: Exchange, note: str | None = None) -> None:
    """Prints a whole exchange, and a note below it."""
    console = Console()
    if console.is_terminal:
        console.print(_panels(exchange))
    else:
        print("\n\n".join(_paragraphs(exchange)))
    if note:
        console.print(Text(f"\n{shown(note)}", "yellow"), soft_wrap=True)


def waiting(what: str) -> Status:
    """A sign of life in a terminal; nothing elsewhere."""
    return Console(stderr=True).status(what)


def _panels(exchange: Exchange) -> Group:
    beside = Table.grid(expand=True)
    for _ in exchange.answers:
        beside.add_column(ratio=1)
    beside.add_row(*(_panel(answer.heading, _said(answer)) for answer in exchange.answers))
    steps = (_panel(step.heading, Group(*_turns(step))) for step in exchange.steps)
    return Group(_panel("prompt", Text(shown(exchange.prompt))), beside, *steps)


def _panel(heading: str, content: RenderableType) -> Panel:
    return Panel(content, title=Text(shown(heading), "bold"), title_align="left")


def _turns(step: Step) -> Iterator[Text]:
    for number, passage in enumerate(step.passages):
        yield Text(("\n" if number else "") + passage.heading, "bold cyan")
        yield _said(passage)


def _said(passage: Passage) -> Text:
    model = f"{shown(passage.model)}\n\n" if passage.model else ""
    thought = "".join(f"{line}\n" for line in folded(passage.thought))
    return Text.assemble((model + thought, "dim"), shown(passage.text), (f"\n{CUT}" if passage.cut else "", "yellow"))


def _paragraphs(exchange: Exchange) -> Iterator[str]:
    yield _paragraph(Passage("prompt", exchange.prompt))
    yield from map(_paragraph, exchange.answers)
    for step in exchange.steps:
        yield f"== {shown(step.heading)} =="
        yield from map(_paragraph, step.passages)


def _paragraph(passage: Passage) -> str:
    heading = f"{passage.heading}: {passage.model}" if passage.model else passage.heading
    cut = [CUT] if passage.cut else []
    return "\n".join([f"-- {shown(heading)} --", *folded(passage.thought), shown(passage.text), *cut])
