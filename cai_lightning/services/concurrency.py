"""Keeps a window of asynchronous calls going, so that no call waits for the slowest of a batch."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from cai_lightning.run.errors import ReplyError, UserError

T = TypeVar("T")

LEAST_FAILURES = 16
"""So many failures in a row, and as many as fill the window twice, show that it is not a matter of single items."""


async def for_each(
    work: Callable[[T], Awaitable[None]],
    items: Iterable[T],
    width: int,
    set_aside: Callable[[T, ReplyError], None] | None = None,
) -> None:
    """Awaits `work` for every item, `width` of them at a time; the first error ends them all.

    Args:
        work: What is done with an item.
        items: They are begun in their order.
        width: How many are awaited together.
        set_aside: Gets every item whose reply could not be had, and the others go on; null makes that an error too.

    Raises:
        UserError: One item after the other was set aside, as when a server is down: each costs all of its retries,
            so the hours that the rest would take are saved.
    """
    remaining = iter(items)
    most = max(LEAST_FAILURES, 2 * width)
    in_a_row = 0

    async def worker() -> None:
        nonlocal in_a_row
        for item in remaining:
            try:
                await work(item)
                in_a_row = 0
            except ReplyError as error:
                if set_aside is None:
                    raise
                set_aside(item, error)
                in_a_row += 1
                if in_a_row >= most:
                    raise UserError(
                        f"gave up after {most} rows in a row had failed, the last of them: {error}"
                    ) from error

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(worker())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
