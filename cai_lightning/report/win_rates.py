"""Whose responses a judge prefers, as `pairwise` has found out: win rates to stand beside a comparison.

rates, notes = read_win_rates([Path("runs/qwen_contextual/pairwise/qwen_random/pairwise.json")], runs)
rates[0].estimate

A file says by digests which responses were judged, so that none is taken for the win rate of others.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai_lightning.errors import UserError
from cai_lightning.report.figures import count, interval, share
from cai_lightning.report.runs import Run, responses_digest
from cai_lightning.statistics import Estimate


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
    estimate: Estimate
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
        document = json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
        first, second = (names.get(str(digest)) for digest in document["responses"])
        return _win_rate(document, first, second) if first and second else None
    except OSError as error:
        raise UserError(f"{path}: the win rate cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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
        estimate=Estimate(share(document["win_rate"]), low, high, wins + ties + losses),
        wins=wins,
        ties=ties,
        losses=losses,
        unscored=count(document["unscored"]),
        consistency=share(document["position_consistency"]),
    )
