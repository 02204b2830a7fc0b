"""`python -m cai_lightning inspect RUN...`: what a corpus of revisions is made of, and which of several is cleaner."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from cai_lightning import journal
from cai_lightning.arguments import call
from cai_lightning.data.constitutions import open_constitution
from cai_lightning.errors import UserError
from cai_lightning.report.command import WIDTH
from cai_lightning.report.inspection.conversations import conversation, draw
from cai_lightning.report.inspection.corpus import Corpus, read_corpora
from cai_lightning.report.inspection.exports import as_csv
from cai_lightning.report.inspection.figures import Report, compute_figures
from cai_lightning.report.inspection.inspection import inspect_corpus
from cai_lightning.report.inspection.plots import save_plot
from cai_lightning.report.inspection.rows import Row
from cai_lightning.report.inspection.tables import markdown, terminal


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
    """Shows what corpora of revisions are made of, side by side where there are several.

    Args:
        runs: Folders of runs after predict, finished or not, or files like its revisions.jsonl.
        output: Folder for inspection.md, inspection.csv and inspection.png; null writes none.
        sample: Prints so many conversations of each run as well.
        id: Prints the conversation about the prompt with this id, and no figures.
        seed: Seed of the sample; runs over the same prompts show the same ones.
        constitution: The principles that could be chosen, named as for predict: then those never used are named too.
        confidence: Share of intervals that shall hold the true value, between 0 and 1.

    Raises:
        UserError: There is nothing to read, a row is malformed, no row has this id, or an option has no meaning.
    """
    if not 0 < confidence < 1:
        raise UserError(f"--confidence {confidence:g}: expected a number between 0 and 1, such as 0.95.")
    if sample < 0:
        raise UserError(f"--sample {sample}: expected a number of conversations, from 0 on.")
    corpora = read_corpora(runs)
    if id is not None:
        _print_conversations(_with_id(corpora, id))
        return
    principles = open_constitution(constitution) if constitution else None
    report = compute_figures([inspect_corpus(corpus, principles) for corpus in corpora], confidence)
    _console().print(terminal(report))
    _print_conversations((corpus, row) for corpus in corpora for row in draw(corpus, sample, seed))
    if output:
        _console().print(f"Written: {', '.join(map(str, write_report(report, output)))}", markup=False, soft_wrap=True)


def write_report(report: Report, output: Path) -> list[Path]:
    """Writes an inspection in all its forms and returns the files."""
    for name, text in {"inspection.md": markdown(report), "inspection.csv": as_csv(report)}.items():
        journal.replace_text(output / name, text)
    save_plot(report, output / "inspection.png")
    return [output / f"inspection.{kind}" for kind in ("md", "csv", "png")]


def _with_id(corpora: Sequence[Corpus], id: str) -> list[tuple[Corpus, Row]]:
    found = [(corpus, row) for corpus in corpora for row in corpus.rows if row.id == id]
    if not found:
        raise UserError(f"--id {id}: no row of {', '.join(corpus.name for corpus in corpora)} has this id.")
    return found


def _print_conversations(rows: Iterable[tuple[Corpus, Row]]) -> None:
    for corpus, row in rows:
        _console().print(conversation(row, corpus.name))


def _console() -> Console:
    """What tables are printed with; a file or a pipe gets a fixed width."""
    return Console(width=None if sys.stdout.isatty() else WIDTH)
