"""What is needed to reach a server: its address, and the key that an environment variable holds."""

import ipaddress
import os
from urllib.parse import urlsplit

from cai_lightning.errors import UserError


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
