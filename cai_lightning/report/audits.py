"""What audits say of the evaluators that runs were judged by, to stand beside each column of a comparison.

audits = read_audits([Path("runs/qwen_base/audit/438HHHEvaluations/audit.json")])
notes = notes_on("harmlessness", runs, audits)
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai_lightning.errors import UserError
from cai_lightning.report.figures import count, interval, share
from cai_lightning.report.numbers import p_value
from cai_lightning.report.runs import Run

OTHER = {"settings": "other settings", "revision": "another revision of its model"}


@dataclass(frozen=True)
class AuditNote:
    """What one audit says of a column.

    Args:
        text: It in words.
        trusted: Whether its evaluator is better than chance; None where the audit cannot tell.
    """

    text: str
    trusted: bool | None


@dataclass(frozen=True)
class ColumnAudit:
    """A column in an audit.

    Args:
        settings: Digest of the settings of its evaluator.
        revision: What stood behind them.
        share: How often the better response was put first; None where there is no figure.
        interval: The interval of that share.
        unit: What it is a share of, in words.
        better: Whether it is better than chance, or None.
        worse: Whether it is worse than chance.
        p_holm: The p-value of chance, corrected for the columns of the audit; None where an older one has none.
        missing: Why there is no figure.
    """

    settings: str | None
    revision: str | None
    share: float | None
    interval: tuple[float, float] | None
    unit: str
    better: bool | None
    worse: bool
    p_holm: float | None
    missing: str


@dataclass(frozen=True)
class AuditFile:
    """An `audit.json`: the name of its file of labels, and the columns."""

    labels: str
    columns: dict[str, ColumnAudit]


def read_audits(paths: Sequence[Path]) -> list[AuditFile]:
    """Reads what `audit` has written.

    Raises:
        UserError: A file is missing, or is none that `audit` writes.
    """
    return [_read_audit(path) for path in paths]


def notes_on(column: str, runs: Sequence[Run], audits: Sequence[AuditFile]) -> tuple[AuditNote, ...]:
    """What the audits say of a column of these runs; an audit that does not know the column says nothing.

    Args:
        column: Name of the column.
        runs: The runs that are compared; what an audit of other settings found is not told of them.
        audits: The audits.
    """
    having = [run for run in runs if run.entry(column)]
    known = [(audit.labels, audit.columns[column]) for audit in audits if column in audit.columns]
    return tuple(_note(labels, found, column, having) for labels, found in known)


def _note(labels: str, found: ColumnAudit, column: str, runs: Sequence[Run]) -> AuditNote:
    alike = [run.name for run in runs if not _unlike(found, run.entry(column))]
    if not alike:
        differing = dict.fromkeys(key for run in runs for key in _unlike(found, run.entry(column)))
        return AuditNote(f"audit by {labels}: it was of {' and '.join(OTHER[key] for key in differing)}", None)
    only = "" if len(alike) == len(runs) else f" (as in {', '.join(alike)}; the others have another evaluator)"
    return AuditNote(f"audit by {labels}{only}: {_words(found)}", found.better)


def _unlike(found: ColumnAudit, entry: dict[str, Any]) -> list[str]:
    """What of the evaluator differs from the one that was audited."""
    return [key for key in OTHER if getattr(found, key) != entry.get(key)]


def _words(found: ColumnAudit) -> str:
    if found.share is None:
        return found.missing
    interval = " [{:.1f}, {:.1f}]".format(*(100 * end for end in found.interval)) if found.interval else ""
    figure = f"{100 * found.share:.1f} %{interval} of {found.unit}"
    if found.better is None:
        return figure
    chance = "better" if found.better else "WORSE" if found.worse else "NO BETTER"
    corrected = "" if found.p_holm is None else f" (p {p_value(found.p_holm)}, corrected)"
    return f"{figure}, {chance} than chance{corrected}"


def _read_audit(path: Path) -> AuditFile:
    try:
        document = json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
        columns = {str(name): _column(entry) for name, entry in document["metrics"].items()}
        return AuditFile(str(document["file"]), columns)
    except OSError as error:
        raise UserError(f"{path}: the audit cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: not the audit.json that audit writes ({type(error).__name__}: {error}).") from None


def _column(entry: dict[str, Any]) -> ColumnAudit:
    pairs = entry["accuracy"] is not None
    figure, ends = ("accuracy", "ci95") if pairs else ("auc", "auc_ci95")
    number = count(entry["n"])
    return ColumnAudit(
        settings=entry["settings"],
        revision=entry["revision"],
        share=share(entry[figure]),
        interval=interval(entry[ends]),
        unit=f"{number} comparisons right" if pairs else f"{number} responses in order (AUC)",
        better=entry["better_than_chance"],
        worse=bool(entry["worse_than_chance"]),
        p_holm=share(entry.get("p_holm")),
        missing=_missing(entry),
    )


def _missing(entry: dict[str, Any]) -> str:
    for key in ("not_run", "not_applicable"):
        if entry[key]:
            return f"{key.replace('_', ' ')}: {entry[key]}"
    return "nothing scored"
