"""A comparison for programs: `comparison.csv`, one row per metric and run, and `summary.json` with everything.

journal.replace_text(output / "summary.json", as_json(comparison))
"""

import csv
import io
import json
from dataclasses import asdict
from typing import Any

from cai_lightning.report.comparison import Cell, ColumnComparison, Comparison


def as_json(comparison: Comparison) -> str:
    """The comparison as JSON; intervals are named by their confidence, `ci95` by default."""
    document = {
        "baseline": comparison.baseline,
        "confidence": comparison.confidence,
        "runs": list(comparison.runs),
        "metrics": {column.name: _column(column, _interval_name(comparison)) for column in comparison.columns},
        "ranking": [asdict(standing) for standing in comparison.ranking],
        "notes": list(comparison.notes),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(comparison: Comparison) -> str:
    """The comparison as CSV; an interval takes two columns, and what does not exist is empty."""
    name = _interval_name(comparison)
    rows = [
        {"metric": column.name, "direction": column.direction, "run": cell.run} | _flat(_cell(cell, name), name)
        for column in comparison.columns
        for cell in column.cells
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _interval_name(comparison: Comparison) -> str:
    return f"ci{100 * comparison.confidence:g}"


def _column(column: ColumnComparison, interval: str) -> dict[str, Any]:
    return {
        "direction": column.direction,
        "prompts": column.prompts,
        "runs": {cell.run: _cell(cell, interval) for cell in column.cells},
    }


def _cell(cell: Cell, interval: str) -> dict[str, Any]:
    difference = cell.difference
    return {
        "mean": cell.estimate.mean,
        interval: cell.estimate.interval,
        "scored": cell.scored,
        "unscored": cell.unscored,
        "not_run": cell.not_run,
        "compared": cell.compared,
        "difference": difference.estimate.mean if difference else None,
        f"difference_{interval}": difference.estimate.interval if difference else None,
        "excludes_zero": difference.estimate.excludes_zero if difference else None,
        "pairs": difference.estimate.n if difference else None,
        "left_out": difference.left_out if difference else None,
        "rank": cell.rank,
    }


def _flat(record: dict[str, Any], interval: str) -> dict[str, Any]:
    """Replaces each interval by its two ends."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if name.endswith(interval):
            flat[f"{name}_low"], flat[f"{name}_high"] = value or (None, None)
        else:
            flat[name] = value
    return flat
