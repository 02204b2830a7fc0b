"""An audit for programs: `audit.json`, which `compare --audit` reads.

journal.replace_text(output / "audit.json", as_json(audit))
"""

import json
from dataclasses import asdict
from typing import Any

from cai_lightning.audit.agreement import Agreement
from cai_lightning.audit.findings import ColumnFindings, PairFindings, SingleFindings
from cai_lightning.audit.results import Audit
from cai_lightning.statistics import Estimate


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
        "agreement": _agreement_json(audit.agreement),
        "pairwise": [asdict(position) for position in audit.positions],
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _agreement_json(agreement: Agreement) -> dict[str, Any]:
    pairs = [
        {"first": pair.first, "second": pair.second, "correlation": asdict(pair.correlation), **_alpha_json(pair.alpha)}
        for pair in agreement.pairs
    ]
    return {"pairs": pairs, **_alpha_json(agreement.alpha)}


def _alpha_json(estimate: Estimate) -> dict[str, Any]:
    return {"alpha": estimate.mean, "alpha_ci95": estimate.interval}


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
        **_singles_json(column.singles),
        "p_value": column.right.p_value,
        "p_holm": column.p_holm,
        "better_than_chance": column.better_than_chance,
        "worse_than_chance": column.worse_than_chance,
        "truncated": scored.scores.truncated,
        "reasons": dict(scored.scores.reasons.most_common()),
    }


def _pairs(found: PairFindings | None) -> dict[str, Any]:
    if found is None:
        return {"accuracy": None, "ci95": None}
    return {
        "accuracy": found.accuracy.estimate.mean,
        "ci95": found.accuracy.estimate.interval,
        "ties": found.ties,
        "unscored": found.unscored,
        "length": asdict(found.length),
        "better_is_shorter": asdict(found.shorter),
        "better_is_longer": asdict(found.longer),
    }


def _singles_json(found: SingleFindings | None) -> dict[str, Any]:
    if found is None:
        return {"auc": None, "auc_ci95": None}
    return {
        "auc": found.area.estimate.mean,
        "auc_ci95": found.area.estimate.interval,
        "unscored": found.unscored,
        "length": asdict(found.length),
        "calibration": asdict(found.calibration) if found.calibration else None,
    }
