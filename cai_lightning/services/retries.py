"""Trying again what may pass, after waits that grow and that no two requests share."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

T = TypeVar("T")

Sleep = Callable[[float], Awaitable[None]]

_jitter = random.Random()  # of its own: after `seed_everything` all processes would draw the same waits


class TransientError(Exception):
    """A failure that may pass, so that the same request is worth another try.

    Args:
        reason: What happened.
        wait: Seconds that the server asks to be left alone.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


async def persist(
    attempt: Callable[[], Awaitable[T]], max_retries: int, max_wait: float, sleep: Sleep = asyncio.sleep
) -> T:
    """The result of `attempt`, tried again while its error may pass.

    Args:
        attempt: What is tried.
        max_retries: Tries after the first.
        max_wait: Seconds beyond which backoff does not grow, and which a server may ask for at most.
        sleep: Waits so many seconds.

    Raises:
        TransientError: The error of the last try.
    """
    retries = 0
    while True:
        try:
            return await attempt()
        except TransientError as error:
            if retries == max_retries or error.wait > max_wait:
                raise
            wait = error.wait + backoff(retries, max_wait)
        await sleep(wait)
        retries += 1


def backoff(retries: int, max_wait: float) -> float:
    """Seconds to wait before the next try: a second, doubled with every retry, less a random part of up to a half."""
    return _jitter.uniform(0.5, 1.0) * min(max_wait, 2.0**retries)


def retry_after(value: str | None, now: datetime | None = None) -> float:
    """Seconds that a header `Retry-After` asks for, which gives them or a date (RFC 9110, 10.2.3); 0 without one."""
    if value is None:
        return 0.0
    if value.strip().replace(".", "", 1).isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (date.astimezone(UTC) - (now or datetime.now(UTC))).total_seconds())
