"""What a protocol is to the server: a table of paths, and a form for what it refuses."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

Content = dict[str, Any]
Answer = Content | Iterable[Content]
"""One JSON object, or one after the other."""

Route = Callable[[Content], Answer]


class ProtocolError(Exception):
    """A request that is not answered.

    Args:
        status: Status of HTTP.
        message: Why, for a person.
        code: Why, for a program, where the protocol has a word for it.
    """

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


class Protocol(ABC):
    """A family of paths that begin alike."""

    prefix: ClassVar[str]

    @property
    @abstractmethod
    def routes(self) -> Mapping[tuple[str, str], Route]:
        """What answers a method and a path."""

    @abstractmethod
    def refusal(self, refusal: ProtocolError) -> Content:
        """A refusal in the form of this protocol."""

    def answer(self, method: str, path: str, content: Content) -> Answer:
        """The answer to a request.

        Raises:
            ProtocolError: There is none.
        """
        route = self.routes.get((method, path))
        if route:
            return route(content)
        if path in {path for _, path in self.routes}:
            raise ProtocolError(405, f"{path} does not take {method}")
        raise ProtocolError(404, f"there is no {path} here; there are {', '.join(sorted({p for _, p in self.routes}))}")
