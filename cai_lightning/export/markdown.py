"""Text from files in Markdown: what others have named cannot break out of the place that it is given.

table(("setting", "value"), [("model.lora.r", 16)])
"""

from collections.abc import Iterable, Sequence

from cai_lightning.report.runs import printable

LONGEST = 200
"""Characters of a value that are shown."""


def code(value: object) -> str:
    """A value as code on one line, in which Markdown and HTML are only characters."""
    text = printable(str(value)).replace("`", "'")
    shown = text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
    return f"`{shown}`" if shown else ""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; its head is ours, and its cells are shown as code."""
    lines = [head, ["---"] * len(head), *([code(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fenced(language: str, text: str) -> str:
    """A block of code; no line of it can end the block, for the text's own words are quoted in it."""
    return f"```{language}\n{text}\n```"
