"""A comparison for programs: `summary.json` with every figure, and `scores.csv` with every score.

journal.replace_text(output / "summary.json", as_json(comparison))
journal.replace_text(output / "scores.csv", scores_csv(runs, texts))
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cai_lightning.report.comparison import Cell, ColumnComparison, Comparison
from cai_lightning.report.corpora import RunTexts
from cai_lightning.report.evidence import WinRate
from cai_lightning.report.runs import Run
from cai_lightning.run.text import spreadsheet_cell


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
        "win_rates": [_win_rate(found) for found in comparison.win_rates],
        "ranking": [asdict(standing) for standing in comparison.ranking],
        "warnings": list(comparison.warnings),
        "notes": list(comparison.notes),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def scores_csv(runs: Sequence[Run], texts: Sequence[RunTexts]) -> str:
    """Every score, one row for each prompt, run and metric; an unscored one is empty and has its reason."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["id", "category", "run", "metric", "score", "reason"])
    for run, said in zip(runs, texts, strict=True):
        for metric, scores in run.scores.items():
            for id in (*scores.values, *scores.unscored):
                category = said.responses[id].category if id in said.responses else None
                words = [spreadsheet_cell(word) for word in (id, category or "", run.name, metric)]
                writer.writerow([*words, scores.values.get(id), spreadsheet_cell(scores.unscored.get(id, ""))])
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
        "audits": [asdict(note) for note in column.audits],
        "runs": {cell.run: _cell(cell, interval) for cell in column.cells},
    }


def _win_rate(found: WinRate) -> dict[str, Any]:
    estimate = found.estimate
    return asdict(found) | {"estimate": estimate.mean, "ci95": estimate.interval}


def _cell(cell: Cell, interval: str) -> dict[str, Any]:
    difference = cell.difference
    return {
        "mean": cell.estimate.mean,
        interval: cell.estimate.interval,
        "scored": cell.scored,
        "unscored": cell.unscored,
        "truncated": cell.truncated,
        "not_run": cell.not_run,
        "compared": cell.compared,
        "difference": difference.estimate.mean if difference else None,
        f"difference_{interval}": difference.estimate.interval if difference else None,
        "excludes_zero": difference.estimate.excludes_zero if difference else None,
        "pairs": difference.estimate.n if difference else None,
        "left_out": difference.left_out if difference else None,
        "p_value": difference.p_value if difference else None,
        "p_holm": cell.p_holm,
        "clear": cell.significant,
        "effect_size": difference.effect_size if difference else None,
        "needed": difference.needed if difference else None,
        "needed_seeds": difference.needed_seeds if difference else None,
        "rank": cell.rank,
        "first": cell.first,
    }
