"""`python -m cai_lightning compare RUN...`: joins runs by prompt and says which is better, and how sure that is."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cai_lightning.commands.arguments import RUNS, call, check_confidence
from cai_lightning.report.comparison import compare_runs
from cai_lightning.report.corpora import read_rows
from cai_lightning.report.evidence import notes_on, read_audits, read_win_rates
from cai_lightning.report.page import render_page
from cai_lightning.report.plots import save_plots
from cai_lightning.report.runs import load_runs, with_references
from cai_lightning.report.table import as_csv, as_json, console, tell_written, write_files
from cai_lightning.report.words import SCORES, content, document, scores
from cai_lightning.run.errors import UserError

FILES = {"nargs": "+", "type": Path, "metavar": "FILE", "default": []}
ARGUMENTS = {**RUNS, "--audit": FILES, "--pairwise": FILES, "--rounds": {**FILES, "metavar": "RUN"}}


def main(args: Sequence[str]) -> None:
    call(compare, args, "compare", "Which run is better, and is it noise?", ARGUMENTS)


def compare(
    runs: list[Path],
    output: Path = Path("report"),
    baseline: Path | None = None,
    confidence: float = 0.95,
    references: Path | None = None,
    audit: Sequence[Path] = (),
    pairwise: Sequence[Path] = (),
    rounds: Sequence[Path] = (),
) -> None:
    """Compares validated runs: means with intervals, paired differences to a baseline, ranks and how stable they are.

    Runs whose folders differ only behind an `@`, such as runs/qwen_contextual@1 runs/qwen_contextual@2, are
    fine-tunings of one arm under several seeds; they are compared as one, and how they differ widens its intervals.

    Args:
        runs: Folders of the runs, such as runs/qwen_base runs/qwen_contextual.
        output: Folder for index.html, report.md, scores.csv, summary.json and the plots.
        baseline: The run that differences are taken to, one of RUNS; the first of them by default.
        confidence: Share of intervals that shall hold the true value, between 0 and 1.
        references: A run whose references semantic similarity is measured against, for runs that have different ones;
            loads their encoder and writes nothing into them. By default each run's similarity is to its own.
        audit: Files audit.json that tell how far the evaluators can be trusted.
        pairwise: Files pairwise.json that tell whose responses a judge prefers.
        rounds: Runs of recorded answers, initial responses or the revisions of a round; they are not compared, but
            their scores stand in the tables by round.

    Raises:
        UserError: A run has no summary, an audit is not what audit writes, the baseline is none of the runs, or the
            confidence is no share.
    """
    check_confidence(confidence)
    everything = load_runs([*runs, *rounds])
    loaded, recorded = everything[: len(runs)], everything[len(runs) :]
    if references is not None:
        loaded = with_references(loaded, references)
    revisions = list(map(read_rows, runs))
    comparison = compare_runs(loaded, loaded[_place(baseline or runs[0], runs)].name, confidence)
    if not comparison.columns:
        raise UserError("None of these runs has a metric to compare; name some at validate.model.init_args.metrics.")
    audits, (rates, notes) = read_audits(audit), read_win_rates(pairwise, loaded)
    columns = tuple(replace(column, audits=notes_on(column.name, loaded, audits)) for column in comparison.columns)
    comparison = replace(comparison, columns=columns, win_rates=tuple(rates), notes=(*comparison.notes, *notes))
    files = {
        "index.html": render_page(comparison, loaded, revisions, recorded),
        "report.md": document(comparison).markdown(),
        "scores.csv": as_csv(SCORES, scores(loaded)),
        "summary.json": as_json(content(comparison)),
    }
    written = [*write_files(output, files), *save_plots(comparison, output / "plots")]
    console().print(document(comparison).terminal())
    tell_written(written)


def _place(baseline: Path, runs: list[Path]) -> int:
    places = [run.resolve() for run in runs]
    if baseline.resolve() not in places:
        raise UserError(f"--baseline {baseline} is none of the runs: {', '.join(map(str, runs))}.")
    return places.index(baseline.resolve())
