"""An address that speaks OpenAI's chat protocol: a request is sent once, and what goes wrong is told apart.

completion = await Endpoint("http://127.0.0.1:8000/v1", key="", timeout=600).complete({"model": ..., "messages": ...})
"""

import asyncio
import ipaddress
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cai_lightning.engines.completions import Completion, read_completion
from cai_lightning.engines.retries import TransientError, retry_after
from cai_lightning.errors import ReplyError, UserError

if TYPE_CHECKING:
    from openai import APIStatusError

TRANSIENT = frozenset({408, 409, 429})
"""Statuses that may pass, besides those from 500 on."""

REFUSING = frozenset({401, 402, 403, 404, 405})
"""Statuses that every request would meet: a wrong key, no credit, a wrong model or address."""

CONNECT_SECONDS = 10.0
CHECK_SECONDS = 60.0
EXCERPT = 300


class Endpoint:
    """Asks one server.

    Args:
        url: Its address, such as `http://127.0.0.1:8000/v1`.
        key: The key; empty where none is needed. No message shows it.
        timeout: Seconds within which a request has to be answered.
    """

    def __init__(self, url: str, key: str, timeout: float) -> None:
        from openai import AsyncOpenAI

        self.url = url
        self._key = key
        self._timeout = timeout
        self._client = AsyncOpenAI(**self._connection(timeout))

    def check(self) -> None:
        """Makes sure that a server is there, whatever it answers.

        Raises:
            TransientError: There is none.
        """
        from openai import APIConnectionError, APIStatusError, OpenAI

        try:
            with OpenAI(**self._connection(CHECK_SECONDS)) as client:
                client.models.with_raw_response.list()
        except APIStatusError:
            return
        except APIConnectionError as error:
            raise self._transient(_cause(error)) from None

    async def complete(self, request: dict[str, Any]) -> Completion:
        """What the server answers to a request for a chat completion.

        Raises:
            TransientError: It is worth another try.
            ReplyError: The server does not answer this request.
            UserError: The server would answer no request like this.
        """
        from openai import APIConnectionError, APIStatusError

        try:
            async with asyncio.timeout(self._timeout):
                raw = await self._client.chat.completions.with_raw_response.create(**request)
        except UnicodeEncodeError:
            raise ReplyError("half of a surrogate pair stands in the conversation, which no request can hold") from None
        except TimeoutError:
            raise self._transient(f"no answer within {self._timeout:g} s") from None
        except APIConnectionError as error:
            raise self._transient(_cause(error)) from None
        except APIStatusError as error:
            raise self._failure(error, request["model"]) from None
        try:
            return read_completion(raw.http_response.content)
        except ValueError as error:
            raise self._transient(str(error)) from None

    def _failure(self, error: "APIStatusError", model: str) -> Exception:
        """Whether a status may pass, tells of this request alone, or of all."""
        status, after = error.status_code, error.response.headers.get("Retry-After")
        said = f"status {status}{f', Retry-After {after}' if after else ''}: {error.response.text}"
        if error.code == "insufficient_quota" or (status in REFUSING and not _is_flagged(error)):
            return UserError(
                f"{self._excerpt(said)} (So it would answer every request: the key may be wrong, the credit spent, the "
                f"address another, or {model!r} no model of this server.)"
            )
        if status in TRANSIENT or status >= 500:
            return self._transient(said, retry_after(after))
        return ReplyError(self._excerpt(said))

    def _transient(self, reason: str, wait: float = 0.0) -> TransientError:
        return TransientError(self._excerpt(reason), wait)

    def _excerpt(self, text: str) -> str:
        """What a server said, on one line, without the key."""
        clean = text.replace(self._key, "***") if self._key else text
        return f"{self.url}: {' '.join(clean.split())[:EXCERPT]}"

    def _connection(self, seconds: float) -> dict[str, Any]:
        """Settings of a client.

        Each request has a connection of its own: one that is kept open belongs to an event loop, and an engine is
        stopped outside of those. To open one takes little beside a reply.
        """
        from openai import Timeout

        return {
            "base_url": self.url,
            "api_key": self._key or "none",
            "max_retries": 0,
            "timeout": Timeout(seconds, connect=CONNECT_SECONDS),
            "default_headers": {"Connection": "close"},
        }


def check_address(url: str) -> None:
    """Refuses an address that is none, or that holds a secret.

    Raises:
        ValueError: It is none; a secret is not repeated.
    """
    if any(sign in url for sign in "@?#"):
        raise ValueError("base_urls: addresses without credentials and query expected; one holds '@', '?' or '#'")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"base_urls: addresses such as http://127.0.0.1:8000/v1 expected, found {url!r}")


def read_key(variable: str | None, urls: list[str]) -> str:
    """The key that an environment variable holds; empty where none is needed.

    Raises:
        UserError: A server on another machine needs one.
    """
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key and (distant := [url for url in urls if not _is_local(url)]):
        raise UserError(
            f"{variable}: this environment variable shall hold the key for {distant[0]}, and is not set. Set it, name "
            "another one by the engine's api_key_variable, or set that to null for a server that needs no key."
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(f"{variable}: this environment variable holds no key: there are blanks or other signs in it.")
    return key


def _is_local(url: str) -> bool:
    """Whether an address is one of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_flagged(error: "APIStatusError") -> bool:
    """Whether OpenRouter's moderation has flagged this one prompt, which it says with the status of a wrong key."""
    metadata = error.body.get("metadata") if isinstance(error.body, dict) else None
    return isinstance(metadata, dict) and "flagged_input" in metadata


def _cause(error: Exception) -> str:
    """What lies behind the client's "Connection error."."""
    cause = error.__cause__ or error
    return str(cause) or type(cause).__name__
