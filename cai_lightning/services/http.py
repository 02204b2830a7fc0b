"""Reaching servers: their addresses and key, what goes wrong told apart, another try of what may pass, and budgets.

servers = Servers(["http://127.0.0.1:8000/v1"], "base_urls", max_retries=8, max_wait=120)
answer = await servers.ask("/chat/completions", {"model": ..., "messages": ...}, read_completion)
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar

import httpx

from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.text import parse_json
from cai_lightning.services.addresses import is_local

TRANSIENT = frozenset({408, 409, 429})
"""Statuses that may pass, besides those from 500 on."""

REFUSING = frozenset({401, 402, 403, 404, 405})
"""Statuses that every request would meet: a wrong key, no credit, a wrong model or address."""

CONNECT_SECONDS = 10.0
CHECK_SECONDS = 60.0
EXCERPT = 300
"""Characters of what a server says that messages show."""

T = TypeVar("T")

Sleep = Callable[[float], Awaitable[None]]
Spend = Callable[[], Awaitable[None]]

log = logging.getLogger(__name__)

_jitter = random.Random()  # of its own: after `seed_everything` all processes would draw the same waits


class NoAnswerError(ReplyError):
    """No server has answered, though each was asked again: other requests may fail like this one."""


class TransientError(Exception):
    """A failure that may pass, so that the same request is worth another try.

    Args:
        reason: What happened.
        wait: Seconds that the server asks to be left alone.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Servers:
    """Addresses that answer JSON to JSON; where one keeps failing, the next one is asked.

    Each request has a connection of its own: one that is kept open belongs to an event loop, and an engine is stopped
    outside of those.

    Args:
        urls: The addresses, such as `http://127.0.0.1:8000/v1`.
        setting: What messages call the setting that names them.
        key: The key; empty where none is needed. No message shows it.
        timeout: Seconds within which a request has to be answered.
        max_retries: Tries after the first at each address.
        max_wait: Seconds beyond which waits do not grow, and which a server may ask for at most.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        urls: Sequence[str],
        setting: str,
        key: str = "",
        timeout: float = 600.0,
        max_retries: int = 0,
        max_wait: float = 0.0,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._setting = setting
        self._key = key
        self._timeout = timeout
        self._max_retries = max_retries
        self._max_wait = max_wait
        self._sleep = sleep
        self._first = 0
        self._context = httpx.create_ssl_context()

    @property
    def url(self) -> str:
        """The address that is asked first."""
        return self._urls[self._first]

    def look(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """What the first server that is there says of itself, with whatever status.

        Raises:
            UserError: There is none.
        """
        reasons = []
        for url in self._urls:
            try:
                with httpx.Client(**self._connection(url)) as client:
                    client.timeout = httpx.Timeout(CHECK_SECONDS, connect=CONNECT_SECONDS)
                    return client.request(method, url + path, json=body)
            except httpx.RequestError as error:
                reasons.append(self.excerpt(_cause(error), url))
        raise UserError(f"no server is there ({'; '.join(reasons)}). Start it, or mend {self._setting}.")

    async def ask(
        self,
        path: str,
        request: dict[str, Any],
        read: Callable[[bytes], T],
        spend: Spend | None = None,
    ) -> T:
        """What a server answers to a request; the next request begins with the one that has answered.

        Args:
            path: Behind the address.
            request: With the name of its `model`.
            read: Reads the body of an answer; a ValueError says why it is none.
            spend: Awaited before each try, such as a budget.

        Raises:
            NoAnswerError: No server answers.
            ReplyError: A server refuses this request.
            UserError: A server would refuse every request like this.
        """
        reasons, first = [], self._first
        for number in (*range(first, len(self._urls)), *range(first)):
            try:
                answer = await self._persist(partial(self._attempt, self._urls[number], path, request, read, spend))
            except TransientError as error:
                reasons.append(str(error))
                continue
            if number != self._first:
                log.warning("%s answers in place of %s", self._urls[number], self._urls[self._first])
            self._first = number
            return answer
        raise NoAnswerError("; ".join(reasons))

    def excerpt(self, text: str, url: str | None = None) -> str:
        """What a server said, on one line, without the key."""
        clean = text.replace(self._key, "***") if self._key else text
        return f"{url or self.url}: {' '.join(clean.split())[:EXCERPT]}"

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What an attempt comes to that is made again while its error may pass."""
        retries = 0
        while True:
            try:
                return await attempt()
            except TransientError as error:
                if retries == self._max_retries or error.wait > self._max_wait:
                    raise
                wait = error.wait + backoff(retries, self._max_wait)
            await self._sleep(wait)
            retries += 1

    async def _attempt(
        self, url: str, path: str, request: dict[str, Any], read: Callable[[bytes], T], spend: Spend | None
    ) -> T:
        """Sends a request once."""
        if spend:
            await spend()
        try:
            async with asyncio.timeout(self._timeout), httpx.AsyncClient(**self._connection(url)) as client:
                response = await client.post(url + path, json=request)
        except UnicodeEncodeError:
            raise ReplyError("half of a surrogate pair stands in the conversation, which no request can hold") from None
        except TimeoutError:
            raise TransientError(self.excerpt(f"no answer within {self._timeout:g} s", url)) from None
        except httpx.RequestError as error:
            raise TransientError(self.excerpt(_cause(error), url)) from None
        if not response.is_success:
            raise self._failure(response, url, request["model"])
        try:
            return read(response.content)
        except ValueError as error:
            raise TransientError(self.excerpt(str(error), url)) from None

    def _connection(self, url: str) -> dict[str, Any]:
        """Settings of a client."""
        return {
            "headers": {"Authorization": f"Bearer {self._key or 'none'}"},
            "timeout": httpx.Timeout(None, connect=CONNECT_SECONDS),
            "verify": self._context,
            "trust_env": not is_local(url),  # no proxy stands between a machine and itself
            "follow_redirects": True,
        }

    def _failure(self, response: httpx.Response, url: str, model: str) -> Exception:
        """Whether a status may pass, tells of this request alone, or of all."""
        status, after, error = response.status_code, response.headers.get("Retry-After"), _error_in(response)
        said = self.excerpt(f"status {status}{f', Retry-After {after}' if after else ''}: {response.text}", url)
        if error.get("code") == "insufficient_quota" or (status in REFUSING and not _is_flagged(error)):
            return UserError(
                f"{said} (So it would answer every request: the key may be wrong, the credit spent, the address "
                f"another, or {model!r} no model of this server.)"
            )
        if _is_unknown_max_tokens(response, error):
            return UserError(
                f"{said} (So it would answer every request with max_tokens: set the engine's max_tokens_field to "
                "max_completion_tokens; a judge has to be another model.)"
            )
        if status in TRANSIENT or status >= 500:
            return TransientError(said, retry_after(after))
        return ReplyError(said)


def _error_in(response: httpx.Response) -> dict[str, Any]:
    """What a server says of an error beside its status, in the form of OpenAI's protocol."""
    try:
        body = parse_json(response.content)
    except ValueError:
        return {}
    error = body.get("error", body) if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _is_flagged(error: dict[str, Any]) -> bool:
    """Whether OpenRouter's moderation has flagged this one prompt, which it says with the status of a wrong key."""
    metadata = error.get("metadata")
    return isinstance(metadata, dict) and "flagged_input" in metadata


def _is_unknown_max_tokens(response: httpx.Response, error: dict[str, Any]) -> bool:
    """Whether a server refuses the field itself, as OpenAI's does for models that think, and not its value."""
    says = response.text
    refused = error.get("code") == "unsupported_parameter" or re.search("unsupported|not supported", says, re.I)
    return response.status_code == 400 and bool(refused) and "max_tokens" in says and "max_completion_tokens" in says


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


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
