"""Runs gathered into arms: fine-tunings of one experiment under several seeds, told by their folders.

    arms_of(load_runs([Path("runs/qwen_base"), Path("runs/qwen_contextual@1"), Path("runs/qwen_contextual@2")]))
    {'qwen_base': ('qwen_base',), 'qwen_contextual': ('qwen_contextual@1', 'qwen_contextual@2')}

Folders beside each other whose names share the part before `@` are one arm. Runs in other folders are of another
experiment, whatever their names. An interval takes the fine-tunings of an arm for independent draws, so a copy of one
is refused.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cai_lightning.errors import UserError
from cai_lightning.report.runs import Run, shortest_names

SEED = "@"
"""What stands in a folder's name before the seed."""

Arms = Mapping[str, tuple[str, ...]]
"""The names of the runs that make up each arm, by the arm's name."""


def arms_of(runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    """The arms of runs, in the order of their first runs; a run without fellows keeps its name.

    Raises:
        UserError: Two runs of an arm have the same adapter, so they are one fine-tuning.
    """
    fellows: dict[Path, list[Run]] = {}
    for run in runs:
        fellows.setdefault(_experiment(run), []).append(run)
    names = shortest_names(list(fellows))
    for arm in fellows.values():
        _refuse_copies(arm)
    return {
        name if len(arm) > 1 else arm[0].name: tuple(run.name for run in arm)
        for name, arm in zip(names, fellows.values(), strict=True)
    }


def arm_of(run: str, arms: Arms) -> str:
    """The arm that a run belongs to; the name of an arm stands for itself."""
    return next(arm for arm, names in arms.items() if run in (arm, *names))


def _experiment(run: Run) -> Path:
    """The run's folder without its seed."""
    place = run.path.resolve()
    return place.with_name(place.name.partition(SEED)[0] or place.name)


def _refuse_copies(arm: Sequence[Run]) -> None:
    seen: dict[str, Run] = {}
    for run in arm:
        adapter = run.summary.get("adapter")
        if adapter is not None and (other := seen.setdefault(adapter, run)) is not run:
            raise UserError(
                f"{other.path} and {run.path} have the same adapter ({adapter}): one fine-tuning, not two seeds of an "
                "arm. Name only one of them, or give the folders names that differ before the `@`."
            )
