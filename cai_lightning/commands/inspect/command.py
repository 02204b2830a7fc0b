"""`python -m cai_lightning inspect RUN...`: what a corpus of revisions, or of labels, is made of, and which is cleaner.

With `--sample` or `--id` it shows single conversations, too, for reading: what models wrote is shown to the letter and
never obeyed.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Group
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from cai_lightning.commands.arguments import call, check_confidence
from cai_lightning.commands.inspect.figures import compute_figures, inspect_corpus
from cai_lightning.commands.inspect.labels import holds_labels, inspect_labels
from cai_lightning.commands.inspect.tables import csv_head, csv_rows, document, save_plot
from cai_lightning.data.cleaning import commentary_spans
from cai_lightning.principles.constitution import open_constitution
from cai_lightning.report.corpora import Corpus, Row, read_corpora
from cai_lightning.report.table import as_csv, console, tell_written, write_files
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import Round, user
from cai_lightning.run.text import printable, printable_lines

SPEAKERS = {"user": "Human", "assistant": "Assistant", "system": "System"}


def main(args: Sequence[str]) -> None:
    call(inspect_runs, args, "inspect", "What are the revisions of these runs made of?")


def inspect_runs(
    runs: list[Path],
    output: Path | None = None,
    sample: int = 0,
    id: str | None = None,
    seed: int = 42,
    constitution: str | None = None,
    confidence: float = 0.95,
) -> None:
    """Shows what corpora of revisions are made of, or the labels of AI feedback, side by side where there are several.

    Args:
        runs: Folders of runs after predict, finished or not, or files like its revisions.jsonl or preferences.jsonl.
        output: Folder for inspection.md, inspection.csv and inspection.png; null writes none.
        sample: Prints so many conversations of each run as well.
        id: Prints the conversation about the prompt with this id, and no figures.
        seed: Seed of the sample; runs over the same prompts show the same ones.
        constitution: The principles that could be chosen, named as for predict: then those never used are named too.
        confidence: Share of intervals that shall hold the true value, between 0 and 1.

    Raises:
        UserError: There is nothing to read, a row is malformed, no row has this id, or an option has no meaning.
    """
    check_confidence(confidence)
    if sample < 0:
        raise UserError(f"--sample {sample}: expected a number of conversations, from 0 on.")
    if labelled := [run for run in runs if holds_labels(run)]:
        if len(labelled) < len(runs) or constitution:
            raise UserError(
                f"{labelled[0]}: it holds labels, which stand beside other runs of labels alone, and without "
                "--constitution."
            )
        inspect_labels(runs, output, sample, id, seed, confidence)
        return
    corpora = read_corpora(runs)
    if id is not None:
        _print_conversations(_with_id(corpora, id))
        return
    principles = open_constitution(constitution) if constitution else None
    report = compute_figures([inspect_corpus(corpus, principles) for corpus in corpora], confidence)
    console().print(document(report).terminal())
    _print_conversations((corpus, row) for corpus in corpora for row in draw(corpus, sample, seed))
    if output:
        table = as_csv(csv_head(report), csv_rows(report))
        files = write_files(output, {"inspection.md": document(report).markdown(), "inspection.csv": table})
        tell_written([*files, *save_plot(report, output / "inspection.png")])


def _with_id(corpora: Sequence[Corpus], id: str) -> list[tuple[Corpus, Row]]:
    found = [(corpus, row) for corpus in corpora for row in corpus.rows if row.id == id]
    if not found:
        raise UserError(f"--id {id}: no row of {', '.join(corpus.name for corpus in corpora)} has this id.")
    return found


def _print_conversations(rows: Iterable[tuple[Corpus, Row]]) -> None:
    for corpus, row in rows:
        console().print(conversation(row, corpus.name))


def draw(corpus: Corpus, size: int, seed: int) -> list[Row]:
    """So many rows, or all where there are fewer; of corpora with the same ids the same ones."""
    rows = sorted(corpus.rows, key=lambda row: row.id)
    return random.Random(seed).sample(rows, min(size, len(rows)))


def conversation(row: Row, name: str) -> Group:
    """One row as it was said, with what cleaning takes away from its revisions marked as ⟦commentary: ...⟧."""
    parts: list[Text | Padding] = []
    for label, said in _turns(row):
        parts += [Text(f"\n{label}", "bold"), Padding(said, (0, 0, 0, 2))]
    return Group("", Rule(Text(f"{name}  {printable(row.id)}"), align="left"), *parts)


def _turns(row: Row) -> Iterator[tuple[str, Text]]:
    """What each speaker says, in order, under a label."""
    for said in row.turns or [user(row.prompt)]:
        yield SPEAKERS.get(said["role"], printable(said["role"])), Text(printable_lines(said["content"]))
    yield from _reply(row, "response", Text(printable_lines(row.initial_response)))
    for number, made in enumerate(row.rounds, 1):
        if made.critique is not None:
            yield f"Critique request {number}{_choice(made)}", Text(printable_lines(made.principle_used))
            yield from _reply(row, f"critique {number}", Text(printable_lines(made.critique)))
        if made.revision_request:
            yield f"Revision request {number}", Text(printable_lines(made.revision_request))
        yield from _reply(row, f"revision {number}", _marked(made.revision))


def _reply(row: Row, stage: str, words: Text) -> Iterator[tuple[str, Text]]:
    """A reply behind its thought, under a label that says how it ended, unless it just stopped."""
    if stage in row.thoughts:
        yield f"Thought before {stage}", Text(printable_lines(row.thoughts[stage]), "dim")
    ending = row.endings.get(stage, "stop")
    title = "Initial response" if stage == "response" else stage.capitalize()
    yield title if ending == "stop" else f"{title} ({printable(ending)})", words


def _choice(made: Round) -> str:
    """The principle where it has a name besides its text, and how similar it is to the prompt where that is known."""
    known = [] if made.principle_id == made.principle_used else [printable(made.principle_id)]
    known += [] if made.similarity is None else [f"similarity {made.similarity:.2f}"]
    return f" ({', '.join(known)})" if known else ""


def _marked(text: str) -> Text:
    """A revision with its commentary marked."""
    marked, place = Text(), 0
    for span in commentary_spans(text):
        marked.append(printable_lines(text[place : span.start]))
        marked.append(f"⟦{span.kind}: {printable_lines(text[span.start : span.end])}⟧", "red")
        place = span.end
    return marked.append(printable_lines(text[place:]))
