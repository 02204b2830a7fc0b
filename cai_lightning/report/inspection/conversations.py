"""Single conversations of a corpus, for reading: what models wrote is shown to the letter and never obeyed.

Console().print(conversation(row, "qwen_contextual"))
"""

import random
from collections.abc import Iterator

from rich.console import Group
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from cai_lightning.data.cleaning import commentary_spans
from cai_lightning.records import Round, user
from cai_lightning.report.inspection.corpus import Corpus
from cai_lightning.report.inspection.rows import Row
from cai_lightning.report.runs import printable

SPEAKERS = {"user": "Human", "assistant": "Assistant", "system": "System"}
REMOVED = "red"


def draw(corpus: Corpus, size: int, seed: int) -> list[Row]:
    """So many rows, or all where there are fewer; of corpora with the same ids the same ones."""
    rows = sorted(corpus.rows, key=lambda row: row.id)
    return random.Random(seed).sample(rows, min(size, len(rows)))


def conversation(row: Row, name: str) -> Group:
    """One row as it was said, with what cleaning takes away from its revisions marked as ⟦commentary: ...⟧."""
    texts = [part for label, said in _turns(row) for part in (Text(f"\n{label}", "bold"), _indented(said))]
    return Group("", Rule(Text(f"{name}  {printable(row.id)}"), align="left"), *texts)


def visible(text: str) -> str:
    """The text with what a terminal would obey instead of show written as escapes; its lines stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def _turns(row: Row) -> Iterator[tuple[str, Text]]:
    """What each speaker says, in order, under a label."""
    for said in row.turns or [user(row.prompt)]:
        yield SPEAKERS.get(said["role"], printable(said["role"])), Text(visible(said["content"]))
    endings = dict(zip(row.replies, map(printable, row.finish_reasons), strict=False))
    yield from _thought(row, "response")
    yield _label("Initial response", endings.get("response")), Text(visible(row.initial_response))
    for number, turn in enumerate(row.rounds, 1):
        if turn.critique is not None:
            yield _label(f"Critique request {number}", _choice(turn)), Text(visible(turn.principle_used))
            yield from _thought(row, f"critique {number}")
            yield _label(f"Critique {number}", endings.get(f"critique {number}")), Text(visible(turn.critique))
        if turn.revision_request:
            yield f"Revision request {number}", Text(visible(turn.revision_request))
        yield from _thought(row, f"revision {number}")
        yield _label(f"Revision {number}", endings.get(f"revision {number}")), _marked(turn.revision)


def _thought(row: Row, stage: str) -> Iterator[tuple[str, Text]]:
    if stage in row.thoughts:
        yield f"Thought before {stage}", Text(visible(row.thoughts[stage]), "dim")


def _choice(turn: Round) -> str | None:
    name = None if turn.principle_id == turn.principle_used else printable(turn.principle_id)
    return name if turn.similarity is None else f"{name}, similarity {turn.similarity:.2f}"


def _label(title: str, remark: str | None) -> str:
    """The title with what is worth knowing: how a reply ended, unless it just stopped."""
    return f"{title} ({remark})" if remark not in (None, "stop") else title


def _indented(text: Text) -> Padding:
    return Padding(text, (0, 0, 0, 2))


def _marked(text: str) -> Text:
    """A revision with its commentary marked."""
    marked, place = Text(), 0
    for span in commentary_spans(text):
        marked.append(visible(text[place : span.start]))
        marked.append(f"⟦{span.kind}: {visible(text[span.start : span.end])}⟧", REMOVED)
        place = span.end
    return marked.append(visible(text[place:]))
