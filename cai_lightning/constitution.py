"""A constitution: the principles by which responses are critiqued and revised."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Principle:
    """A request for a critique and the request for the revision that follows it."""

    id: str
    critique_request: str
    revision_request: str
