"""A budget of tokens per minute: requests are spaced out so that a server's rate limit is not met."""

import asyncio
import time
from collections.abc import Callable

from cai_lightning.services.retries import Sleep


class TokenBudget:
    """Lets a request go once the tokens of those before it are within the budget.

    Args:
        tokens_per_minute: Null lets every request go at once.
        clock: Tells the time in seconds.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        tokens_per_minute: int | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
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
