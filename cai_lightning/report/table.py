"""What people and programs read: figures in words, tables shown anywhere, and the files of a verb.

    table = Table("harmlessness", [{"run": "base", "mean": "0.41"}, {"run": "tuned", "mean": Field("0.78", "+0.37")}])
    console().print(table.terminal())
    table.markdown()
    write_files(output, {"report.md": text, "summary.json": as_json(content), "scores.csv": as_csv(head, rows)})

>>> p_value(0.0123), p_value(0.0001)
('0.012', '<0.001')
>>> part(12, 40), part(0, 40, "responses")
('12 of 40 (30 %)', 'none of 40 responses')
>>> by_reason({"no verdict": 5, "timeout": 1})
['5 x no verdict', '1 x timeout']

A table is made once and shown in the terminal, in Markdown and on a page. Names, reasons and whatever else models and
files say go in as they are. Whoever shows them makes them printable, and escapes what a terminal, Markdown or HTML
would obey. In JSON, what is no finite number is null; in CSV it is empty, and no text is a formula.
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic_core import to_jsonable_python
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from cai_lightning.run.files import replace_text
from cai_lightning.run.text import escape_markdown, printable, spreadsheet_cell
from cai_lightning.statistics import Direction, Interval

NOTHING = "-"
ARROWS: dict[Direction | None, str] = {"higher": "↑ higher is better", "lower": "↓ lower is better", None: ""}
MOST_REASONS = 3
Write = Callable[[float], str]
Style = Literal["", "better", "worse", "unclear", "warning"]
COLORS = {"better": "green", "worse": "red", "warning": "yellow"}
CROWDED = 7
"""Columns from which on they stand closer together in the terminal."""
WIDTH = 100
"""Columns of a terminal that is a file or a pipe."""


def number(estimate: Interval, sign: str = "") -> str:
    """A mean, with this sign where it is not below 0, and its interval; to three digits where all is below 1."""
    ends = [abs(end) for end in (estimate.mean, *(estimate.interval or ())) if end is not None]
    digits = 3 if max(ends, default=0.0) < 1 else 2
    words = with_interval(estimate, f"{{:z.{digits}f}}".format)
    return words if words.startswith("-") else sign + words


def with_interval(estimate: Interval, write: Write, unit: str = "") -> str:
    """A mean with its interval on one line.

    Args:
        estimate: The mean and its interval.
        write: Writes one value.
        unit: What stands behind the mean, such as ` %`.
    """
    return " ".join(filter(None, over_interval(estimate, write, unit)))


def over_interval(estimate: Interval, write: Write, unit: str = "") -> tuple[str, str]:
    """The same as two texts, the interval to stand below the mean."""
    if estimate.mean is None:
        return NOTHING, ""
    interval = f"[{', '.join(map(write, estimate.interval))}]" if estimate.interval else ""
    return f"{write(estimate.mean)}{unit}", interval


def in_hundredths(share: float, digits: int = 1) -> str:
    """A share in per cent, without that word."""
    return f"{100 * share:.{digits}f}"


def span(low: int, high: int) -> str:
    """From a number to another one, or that number alone."""
    return f"{low}" if low == high else f"{low} to {high}"


def told(value: float | None, spec: str) -> str:
    """A value in this format."""
    return NOTHING if value is None else format(value, spec)


def per_cent(share: float | None, spec: str = ".0f") -> str:
    """A share in per cent, in this format."""
    return NOTHING if share is None else f"{100 * share:{spec}} %"


def part(count: int, whole: int, of: str = "") -> str:
    """How many of how many."""
    all_of_them = f"{whole} {of}".rstrip()
    return f"{count} of {all_of_them} ({per_cent(count / whole)})" if count else f"none of {all_of_them}"


def p_value(p: float | None) -> str:
    """A p-value to three digits."""
    return NOTHING if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def in_markdown(text: str) -> str:
    """A text on one line of Markdown, shown and not obeyed."""
    return escape_markdown(printable(text))


def by_reason(counts: Mapping[str, int]) -> list[str]:
    """How many for each of the first reasons, and how many other reasons there are."""
    told = [f"{count} x {reason}" for reason, count in counts.items()]
    others = len(told) - MOST_REASONS
    return [*told[:MOST_REASONS], f"{others} other reasons"] if others > 0 else told


@dataclass(frozen=True)
class Field:
    """One field of a table.

    Args:
        text: What it says.
        below: A second line.
        style: What the last of the two amounts to.
        share: How much of a bar beneath it is filled on a page, from 0 to 1; None where there is no bar.
        query: What it asks the page's viewer for, where it is a link.
    """

    text: str
    below: str = ""
    style: Style = ""
    share: float | None = None
    query: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text

    def terminal(self, style: str = "") -> Text:
        color = COLORS.get(self.style, "")
        if not self.below:
            return Text(printable(self.text), color or style)
        return Text(printable(self.text), style).append(f"\n{printable(self.below)}", color or "dim")


Row = Mapping[str, str | Field]


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        title: What it is about; may be empty.
        rows: Each row's fields by the headings of their columns; one field alone is a heading within the table.
        notes: What is to be known before it is read.
    """

    title: str
    rows: Sequence[Row]
    notes: Sequence[Field] = ()

    @property
    def head(self) -> list[str]:
        """The headings of all columns, in the order in which rows have them."""
        return list(dict.fromkeys(heading for row in self.rows for heading in row))

    @property
    def grid(self) -> list[list[Field]]:
        """The fields of each row, one for each column."""
        head = self.head
        fields = ([row.get(heading, "") for heading in head] for row in self.rows)
        return [[field if isinstance(field, Field) else Field(field) for field in row] for row in fields]

    def terminal(self) -> RichTable:
        """The table for rich."""
        head = self.head
        gap = 1 if len(head) >= CROWDED else 2
        table = RichTable(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim", title_justify="left")
        title = [Text(printable(self.title), "bold"), *(note.terminal("dim") for note in self.notes)]
        table.title = Text("\n").join(title) if self.title else None
        table.title_style = ""
        for heading in head:
            table.add_column(Text(printable(heading)), overflow="fold")
        for row, fields in zip(self.rows, self.grid, strict=True):
            style = "bold" if len(row) == 1 < len(head) else ""
            table.add_row(*(field.terminal(style) for field in fields))
        return table

    def markdown(self, write: Callable[[str], str] = in_markdown) -> str:
        """The table in Markdown, under its title.

        Args:
            write: Writes the text of a field; escaped by default.
        """
        title, head = [f"## {in_markdown(self.title)}"] if self.title else [], self.head
        lines = [[*map(in_markdown, head)], ["---"] * len(head)]
        for row, fields in zip(self.rows, self.grid, strict=True):
            first, *others = ("<br>".join(map(write, filter(None, (f.text, f.below)))) for f in fields)
            lines.append([f"**{first}**" if len(row) == 1 < len(head) else first, *others])
        grid = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([*title, *(in_markdown(note.text) for note in self.notes), grid])


@dataclass(frozen=True)
class Document:
    """What a verb has found out.

    Args:
        title: What it is.
        tables: Its tables.
        notes: How they are to be read, and what they cannot say.
        warnings: What makes their figures misleading.
        picture: What a picture beside the document shows, and its file.
    """

    title: str
    tables: Sequence[Table]
    notes: Sequence[str]
    warnings: Sequence[str] = ()
    picture: tuple[str, str] | None = None

    def terminal(self) -> Group:
        """The document for rich, what matters most at its end."""
        tables = [Padding(table.terminal(), (1, 0, 0, 0)) for table in self.tables]
        warnings = [Text(f"\n{printable(warning)}", "bold yellow") for warning in self.warnings]
        return Group(*tables, *warnings, Text("\n" + "\n".join(map(printable, self.notes))))

    def markdown(self) -> str:
        """The document in Markdown."""
        picture = ["![{}]({})".format(*self.picture)] if self.picture else []
        warnings = [f"**{in_markdown(warning)}**" for warning in self.warnings]
        notes = "\n".join(f"- {in_markdown(note)}" for note in self.notes)
        tables = [table.markdown() for table in self.tables]
        return "\n\n".join([f"# {self.title}", *picture, *warnings, *tables, "## Notes", notes]) + "\n"


def console() -> Console:
    """What tables are printed with; a file or a pipe gets a fixed width."""
    return Console(width=None if sys.stdout.isatty() else WIDTH)


def tell_written(files: Sequence[Path]) -> None:
    """Says which files a verb has written."""
    console().print(f"Written: {', '.join(map(str, files))}", markup=False, soft_wrap=True)


def write_files(output: Path, texts: Mapping[str, str]) -> list[Path]:
    """Writes files into a folder, each in one step, and returns them."""
    for name, text in texts.items():
        replace_text(output / name, text)
    return [output / name for name in texts]


def as_json(content: Any) -> str:
    """Lists, mappings and dataclasses as JSON."""
    plain = to_jsonable_python(content, inf_nan_mode="null")
    return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(head: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> str:
    """Rows as CSV under a head."""
    text = io.StringIO()
    csv.writer(text).writerows([head, *(map(_csv_field, row) for row in rows)])
    return text.getvalue()


def interval_name(confidence: float) -> str:
    """What an interval is called in a file, `ci95` by default."""
    return f"ci{100 * confidence:g}"


def _csv_field(field: str | float | None) -> Any:
    return spreadsheet_cell(field) if isinstance(field, str) else to_jsonable_python(field, inf_nan_mode="null")
