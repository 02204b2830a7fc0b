"""A comparison for people: tables in the terminal, and the same in Markdown. Names and reasons are shown, never obeyed.

Console().print(terminal(comparison))
journal.replace_text(output / "report.md", markdown(comparison))
"""

from collections.abc import Sequence

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cai_lightning.report import words
from cai_lightning.report.comparison import Cell, ColumnComparison, Comparison
from cai_lightning.report.words import ARROWS as ARROWS
from cai_lightning.report.words import NOTHING as NOTHING
from cai_lightning.report.words import verdict as verdict
from cai_lightning.run.text import escape_markdown, printable

STYLES = {"better": "green", "worse": "red"}


def terminal(comparison: Comparison) -> Group:
    """The comparison for rich: tables of metrics, behaviours, harm by category, win rates, the ranking and notes."""
    tables = [_terminal_table(column, comparison) for column in (*comparison.columns, *comparison.behaviours)]
    tables += [_terminal_grid(name, columns, comparison) for name, columns in words.by_metric(comparison).items()]
    tables += [_terminal_win_rates(comparison)] if comparison.win_rates else []
    warnings = [Text(f"\n{warning}", "bold yellow") for warning in words.warnings(comparison)]
    lines = [*words.ranking(comparison), "", *words.notes(comparison)]
    return Group(*(Padding(table, (1, 0, 0, 0)) for table in tables), *warnings, Text("\n" + "\n".join(lines)))


def markdown(comparison: Comparison) -> str:
    """The comparison as a Markdown document."""
    parts = ["# Comparison", *(f"**{escape_markdown(warning)}**" for warning in words.warnings(comparison))]
    for column in (*comparison.columns, *comparison.behaviours):
        table = _markdown_table(words.headings(column, comparison), words.rows(column, comparison))
        audits = [escape_markdown(printable(note.text)) for note in column.audits]
        parts += [f"## {escape_markdown(words.title(column))}", *audits, table]
    for name, columns in words.by_metric(comparison).items():
        table = _markdown_table(words.category_headings(comparison), words.category_rows(columns, comparison))
        parts += [f"## {escape_markdown(words.category_title(name, columns))}", table]
    if comparison.win_rates:
        parts += [f"## {words.WIN_RATES}", _markdown_table(words.win_rate_headings(), words.win_rate_rows(comparison))]
    parts += ["## Overall", "\n".join(f"{escape_markdown(line)}  " for line in words.ranking(comparison))]
    parts += ["## Notes", "\n".join(f"- {escape_markdown(line)}" for line in words.notes(comparison))]
    return "\n\n".join(parts) + "\n"


def _terminal_table(column: ColumnComparison, comparison: Comparison) -> Table:
    table = _table(words.title(column), words.headings(column, comparison))
    table.title = _terminal_title(column)
    for cell, row in zip(column.cells, words.rows(column, comparison), strict=True):
        run, mean, difference, *rest = row
        table.add_row(Text(run), Text(mean), Text(difference, _style(cell, column)), *map(Text, rest))
    return table


def _terminal_title(column: ColumnComparison) -> Text:
    title = Text(words.title(column), style="bold")
    for note in column.audits:
        title.append(f"\n{printable(note.text)}", "not bold yellow" if note.trusted is False else "not bold dim")
    return title


def _terminal_grid(name: str, columns: Sequence[ColumnComparison], comparison: Comparison) -> Table:
    table = _table(words.category_title(name, columns), words.category_headings(comparison))
    for column, (category, *rest) in zip(columns, words.category_rows(columns, comparison), strict=True):
        styles = [_style(cell, column) for cell in column.cells]
        table.add_row(Text(category), *(Text(*field) for field in zip(rest, styles, strict=True)))
    return table


def _terminal_win_rates(comparison: Comparison) -> Table:
    table = _table(words.WIN_RATES, words.win_rate_headings())
    for row in words.win_rate_rows(comparison):
        table.add_row(*map(Text, row))
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", title_justify="left")
    table.title = Text(title, style="bold")
    for heading in headings:
        table.add_column(Text(heading), overflow="fold")
    return table


def _style(cell: Cell, column: ColumnComparison) -> str:
    return STYLES.get(verdict(cell, column.direction), "")


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [map(escape_markdown, headings), ["---"] * len(headings), *(map(escape_markdown, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
