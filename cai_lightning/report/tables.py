"""A comparison for people: tables in the terminal, and the same in Markdown. Names and reasons are shown, never obeyed.

Console().print(terminal(comparison))
journal.replace_text(output / "comparison.md", markdown(comparison))
"""

import re
from collections.abc import Sequence

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cai_lightning.report.comparison import Cell, ColumnComparison, Comparison
from cai_lightning.report.runs import printable
from cai_lightning.report.summary import Direction
from cai_lightning.statistics import Estimate

ARROWS: dict[Direction | None, str] = {"higher": "↑ higher is better", "lower": "↓ lower is better", None: ""}
NOTHING = "-"
STYLES = {"better": "green", "worse": "red"}
_MARKUP = re.compile(r"([\\`*_\[\]|~#!])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def terminal(comparison: Comparison) -> Group:
    """The comparison for rich: a table per metric, the overall ranking, the notes."""
    tables = [_terminal_table(column, comparison) for column in comparison.columns]
    lines = [*_ranking(comparison), "", *_notes(comparison)]
    return Group(*(Padding(table, (1, 0, 0, 0)) for table in tables), Text("\n" + "\n".join(lines)))


def markdown(comparison: Comparison) -> str:
    """The comparison as a Markdown document."""
    parts = ["# Comparison"]
    for column in comparison.columns:
        parts += [f"## {escaped(_title(column))}", _markdown_table(column, comparison)]
    parts += ["## Overall", "\n".join(f"{escaped(line)}  " for line in _ranking(comparison))]
    parts += ["## Notes", "\n".join(f"- {escaped(line)}" for line in _notes(comparison))]
    return "\n\n".join(parts) + "\n"


def verdict(cell: Cell, direction: Direction | None) -> str:
    """`better` or `worse` than the baseline where the interval of the difference excludes 0, else `unclear`."""
    if direction is None or cell.difference is None or cell.difference.estimate.mean is None:
        return ""
    if not cell.difference.estimate.excludes_zero:
        return "unclear"
    return "better" if (cell.difference.estimate.mean > 0) == (direction == "higher") else "worse"


def _terminal_table(column: ColumnComparison, comparison: Comparison) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", title_justify="left")
    table.title = Text(_title(column), style="bold")
    for heading in _headings(comparison):
        table.add_column(heading, overflow="fold")
    for cell in column.cells:
        style = STYLES.get(verdict(cell, column.direction), "")
        run, mean, difference, *rest = _texts(cell, column.direction, comparison.baseline)
        table.add_row(Text(run), Text(mean), Text(difference, style), *map(Text, rest))
    return table


def _markdown_table(column: ColumnComparison, comparison: Comparison) -> str:
    headings = _headings(comparison)
    rows = [_texts(cell, column.direction, comparison.baseline) for cell in column.cells]
    lines = [headings, ["---"] * len(headings), *([escaped(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _title(column: ColumnComparison) -> str:
    return f"{printable(column.name)} {ARROWS[column.direction]}, {column.prompts} prompts"


def _headings(comparison: Comparison) -> Sequence[str]:
    share = f"{100 * comparison.confidence:g} %"
    return ["run", f"mean [{share}]", f"difference [{share}]", "", "scored", "rank"]


def _texts(cell: Cell, direction: Direction | None, baseline: str) -> list[str]:
    """The cell as the words of a table's row."""
    return [
        cell.run,
        f"not run: {printable(cell.not_run)}" if cell.not_run else _number(cell.estimate),
        _difference(cell, baseline),
        verdict(cell, direction),
        f"{cell.scored}/{cell.scored + cell.unscored}",
        NOTHING if cell.rank is None else f"{cell.rank:g}",
    ]


def _difference(cell: Cell, baseline: str) -> str:
    if cell.run == baseline:
        return "baseline"
    if cell.scored and not cell.compared:
        return "not comparable"
    return _number(cell.difference.estimate, sign="+") if cell.difference else NOTHING


def _number(estimate: Estimate, sign: str = "") -> str:
    if estimate.mean is None:
        return NOTHING
    interval = "" if estimate.interval is None else " [{:.3f}, {:.3f}]".format(*estimate.interval)
    return f"{estimate.mean:{sign}.3f}{interval}"


def _ranking(comparison: Comparison) -> list[str]:
    if not comparison.ranking:
        return ["No overall ranking: no metric ranks every run."]
    places = [
        f"{standing.place}{'=' if standing.tied else '.'} {standing.run} (mean rank {standing.mean_rank:.2f})"
        for standing in comparison.ranking
    ]
    return ["Overall, by mean rank over the metrics:", *places]


def _notes(comparison: Comparison) -> list[str]:
    share = f"{100 * comparison.confidence:g} %"
    reading = (
        f"Brackets are {share} bootstrap intervals over prompts; differences are paired, to {comparison.baseline}; "
        "unclear: the interval holds 0."
    )
    return [reading, *map(printable, comparison.notes)]


def escaped(text: str) -> str:
    """The text in Markdown, shown and not obeyed."""
    plain = "".join(_ENTITIES.get(c, c) for c in text)
    return _MARKUP.sub(r"\\\1", plain)
