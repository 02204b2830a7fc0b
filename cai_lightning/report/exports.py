"""Files for programs, and how a verb writes all of its files.

    write_files(output, {"report.md": text, "summary.json": as_json(content), "scores.csv": as_csv(head, rows)})

In JSON, what is no finite number is null; in CSV it is empty, and no text is a formula.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from cai_lightning.run.files import replace_text
from cai_lightning.run.text import spreadsheet_cell


def write_files(output: Path, texts: Mapping[str, str]) -> list[Path]:
    """Writes files into a folder, each in one step, and returns them."""
    for name, text in texts.items():
        replace_text(output / name, text)
    return [output / name for name in texts]


def as_json(content: Any) -> str:
    """Lists, mappings and dataclasses as JSON."""
    return json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(head: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> str:
    """Rows as CSV under a head."""
    text = io.StringIO()
    csv.writer(text).writerows([head, *(map(_cell, row) for row in rows)])
    return text.getvalue()


def interval_name(confidence: float) -> str:
    """What an interval is called in a file, `ci95` by default."""
    return f"ci{100 * confidence:g}"


def _plain(content: Any) -> Any:
    if is_dataclass(content) and not isinstance(content, type):
        content = asdict(content)
    if isinstance(content, Mapping):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _cell(field: str | float | None) -> Any:
    return spreadsheet_cell(field) if isinstance(field, str) else _plain(field)
