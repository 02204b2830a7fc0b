"""An address that speaks OpenAI's protocols: a request is sent once, and what goes wrong is told apart.

completion = await Endpoint("http://127.0.0.1:8000/v1", key="", timeout=600).complete({"model": ..., "messages": ...})
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from cai_lightning.errors import ReplyError, UserError
from cai_lightning.services.completions import Completion, read_completion, read_models
from cai_lightning.services.moderations import Moderated, read_moderated
from cai_lightning.services.retries import TransientError, retry_after

if TYPE_CHECKING:
    from openai import APIStatusError

T = TypeVar("T")

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
        self.models()

    def models(self) -> list[str]:
        """The names of the models that the server lists; none where it keeps no list.

        Raises:
            TransientError: There is no server.
        """
        from openai import APIConnectionError, APIStatusError, OpenAI

        try:
            with OpenAI(**self._connection(CHECK_SECONDS)) as client:
                return read_models(client.models.with_raw_response.list().http_response.content)
        except APIStatusError:
            return []
        except APIConnectionError as error:
            raise self._transient(_cause(error)) from None

    async def complete(self, request: dict[str, Any]) -> Completion:
        """What the server answers to a request for a chat completion.

        Raises:
            TransientError: It is worth another try.
            ReplyError: The server does not answer this request.
            UserError: The server would answer no request like this.
        """
        return await self._ask(self._client.chat.completions.with_raw_response.create, request, read_completion)

    async def moderate(self, request: dict[str, Any]) -> Moderated:
        """What the server answers to a request for moderation; raises as `complete` does."""
        return await self._ask(self._client.moderations.with_raw_response.create, request, read_moderated)

    async def _ask(
        self, create: Callable[..., Awaitable[Any]], request: dict[str, Any], read: Callable[[bytes], T]
    ) -> T:
        from openai import APIConnectionError, APIStatusError

        try:
            async with asyncio.timeout(self._timeout):
                raw = await create(**request)
        except UnicodeEncodeError:
            raise ReplyError("half of a surrogate pair stands in the conversation, which no request can hold") from None
        except TimeoutError:
            raise self._transient(f"no answer within {self._timeout:g} s") from None
        except APIConnectionError as error:
            raise self._transient(_cause(error)) from None
        except APIStatusError as error:
            raise self._failure(error, request["model"]) from None
        try:
            return read(raw.http_response.content)
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
        if _is_unknown_max_tokens(error):
            return UserError(
                f"{self._excerpt(said)} (So it would answer every request with max_tokens: set the engine's "
                "max_tokens_field to max_completion_tokens; a judge has to be another model.)"
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


def _is_flagged(error: "APIStatusError") -> bool:
    """Whether OpenRouter's moderation has flagged this one prompt, which it says with the status of a wrong key."""
    metadata = error.body.get("metadata") if isinstance(error.body, dict) else None
    return isinstance(metadata, dict) and "flagged_input" in metadata


def _is_unknown_max_tokens(error: "APIStatusError") -> bool:
    """Whether a server refuses the field itself, as OpenAI's does for models that think, and not its value."""
    says = error.response.text
    refused = error.code == "unsupported_parameter" or re.search("unsupported|not supported", says, re.IGNORECASE)
    return error.status_code == 400 and bool(refused) and "max_tokens" in says and "max_completion_tokens" in says


def _cause(error: Exception) -> str:
    """What lies behind the client's "Connection error."."""
    cause = error.__cause__ or error
    return str(cause) or type(cause).__name__
