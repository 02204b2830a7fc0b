"""An audit for people: tables in the terminal, and the same in Markdown. Names and reasons are shown, never obeyed.

Console().print(terminal(audit))
journal.replace_text(output / "audit.md", markdown(audit))
"""

from rich.console import Group
from rich.padding import Padding
from rich.text import Text

from cai_lightning.audit.grids import grids
from cai_lightning.audit.notes import notes
from cai_lightning.audit.results import Audit
from cai_lightning.report.inspection.tables import markdown_table, terminal_table
from cai_lightning.report.tables import escaped

PLOT = "audit.png"


def terminal(audit: Audit) -> Group:
    """The audit for rich."""
    tables = [Padding(terminal_table(grid), (1, 0, 0, 0)) for grid in grids(audit)]
    return Group(*tables, Text("\n" + "\n".join(notes(audit))))


def markdown(audit: Audit) -> str:
    """The audit as a Markdown document, with the plot that lies beside it."""
    parts = ["# Audit", f"![Accuracy of the evaluators]({PLOT})"]
    for grid in grids(audit):
        parts += [f"## {escaped(grid.title)}", markdown_table(grid)]
    parts += ["## Notes", "\n".join(f"- {escaped(line)}" for line in notes(audit))]
    return "\n\n".join(parts) + "\n"
