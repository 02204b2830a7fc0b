"""What audits and a judge's pairwise verdicts say, to stand beside a comparison.

Figures in the files of other verbs, as they may be: shares, intervals and counts. What cannot be is a `ValueError`.

share(document["win_rate"])

What audits say of the evaluators that runs were judged by, to stand beside each column of a comparison.

audits = read_audits([Path("runs/qwen_base/audit/438HHHEvaluations/audit.json")])
notes = notes_on("harmlessness", runs, audits)

Whose responses a judge prefers, as `pairwise` has found out: win rates to stand beside a comparison.

rates, notes = read_win_rates([Path("runs/qwen_contextual/pairwise/qwen_random/pairwise.json")], runs)
rates[0].estimate

A file says by digests which responses were judged, so that none is taken for the win rate of others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai_lightning.report.numbers import p_value
from cai_lightning.report.runs import Run, responses_digest
from cai_lightning.run.errors import UserError
from cai_lightning.run.reading import is_number
from cai_lightning.run.text import parse_json
from cai_lightning.statistics import Interval


def share(value: Any) -> float | None:
    """A number from 0 to 1; None where there is none."""
    if value is None:
        return None
    if is_number(value) and 0 <= value <= 1:
        return float(value)
    raise ValueError(f"a number from 0 to 1 expected, found {value!s:.60}")


def interval(value: Any) -> tuple[float, float] | None:
    """Two finite numbers; None where there are none."""
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 2 and all(map(is_number, value)):
        return float(value[0]), float(value[1])
    raise ValueError(f"two finite numbers expected, found {value!s:.60}")


def count(value: Any) -> int:
    """A whole number from 0 on."""
    if type(value) is int and value >= 0:
        return value
    raise ValueError(f"a whole number from 0 on expected, found {value!s:.60}")


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
        document = parse_json(path.read_bytes())
        columns = {str(name): _column(entry) for name, entry in document["metrics"].items()}
        return AuditFile(str(document["file"]), columns)
    except OSError as error:
        raise UserError(f"{path}: the audit cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
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


@dataclass(frozen=True)
class WinRate:
    """How a run does against another before a judge.

    Args:
        run: Name of the run.
        other: Name of the run that it is held against.
        judge: Name of the judge's model.
        estimate: The win rate of `run` with its 95 % interval; 0.5 is no difference, a tie counts half.
        wins: Prompts at which its response is preferred.
        ties: Prompts without a preference, or where the two orders of showing disagree.
        losses: Prompts at which the other's response is preferred.
        unscored: Prompts without a verdict.
        consistency: How often both orders say the same; None where the judge was not asked.
    """

    run: str
    other: str
    judge: str
    estimate: Interval
    wins: int
    ties: int
    losses: int
    unscored: int
    consistency: float | None


def read_win_rates(paths: Sequence[Path], runs: Sequence[Run]) -> tuple[list[WinRate], list[str]]:
    """Reads what `pairwise` has written about two of these runs.

    Args:
        paths: Files pairwise.json.
        runs: The runs that are compared.

    Returns:
        The win rates, and a note for each file that is about other responses than those of these runs.

    Raises:
        UserError: A file is missing, or is none that `pairwise` writes.
    """
    names = {responses_digest(run.responses): run.name for run in reversed(runs)} if paths else {}
    found = {path: _read_win_rate(path, names) for path in paths}
    notes = [
        f"{path}: not shown, for it is about other responses than these runs have." for path in paths if not found[path]
    ]
    return [rate for rate in found.values() if rate], notes


def _read_win_rate(path: Path, names: Mapping[str, str]) -> WinRate | None:
    try:
        document = parse_json(path.read_bytes())
        first, second = (names.get(str(digest)) for digest in document["responses"])
        return _win_rate(document, first, second) if first and second else None
    except OSError as error:
        raise UserError(f"{path}: the win rate cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not the pairwise.json that pairwise writes ({type(error).__name__}: {error}); run pairwise again."
        ) from None


def _win_rate(document: dict[str, Any], run: str, other: str) -> WinRate:
    low, high = interval(document["ci95"]) or (None, None)
    wins, ties, losses = (count(document[name]) for name in ("wins", "ties", "losses"))
    return WinRate(
        run=run,
        other=other,
        judge=str(document["judge"]["model"]),
        estimate=Interval(share(document["win_rate"]), low, high, wins + ties + losses),
        wins=wins,
        ties=ties,
        losses=losses,
        unscored=count(document["unscored"]),
        consistency=share(document["position_consistency"]),
    )
