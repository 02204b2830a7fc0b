"""Reaching a server: its address and key, trying again what may pass, and a budget of tokens per minute.

What is needed to reach a server, its address and the key in an environment variable; and what a model is there.

Trying again what may pass, after waits that grow and that no two requests share.

A budget of tokens per minute: requests are spaced out so that a server's rate limit is not met.
"""

import asyncio
import ipaddress
import os
import random
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urlsplit

from cai_lightning.run.errors import UserError

OPENAI = "https://api.openai.com/v1"


def check_address(url: str, setting: str = "base_urls") -> None:
    """Refuses an address that is none, or that holds a secret.

    Args:
        url: The address.
        setting: What messages call it.

    Raises:
        ValueError: It is none; a secret is not repeated.
    """
    if any(sign in url for sign in "@?#"):
        raise ValueError(f"{setting}: addresses without credentials and query expected; one holds '@', '?' or '#'")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{setting}: addresses such as http://127.0.0.1:8000/v1 expected, found {url!r}")


def read_key(variable: str | None, urls: list[str]) -> str:
    """The key that an environment variable holds; empty where none is needed.

    Raises:
        UserError: A server on another machine needs one.
    """
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key and (distant := [url for url in urls if not is_local(url)]):
        raise UserError(
            f"{variable}: this environment variable shall hold the key for {distant[0]}, and is not set. Set it, name "
            "another one by api_key_variable, or set that to null for a server that needs no key."
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(f"{variable}: this environment variable holds no key: there are blanks or other signs in it.")
    return key


def check_variable(name: str | None) -> None:
    """Refuses a setting that shall name an environment variable, and holds a key perhaps.

    Raises:
        ValueError: It is no such name; it is not repeated.
    """
    if not re.fullmatch("[A-Z][A-Z0-9_]*", name or "NONE"):
        raise ValueError("api_key_variable: the name of an environment variable expected, no key")


def is_local(url: str) -> bool:
    """Whether an address is one of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def model_revision(model: str, digest: str | None, url: str) -> str:
    """What stands behind the name of a server's model: its digest or, where the server tells none, the address.

    Two servers may know different models by one name. OpenAI's own names need no address.

    Args:
        model: The name.
        digest: What the server tells of the weights.
        url: The server's address, as `check_address` lets it pass: without credentials and query.
    """
    if digest:
        return f"{model}@{digest}"
    address = url.rstrip("/")
    return model if address == OPENAI else f"{model} at {address}"


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
