"""Reaching a server: its address and key, what goes wrong told apart, another try of what may pass, a budget of tokens.

server = Server("http://127.0.0.1:8000/v1", key="", timeout=600)
answer = await persist(lambda: server.ask("/chat/completions", request, read_completion), max_retries=8, max_wait=120)
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
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.text import parse_json

OPENAI = "https://api.openai.com/v1"

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


class Server:
    """An address that answers JSON to JSON. A request is sent once, on a connection of its own: one that is kept open
    belongs to an event loop, and an engine is stopped outside of those.

    Args:
        url: The address, such as `http://127.0.0.1:8000/v1`.
        key: The key; empty where none is needed. No message shows it.
        timeout: Seconds within which a request has to be answered.
    """

    def __init__(self, url: str, key: str, timeout: float) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._timeout = timeout
        self._connection: dict[str, Any] = {
            "headers": {"Authorization": f"Bearer {key or 'none'}"},
            "verify": httpx.create_ssl_context() if url.startswith("https") else False,
            "trust_env": not is_local(url),  # no proxy stands between a machine and itself
            "follow_redirects": True,
        }

    def look(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """What a server says of itself, with whatever status.

        Raises:
            TransientError: There is no server.
        """
        timeout = httpx.Timeout(CHECK_SECONDS, connect=CONNECT_SECONDS)
        try:
            with httpx.Client(**self._connection, timeout=timeout) as client:
                return client.request(method, self.url + path, json=body)
        except httpx.RequestError as error:
            raise self._transient(_cause(error)) from None

    async def ask(self, path: str, request: dict[str, Any], read: Callable[[bytes], T]) -> T:
        """What the server answers to a request.

        Args:
            path: Behind the address.
            request: With the name of its `model`.
            read: Reads the body of an answer; a ValueError says why it is none.

        Raises:
            TransientError: It is worth another try.
            ReplyError: The server does not answer this request.
            UserError: The server would answer no request like this.
        """
        timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
        try:
            async with asyncio.timeout(self._timeout), httpx.AsyncClient(**self._connection, timeout=timeout) as client:
                response = await client.post(self.url + path, json=request)
        except UnicodeEncodeError:
            raise ReplyError("half of a surrogate pair stands in the conversation, which no request can hold") from None
        except TimeoutError:
            raise self._transient(f"no answer within {self._timeout:g} s") from None
        except httpx.RequestError as error:
            raise self._transient(_cause(error)) from None
        if not response.is_success:
            raise self._failure(response, request["model"])
        try:
            return read(response.content)
        except ValueError as error:
            raise self._transient(str(error)) from None

    def excerpt(self, text: str) -> str:
        """What a server said, on one line, without the key."""
        clean = text.replace(self._key, "***") if self._key else text
        return f"{self.url}: {' '.join(clean.split())[:EXCERPT]}"

    def _failure(self, response: httpx.Response, model: str) -> Exception:
        """Whether a status may pass, tells of this request alone, or of all."""
        status, after, error = response.status_code, response.headers.get("Retry-After"), _error_in(response)
        said = self.excerpt(f"status {status}{f', Retry-After {after}' if after else ''}: {response.text}")
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

    def _transient(self, reason: str) -> TransientError:
        return TransientError(self.excerpt(reason))


def _error_in(response: httpx.Response) -> dict[str, Any]:
    """What a server says of an error beside its status, in the form of OpenAI's protocol."""
    try:
        error = parse_json(response.content)["error"]
    except (ValueError, LookupError, TypeError):
        return {}
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
