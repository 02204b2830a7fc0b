"""Reaching servers: their addresses and key, what goes wrong told apart, and another try of what may pass.

servers = Servers(settings, ["http://127.0.0.1:8000/v1"], "base_urls")
answer = await servers.ask("/chat/completions", {"model": ..., "messages": ...}, read_completion)

One way for all services, over httpx: the openai client repeats requests for which the credit is spent, and waits for no
`Retry-After` beyond a minute; ollama's keeps no header of an error, and cannot forbid that a conversation is cut.
"""

import asyncio
import ipaddress
import logging
import os
import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from cai_lightning.run.errors import ReplyError, UserError
from cai_lightning.run.text import parse_json

REACHING = frozenset({"base_url", "base_urls", "api_key_variable", "concurrency", "max_retries", "max_wait", "timeout"})
"""Settings that say how servers are reached, and change nothing that they answer."""

TRANSIENT = frozenset({408, 409, 429})
"""Statuses that may pass, besides those from 500 on."""

REFUSING = frozenset({401, 402, 403, 404, 405})
"""Statuses that every request would meet: a wrong key, no credit, a wrong model or address."""

NOT_READ = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""What the JSON of a server comes to that is not what was asked for."""

CONNECT_SECONDS = 10.0
CHECK_SECONDS = 60.0
EXCERPT = 300
"""Characters of what a server says that messages show."""

T = TypeVar("T")

Sleep = Callable[[float], Awaitable[None]]
Spend = Callable[[], Awaitable[None]]

log = logging.getLogger(__name__)

_jitter = random.Random()  # of its own: after `seed_everything` all processes would draw the same waits


def check_settings(settings: Any, urls: Sequence[str], least: Mapping[str, float], prefix: str = "") -> None:
    """Refuses settings of what asks servers that it could not work with.

    Args:
        settings: Has them as attributes; null is no bound.
        urls: The addresses among them.
        least: The least value of some; that of the usual ones is known.
        prefix: Stands before their names in messages.

    Raises:
        ValueError: One is below its least value, an address is none, or the variable of the key no name.
    """
    for name, value in {"concurrency": 1, "max_retries": 0, "max_wait": 0, **least}.items():
        if (found := getattr(settings, name)) is not None and found < value:
            raise ValueError(f"{prefix}{name}: must be >= {value:g}, found {found}")
    if settings.timeout <= 0:
        raise ValueError(f"{prefix}timeout: must be > 0, found {settings.timeout}")
    for url in urls:
        check_address(url, f"{prefix}base_url")
    if not re.fullmatch("[A-Z][A-Z0-9_]*", settings.api_key_variable or "NONE"):
        raise ValueError("api_key_variable: the name of an environment variable expected, no key")


def check_address(url: str, setting: str) -> None:
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


class RefusedError(ReplyError):
    """A server refuses this one request: it is there, and may answer others."""


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
        settings: Has `api_key_variable`, `timeout`, `max_retries` and `max_wait` as attributes: where the key stands,
            seconds within which a request has to be answered, tries after the first at each address, and seconds beyond
            which waits do not grow, and which a server may ask for at most. No message shows the key.
        urls: The addresses, such as `http://127.0.0.1:8000/v1`.
        setting: What messages call the setting that names them.
        sleep: Waits so many seconds.

    Raises:
        UserError: There is no key, and a server on another machine needs one.
    """

    def __init__(self, settings: Any, urls: Sequence[str], setting: str, sleep: Sleep = asyncio.sleep) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._setting = setting
        self._key = read_key(settings.api_key_variable, urls)
        self._timeout = settings.timeout
        self.max_retries = settings.max_retries
        self._max_wait = settings.max_wait
        self._sleep = sleep
        self._context = httpx.create_ssl_context()

    @property
    def url(self) -> str:
        """The address that is asked first."""
        return self._urls[0]

    def look(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """What the first server that is there says of itself, with whatever status.

        Raises:
            UserError: There is none.
        """
        reasons = []
        for url in self._urls:
            try:
                return httpx.request(method, url + path, json=body, **self._connection(url, CHECK_SECONDS))
            except httpx.RequestError as error:
                reasons.append(self.excerpt(_cause(error), url))
        raise UserError(f"no server is there ({'; '.join(reasons)}). Start it, or mend {self._setting}.")

    async def ask(self, path: str, request: dict[str, Any], read: Callable[[Any], T], spend: Spend | None = None) -> T:
        """What a server answers to a request; the next request begins with the one that has answered.

        Args:
            path: Behind the address.
            request: With the name of its `model`.
            read: Reads an answer in what the JSON says; whatever it stumbles over, it is none.
            spend: Awaited before each try, such as a budget.

        Raises:
            RefusedError: A server refuses this request.
            ReplyError: No server answers, though each was asked again.
            UserError: A server would refuse every request like this.
        """
        urls, reasons = self._urls, []
        for number, url in enumerate(urls):
            try:
                answer = await self._persist(partial(self._attempt, url, path, request, read, spend))
            except TransientError as error:
                reasons.append(str(error))
                continue
            if url != self.url:
                log.warning("%s answers in place of %s", url, self.url)
                self._urls = [*urls[number:], *urls[:number]]
            return answer
        raise ReplyError("; ".join(reasons))

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
                if retries == self.max_retries or error.wait > self._max_wait:
                    raise
                wait = error.wait + backoff(retries, self._max_wait)
            await self._sleep(wait)
            retries += 1

    async def _attempt(
        self, url: str, path: str, request: dict[str, Any], read: Callable[[Any], T], spend: Spend | None
    ) -> T:
        """Sends a request once."""
        if spend:
            await spend()
        try:
            async with asyncio.timeout(self._timeout), httpx.AsyncClient(**self._connection(url, None)) as client:
                response = await client.post(url + path, json=request)
        except UnicodeEncodeError:
            raise RefusedError("half of a surrogate pair stands in the text, which no request can hold") from None
        except TimeoutError:
            raise TransientError(self.excerpt(f"no answer within {self._timeout:g} s", url)) from None
        except httpx.RequestError as error:
            raise TransientError(self.excerpt(_cause(error), url)) from None
        if not response.is_success:
            raise self._failure(response, url, request["model"])
        try:
            return read(parse_json(response.content))
        except NOT_READ:
            raise TransientError(self.excerpt(f"no answer to {path}, but: {response.text}", url)) from None

    def _connection(self, url: str, seconds: float | None) -> dict[str, Any]:
        """Settings of a client, which may take so many seconds to read or write."""
        return {
            "headers": {"Authorization": f"Bearer {self._key or 'none'}"},
            "timeout": httpx.Timeout(seconds, connect=CONNECT_SECONDS),
            "verify": self._context,
            "trust_env": not is_local(url),  # no proxy stands between a machine and itself
            "follow_redirects": True,
        }

    def _failure(self, response: httpx.Response, url: str, model: str) -> Exception:
        """Whether a status may pass, tells of this request alone, or of all."""
        status, after, error = response.status_code, response.headers.get("Retry-After"), _error_in(response)
        said = self.excerpt(f"status {status}{f', Retry-After {after}' if after else ''}: {response.text}", url)
        # OpenRouter's moderation flags a single prompt with the status of a wrong key.
        is_flagged = "flagged_input" in str(error.get("metadata"))
        if error.get("code") == "insufficient_quota" or (status in REFUSING and not is_flagged):
            return UserError(
                f"{said} (So it would answer every request: the key may be wrong, the credit spent, the address "
                f"another, or {model!r} no model of this server.)"
            )
        if status == 400 and _refuses_max_tokens(response.text):
            return UserError(
                f"{said} (So it would answer every request with max_tokens: set the engine's max_tokens_field to "
                "max_completion_tokens; a judge has to be another model.)"
            )
        if status in TRANSIENT or status >= 500:
            return TransientError(said, retry_after(after))
        return RefusedError(said)


def _error_in(response: httpx.Response) -> dict[str, Any]:
    """What a server says of an error beside its status, in the form of OpenAI's protocol."""
    try:
        body = parse_json(response.content)
    except ValueError:
        return {}
    error = body.get("error", body) if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _refuses_max_tokens(says: str) -> bool:
    """Whether a server refuses the field itself, as OpenAI's does for models that think, and not its value."""
    is_unsupported = re.search("unsupported|not supported", says, re.IGNORECASE) is not None
    return is_unsupported and "max_tokens" in says and "max_completion_tokens" in says


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


def read_key(variable: str | None, urls: Sequence[str]) -> str:
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


def is_local(url: str) -> bool:
    """Whether an address is one of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
