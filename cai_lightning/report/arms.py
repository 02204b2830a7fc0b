"""Runs gathered into arms: fine-tunings of one experiment under several seeds, told by their folders' names.

>>> arms_of(["qwen_base", "qwen_contextual@1", "qwen_contextual@2"])
{'qwen_base': ('qwen_base',), 'qwen_contextual': ('qwen_contextual@1', 'qwen_contextual@2')}
"""

from collections.abc import Mapping, Sequence

SEED = "@"
"""What stands in a folder's name before the seed."""

Arms = Mapping[str, tuple[str, ...]]
"""The names of the runs that make up each arm, by the arm's name."""


def arms_of(runs: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The arms of runs with these names, in the order of their first runs; a run without fellows keeps its name."""
    fellows: dict[str, list[str]] = {}
    for run in runs:
        fellows.setdefault(_arm(run), []).append(run)
    return {arm if len(names) > 1 else names[0]: tuple(names) for arm, names in fellows.items()}


def arm_of(run: str, arms: Arms) -> str:
    """The arm that a run belongs to; the name of an arm stands for itself."""
    return next(arm for arm, names in arms.items() if run in (arm, *names))


def _arm(run: str) -> str:
    parents, slash, name = run.rpartition("/")
    return parents + slash + (name.partition(SEED)[0] or name)
