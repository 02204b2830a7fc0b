"""Keeps a window of asynchronous calls going, so that no call waits for the slowest of a batch."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def for_each(work: Callable[[T], Awaitable[None]], items: Iterable[T], width: int) -> None:
    """Awaits `work` for every item, `width` of them at a time; the first error ends them all."""
    remaining = iter(items)

    async def worker() -> None:
        for item in remaining:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(worker())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
