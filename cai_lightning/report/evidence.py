"""What audits, a judge's pairwise verdicts and the guards of a training say, to stand beside a comparison.

    audits = read_audits([Path("runs/qwen_base/audit/438HHHEvaluations/audit.json")])
    notes_on("harmlessness", runs, audits)
    rates, notes = read_win_rates([Path("runs/qwen_contextual/pairwise/qwen_random/pairwise.json")], runs)

An audit says by digests which evaluator it was of, a judge's verdicts say which responses they are about; what they
say is told of no others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from cai_lightning.report.runs import Run, responses_digest
from cai_lightning.report.table import in_hundredths, p_value, with_interval
from cai_lightning.run.errors import UserError
from cai_lightning.run.jsonl import check, read_lines
from cai_lightning.run.records import FOREIGN, GUARDS, Guarded, Number
from cai_lightning.run.text import parse_json
from cai_lightning.statistics import Interval

T = TypeVar("T")
Share = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(0)]
Ends = Annotated[list[Number], Len(2, 2)]
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
    """A column in an `audit.json`.

    Args:
        settings: Digest of the settings of its evaluator.
        revision: What stood behind them.
        not_run: Why its evaluator could not run, or None.
        not_applicable: Why it has nothing to say about such responses, or None.
        n: Number of comparisons or of responses.
        accuracy: How often the better response was put first; None where the file has no comparisons.
        ci95: The interval of that share.
        auc: The same of single responses, the area under the ROC curve.
        auc_ci95: The interval of that area.
        better_than_chance: Whether it is better than chance, or None.
        worse_than_chance: Whether it is worse than chance.
        p_holm: The p-value of chance, corrected for the columns of the audit; None where an older one has none.
    """

    __pydantic_config__ = FOREIGN

    settings: str | None
    revision: str | None
    not_run: str | None
    not_applicable: str | None
    n: Count
    accuracy: Share | None
    ci95: Ends | None
    auc: Share | None
    auc_ci95: Ends | None
    better_than_chance: bool | None
    worse_than_chance: bool
    p_holm: Share | None = None


@dataclass(frozen=True)
class AuditFile:
    """An `audit.json`: the name of its file of labels, and the columns."""

    __pydantic_config__ = FOREIGN

    file: str
    metrics: Mapping[str, ColumnAudit]


class JudgeName(TypedDict):
    """The settings of a judge, as far as they are told."""

    model: str


@dataclass(frozen=True)
class PairwiseFile:
    """A `pairwise.json`.

    Args:
        responses: The digests of the responses of both runs.
        judge: The settings of the judge.
        wins: Prompts at which the first run's response is preferred.
        ties: Prompts without a preference, or where the two orders of showing disagree.
        losses: Prompts at which the second run's is preferred.
        unscored: Prompts without a verdict.
        win_rate: How often the first run wins; 0.5 is no difference, a tie counts half.
        ci95: The interval of that share.
        position_consistency: How often both orders say the same; None where the judge was not asked.
    """

    __pydantic_config__ = FOREIGN

    responses: Annotated[list[str], Len(2, 2)]
    judge: JudgeName
    wins: Count
    ties: Count
    losses: Count
    unscored: Count
    win_rate: Share | None
    ci95: Ends | None
    position_consistency: Share | None


@dataclass(frozen=True)
class WinRate:
    """How a run does against another before a judge.

    Args:
        run: Name of the run.
        other: Name of the run that it is held against.
        found: What the judge has said of the two.
    """

    run: str
    other: str
    found: PairwiseFile

    @property
    def estimate(self) -> Interval:
        """The win rate of `run` with its 95 % interval."""
        found = self.found
        return Interval.of(found.win_rate, found.ci95, found.wins + found.ties + found.losses)


def read_audits(paths: Sequence[Path]) -> list[AuditFile]:
    """Reads what `audit` has written.

    Raises:
        UserError: A file is missing, or is none that `audit` writes.
    """
    return [_read(path, AuditFile, "audit") for path in paths]


def notes_on(column: str, runs: Sequence[Run], audits: Sequence[AuditFile]) -> tuple[AuditNote, ...]:
    """What the audits say of a column of these runs; an audit that does not know the column says nothing.

    Args:
        column: Name of the column.
        runs: The runs that are compared; what an audit of other settings found is not told of them.
        audits: The audits.
    """
    entries = {run.name: run.entry(column) for run in runs if run.entry(column)}
    return tuple(_note(audit.file, audit.metrics[column], entries) for audit in audits if column in audit.metrics)


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
    rates, notes = [], []
    for path in paths:
        found = _read(path, PairwiseFile, "pairwise")
        run, other = map(names.get, found.responses)
        if run and other:
            rates.append(WinRate(run, other, found))
        else:
            notes.append(f"{path}: not shown, for it is about other responses than these runs have.")
    return rates, notes


def passed_guards(run: Path) -> list[str]:
    """The guards that a training has passed, each with the first step at which it did.

    Raises:
        UserError: A row of its `guards.jsonl` is malformed.
    """
    found = [check(Guarded, row, where) for where, row in read_lines(run / GUARDS)] if (run / GUARDS).exists() else []
    first = {name: f"{words} (step {row.step})" for row in reversed(found) for name, words in row.passed.items()}
    return list(first.values())


def _read(path: Path, kind: type[T], verb: str) -> T:
    try:
        return check(kind, parse_json(path.read_bytes()), "there")
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({error.strerror}).") from None
    except (ValueError, UserError) as error:
        raise UserError(f"{path}: not the {verb}.json that {verb} writes ({error}); run {verb} again.") from None


def _note(labels: str, found: ColumnAudit, entries: Mapping[str, Mapping[str, Any]]) -> AuditNote:
    unlike = {run: [key for key in OTHER if getattr(found, key) != entry.get(key)] for run, entry in entries.items()}
    alike = [run for run, differing in unlike.items() if not differing]
    if not alike:
        keys = dict.fromkeys(key for differing in unlike.values() for key in differing)
        return AuditNote(f"audit by {labels}: it was of {' and '.join(OTHER[key] for key in keys)}", None)
    only = "" if len(alike) == len(unlike) else f" (as in {', '.join(alike)}; the others have another evaluator)"
    return AuditNote(f"audit by {labels}{only}: {_words(found)}", found.better_than_chance)


def _words(found: ColumnAudit) -> str:
    estimate, unit = Interval.of(found.accuracy, found.ci95, found.n), "comparisons right"
    if found.accuracy is None:
        estimate, unit = Interval.of(found.auc, found.auc_ci95, found.n), "responses in order (AUC)"
    if estimate.mean is None:
        reasons = {"not run": found.not_run, "not applicable": found.not_applicable}
        return next((f"{what}: {why}" for what, why in reasons.items() if why), "nothing scored")
    figure = f"{with_interval(estimate, in_hundredths, ' %')} of {found.n} {unit}"
    if found.better_than_chance is None:
        return figure
    chance = "better" if found.better_than_chance else "WORSE" if found.worse_than_chance else "NO BETTER"
    corrected = "" if found.p_holm is None else f" (p {p_value(found.p_holm)}, corrected)"
    return f"{figure}, {chance} than chance{corrected}"
