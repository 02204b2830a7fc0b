"""The addresses of servers and the environment variable that holds their key: what is needed to reach them, checked."""

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from cai_lightning.run.errors import UserError

OPENAI = "https://api.openai.com/v1"


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
    check_variable(settings.api_key_variable)


def check_address(url: str, setting: str = "base_url") -> None:
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
