"""The table at the end of validate: what was scored, what was not and why; names and reasons are shown, not obeyed."""

import io

import pytest
from rich.console import Console

from cai_lightning.report.results import told_counts
from cai_lightning.report.summary import summary_table


def entry(**more):
    known = {"mean": None, "ci95": None, "scored": 0, "unscored": 0, "reasons": {}, "direction": "higher"}
    return {**known, "not_run": None, **more}


def shown(width=120, **metrics):
    console = Console(file=io.StringIO(), width=width)
    summary = {"metrics": metrics, "counts": {"responses": 6, "without a response": 1}}
    console.print(summary_table(summary).terminal())
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_a_row_for_each_column():
    lines = shown(
        judge=entry(mean=0.5, ci95=[0.25, 0.75], scored=7),
        harm=entry(mean=1.0, scored=1, unscored=6, reasons={"slow": 5, "no [b]verdict": 1}, direction="lower"),
        reward=entry(not_run="no memory"),
    )
    assert lines == [
        "metric mean [95 %] scored unscored",
        "judge ↑ 0.500 [0.250, 0.750] 7/7 0",
        "harm ↓ 1.000 1/7 6 5 x slow; 1 x no [b]verdict",
        "reward ↑ - 0/7 0 not run: no memory",
    ]


@pytest.mark.parametrize(("unknown", "told"), [(0, ""), (6, ", 6 of unknown end")])
def test_an_end_that_nobody_noted_is_no_whole_one(unknown, told):
    counts = {"responses": 6, "cut at max_new_tokens": 0, "of unknown end": unknown, "looping": 1}
    assert told_counts({"counts": counts}) == f"6 responses: 0 cut at max_new_tokens, 1 looping{told}"


def test_truncated_texts_are_told_where_there_are_any():
    lines = shown(
        reward=entry(mean=0.5, scored=7, truncated=2),
        both=entry(mean=0.5, scored=6, unscored=1, reasons={"slow": 1}, truncated=1),
        none=entry(mean=0.5, scored=7, truncated=0),
    )
    assert lines[1:] == [
        "reward ↑ 0.500 7/7 0 2 scored on a truncated text",
        "both ↑ 0.500 6/7 1 1 x slow; 1 scored on a truncated text",
        "none ↑ 0.500 7/7 0",
    ]


def test_rows_that_wait_for_an_evaluator_are_counted():
    (row,) = shown(judge=entry(mean=0.5, scored=4, unscored=1, missing=2, reasons={"slow": 1}, not_run="no server"))[1:]
    assert row == "judge ↑ 0.500 4/7 1 not run: no server; 2 not scored yet; 1 x slow"


def test_one_that_gave_up_has_both():
    assert shown(judge=entry(mean=0.5, scored=2, unscored=1, reasons={"slow": 1}, not_run="the server is gone"))[1] == (
        "judge ↑ 0.500 2/7 1 not run: the server is gone; 1 x slow"
    )


@pytest.mark.parametrize("hostile", ["\x1b[2J", "[red]x[/red]", "[/]"])
def test_a_terminal_obeys_nothing(hostile):
    (row,) = shown(judge=entry(not_run=hostile), width=200)[1:]
    assert "\x1b" not in row
    assert hostile.replace("\x1b", "\\x1b") in row


def test_many_reasons_are_counted():
    reasons = {f"reason {n}": 9 - n for n in range(5)}
    assert shown(judge=entry(unscored=35, reasons=reasons))[1].endswith("7 x reason 2; 2 other reasons")
