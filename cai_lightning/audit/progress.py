"""A bar of scored responses in a terminal; in a log file a line at the beginning and at the end of each evaluator.

with counting("Harmlessness", total=876) as count:
    count()
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def counting(name: str, total: int) -> Iterator[Callable[[], None]]:
    """Shows how many of the responses an evaluator has scored; what it yields counts one."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    began = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=total)
        _say(console, f"{name}: {total} responses to score")
        yield lambda: bar.advance(task)
    _say(console, f"{name}: done in {time.monotonic() - began:.0f} s")


def _say(console: Console, line: str) -> None:
    if not console.is_terminal:
        console.print(line, highlight=False, markup=False)
