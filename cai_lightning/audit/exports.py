"""An audit for programs: `audit.json`, which `compare --audit` reads.

journal.replace_text(output / "audit.json", as_json(audit))
"""

import json
from dataclasses import asdict
from typing import Any

from cai_lightning.audit.findings import ColumnFindings, PairFindings, SingleFindings
from cai_lightning.audit.results import Audit


def as_json(audit: Audit) -> str:
    """The audit as JSON: what could not be computed is null, shares are from 0 to 1."""
    labelled = audit.labels.labelled
    document = {
        "file": audit.file,
        "digest": audit.digest,
        "rows": labelled.rows,
        "comparisons": len(labelled.pairs),
        "single_responses": len(labelled.singles),
        "left_out": dict(labelled.left_out),
        "metrics": {column.name: _column(column) for column in audit.columns},
        "agreement": asdict(audit.agreement),
        "pairwise": [asdict(position) for position in audit.positions],
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _column(column: ColumnFindings) -> dict[str, Any]:
    scored = column.scored
    return {
        "settings": scored.settings,
        "revision": scored.revision,
        "direction": scored.column.direction,
        "not_run": scored.not_run,
        "not_applicable": scored.not_applicable,
        "n": column.estimate.n,
        **_pairs(column.pairs),
        **_singles(column.singles),
        "better_than_chance": column.better_than_chance,
        "worse_than_chance": column.worse_than_chance,
        "reasons": dict(scored.scores.reasons.most_common()),
    }


def _pairs(found: PairFindings | None) -> dict[str, Any]:
    if found is None:
        return {"accuracy": None, "ci95": None}
    return {
        "accuracy": found.accuracy.mean,
        "ci95": found.accuracy.interval,
        "ties": found.ties,
        "unscored": found.unscored,
        "length": asdict(found.length),
        "better_is_shorter": asdict(found.shorter),
        "better_is_longer": asdict(found.longer),
    }


def _singles(found: SingleFindings | None) -> dict[str, Any]:
    if found is None:
        return {"auc": None, "auc_ci95": None}
    return {
        "auc": found.area.mean,
        "auc_ci95": found.area.interval,
        "unscored": found.unscored,
        "length": asdict(found.length),
        "calibration": asdict(found.calibration) if found.calibration else None,
    }
