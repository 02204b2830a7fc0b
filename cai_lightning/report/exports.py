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
        "fine_tunings": {run: list(names) for run, names in comparison.fine_tunings.items()},
        "metrics": {column.name: _column(column, _interval_name(comparison)) for column in comparison.columns},
        "behaviours": {column.name: _column(column, _interval_name(comparison)) for column in comparison.behaviours},
        "categories": _categories(comparison),
        "ranking": [asdict(standing) for standing in comparison.ranking],
        "notes": list(comparison.notes),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(comparison: Comparison) -> str:
    """The comparison as CSV; an interval takes two columns, and what does not exist is empty."""
    name = _interval_name(comparison)
    rows = [
        {"metric": column.name, "category": column.category, "direction": column.direction, "run": cell.run}
        | _flat(_cell(cell, name), name)
        for column in (*comparison.columns, *comparison.behaviours, *comparison.categories)
        for cell in column.cells
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _interval_name(comparison: Comparison) -> str:
    return f"ci{100 * comparison.confidence:g}"


def _categories(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """The columns of the categories, by metric and category."""
    found: dict[str, dict[str, Any]] = {}
    for column in comparison.categories:
        found.setdefault(column.name, {})[column.category or ""] = _column(column, _interval_name(comparison))
    return found


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
        "p_value": difference.p_value if difference else None,
        "p_holm": cell.p_holm,
        "clear": cell.clear,
        "effect_size": difference.effect_size if difference else None,
        "needed": difference.needed if difference else None,
        "rank": cell.rank,
        "first": cell.first,
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
