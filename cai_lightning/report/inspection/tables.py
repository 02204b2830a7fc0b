"""An inspection for people: tables in the terminal, and the same in Markdown. Names are shown, never obeyed.

Console().print(terminal(report))
journal.replace_text(output / "inspection.md", markdown(report))
"""

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cai_lightning.report.inspection.figures import Report
from cai_lightning.report.inspection.grids import Grid, Words, grids, notes
from cai_lightning.report.tables import STYLES, escaped


def terminal(report: Report) -> Group:
    """The inspection for rich."""
    tables = [Padding(terminal_table(grid), (1, 0, 0, 0)) for grid in grids(report)]
    return Group(*tables, Text("\n" + "\n".join(notes(report))))


def markdown(report: Report) -> str:
    """The inspection as a Markdown document."""
    parts = ["# Inspection"]
    for grid in grids(report):
        parts += [f"## {grid.title}", markdown_table(grid)]
    parts += ["## Notes", "\n".join(f"- {escaped(line)}" for line in notes(report))]
    return "\n\n".join(parts) + "\n"


def terminal_table(grid: Grid) -> Table:
    """One table for rich."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
    table.title = Text(grid.title, style="bold")
    for heading in grid.headings:
        table.add_column(Text(heading), overflow="fold")
    for row in grid.rows:
        table.add_row(*(_terminal_field(field, is_heading=len(row) == 1) for field in row))
    return table


def markdown_table(grid: Grid) -> str:
    """One table in Markdown."""
    lines = [[*map(escaped, grid.headings)], ["---"] * len(grid.headings)]
    for row in grid.rows:
        fields = [_markdown_field(field) for field in row]
        lines.append(fields if len(row) > 1 else [f"**{fields[0]}**", *[""] * (len(grid.headings) - 1)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _terminal_field(field: Words, is_heading: bool) -> Text:
    text = Text(field.figure, "bold" if is_heading else "")
    if field.difference:
        text.append(f"\n{field.difference}", STYLES.get(field.verdict, "dim"))
    return text


def _markdown_field(field: Words) -> str:
    return "<br>".join(escaped(part) for part in (field.figure, field.difference) if part)
