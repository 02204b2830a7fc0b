"""How many requests are in flight, and how many tokens they may take: a window of calls, and a budget.

verdicts = await for_each(judge, responses, width=4, set_aside=lambda response, error: None)
await TokenBudget(tokens_per_minute=10_000).spend(500)
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.services.http import Sleep

T = TypeVar("T")
R = TypeVar("R")

LEAST_FAILURES = 16
"""So many failures in a row, and as many as fill the window twice, show that it is not a matter of single items."""


async def for_each(
    work: Callable[[T], Awaitable[R]], items: Iterable[T], width: int, set_aside: Callable[[T, ReplyError], R]
) -> list[R]:
    """Awaits `work` for every item, `width` of them at a time, so that none waits for the slowest of a batch.

    The first error ends them all.

    Args:
        work: What is done with an item.
        items: They are begun in their order.
        width: How many are awaited together.
        set_aside: What stands for an item whose reply could not be had; the others go on.

    Returns:
        What has come of each item, in their order.

    Raises:
        UserError: One item after the other was set aside, as when a server is down: each costs all of its retries,
            so the hours that the rest would take are saved.
    """
    remaining = enumerate(items)
    results: dict[int, R] = {}
    most = max(LEAST_FAILURES, 2 * width)
    in_a_row = 0

    async def worker() -> None:
        nonlocal in_a_row
        for number, item in remaining:
            try:
                results[number] = await work(item)
                in_a_row = 0
            except ReplyError as error:
                results[number] = set_aside(item, error)
                in_a_row += 1
                if in_a_row >= most:
                    why = f"gave up after {most} rows in a row had failed, the last of them: {error}"
                    raise UserError(why) from error

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(worker())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [results[number] for number in sorted(results)]


class TokenBudget:
    """Lets a request go once the tokens of those before it are within the budget.

    Args:
        tokens_per_minute: Null lets every request go at once.
        clock: Tells the time in seconds.
        sleep: Waits so many seconds.
    """

    def __init__(
        self, tokens_per_minute: int | None, clock: Callable[[], float] = time.monotonic, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._seconds_per_token = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self._clock = clock
        self._sleep = sleep
        self._earned = clock()
        """When all tokens that were asked for so far are within the budget."""

    async def spend(self, tokens: float) -> None:
        """Waits for the tokens asked for before, and asks for `tokens` more."""
        now = self._clock()
        start = max(now, self._earned)
        self._earned = start + tokens * self._seconds_per_token
        if start > now:
            await self._sleep(start - now)

    def correct(self, estimate: float, used: float) -> None:
        """Puts the tokens that a request used in place of the estimate it was let go with."""
        self._earned += (used - estimate) * self._seconds_per_token
