"""A table says the same in the terminal, in Markdown and on a page, and none of them obeys what stands in it."""

import io
import json
import math

import pytest
from rich.console import Console

from cai_lightning.report.page import environment
from cai_lightning.report.table import (
    Document,
    Field,
    Table,
    as_csv,
    as_json,
    by_reason,
    number,
    part,
    span,
    write_files,
)
from cai_lightning.statistics import Interval

HOSTILE = "[red]x[/red] | <b>y</b>\x1b[31m\n# `z`"
TABLE = Table(
    f"title {HOSTILE}",
    [
        {"run": "part of it"},
        {"run": HOSTILE, "mean": Field("0.50", "+0.25", "better")},
        {"run": "other", "mean": Field("0.10", style="worse"), "more": "1"},
    ],
    [Field(f"audit {HOSTILE}", style="warning")],
)


def shown(renderable, color=None):
    console = Console(file=io.StringIO(), width=200, color_system=color, force_terminal=bool(color))
    console.print(renderable)
    return console.file.getvalue()


def test_the_head_holds_the_columns_of_all_rows():
    assert TABLE.head == ["run", "mean", "more"]


def test_the_terminal_shows_second_lines_and_colors_what_they_amount_to():
    text, colored = shown(TABLE.terminal()), shown(TABLE.terminal(), "standard")
    assert "\x1b" not in text
    assert r"title [red]x[/red] | <b>y</b>\x1b[31m # `z`" in text
    assert r"audit [red]x[/red] | <b>y</b>\x1b[31m # `z`" in text
    assert [line.split() for line in text.splitlines()[-3:]][1:] == [["+0.25"], ["other", "0.10", "1"]]
    assert "\x1b[32m+0.25" in colored
    assert "\x1b[31m0.10" in colored
    assert "\x1b[1mpart of it" in colored


def test_markdown_has_as_many_fields_in_every_row():
    text = TABLE.markdown()
    assert text.startswith(r"## title \[red\]x\[/red\] \| &lt;b&gt;y&lt;/b&gt;\\x1b\[31m \# \`z\`")
    grid = [line.replace(r"\|", "") for line in text.splitlines() if line.startswith("|")]
    assert len(grid) == 5
    assert {line.count("|") for line in grid} == {4}
    assert grid[2] == "| **part of it** |  |  |"
    assert "| 0.50<br>+0.25 |" in grid[3]
    assert "| `x` |" in Table("", [{"a": "x"}]).markdown("`{}`".format)


def test_a_page_gets_text_and_the_class_of_what_it_amounts_to():
    text = environment().get_template("table.html").render(table=TABLE)
    assert '<td class="better" data-heading="mean">0.50<small>+0.25</small></td>' in text
    assert r'<td class="" data-heading="run">[red]x[/red] | &lt;b&gt;y&lt;/b&gt;\x1b[31m # `z`</td>' in text
    assert text.count("<th") - text.count("<thead") == 3


def test_a_document_ends_with_its_notes_and_hides_no_warning():
    document = Document("Found", [TABLE], [f"note {HOSTILE}"], [f"Warning: {HOSTILE}"], ("a plot", "plot.png"))
    text, written = shown(document.terminal()), document.markdown()
    assert "\x1b" not in text + written
    assert text.index("Warning: [red]") < text.index("note [red]")
    assert written.startswith("# Found\n\n![a plot](plot.png)\n\n**Warning: \\[red\\]")
    assert written.rstrip().splitlines()[-1].startswith(r"- note \[red\]")


def test_what_is_no_finite_number_is_null_in_json_and_empty_in_csv(tmp_path):
    content = {"a": [math.nan, 1.5, (math.inf,)], "b": Interval(None, -math.inf, 2.0, 3)}
    assert json.loads(as_json(content)) == {
        "a": [None, 1.5, [None]],
        "b": {"mean": None, "low": None, "high": 2.0, "n": 3},
    }
    assert as_csv(("a", "b"), [("=1+1", math.nan), ("x\ny", 2)]).splitlines() == ["a,b", "'=1+1,", "x y,2"]
    assert write_files(tmp_path / "out", {"a.txt": "a"}) == [tmp_path / "out" / "a.txt"]
    assert (tmp_path / "out" / "a.txt").read_text() == "a"


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (Interval(0.25, 0.1, 0.4, 9), "+0.250 [0.100, 0.400]"),
        (Interval(-0.25, None, None, 1), "-0.250"),
        (Interval(0.5, -2.0, 1.0, 9), "+0.50 [-2.00, 1.00]"),
        (Interval(-0.0001, None, None, 1), "+0.000"),
        (Interval(None, None, None, 0), "-"),
    ],
)
def test_means_in_words(estimate, words):
    assert number(estimate, sign="+") == words


def test_counts_in_words():
    assert (part(3, 64, "responses"), part(0, 64)) == ("3 of 64 responses (5 %)", "none of 64")
    assert (span(1, 1), span(1, 3)) == ("1", "1 to 3")
    assert by_reason({f"reason {n}": 9 - n for n in range(5)})[2:] == ["7 x reason 2", "2 other reasons"]
