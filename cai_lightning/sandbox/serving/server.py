"""A small HTTP server on 127.0.0.1, and what a protocol is to it: a table of paths, and a form for what it refuses.

What a protocol is to the server: a table of paths, and a form for what it refuses.

A small HTTP server on 127.0.0.1: it finds the protocol that a path belongs to, reads JSON and answers JSON.

with Server(8899) as server:
    server.open(ModerationProtocol(...), ChatProtocol(...))
    server.serve_forever()
"""

import errno
import json
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from cai_lightning.run.errors import UserError
from cai_lightning.run.text import parse_json

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


LONGEST_BODY = 4 * 2**20
"""Bytes of a request; a longer one is refused unread."""

SILENCE = 60.0
"""Seconds after which a connection that says nothing is closed."""


class Server(ThreadingHTTPServer):
    """Takes a port on the loopback interface, and serves once its protocols are open.

    Args:
        port: The port; 0 takes a free one.

    Raises:
        UserError: The port is in use.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        self.protocols: tuple[Protocol, ...] = ()
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise UserError(
                f"port {port} of 127.0.0.1 cannot be had ({error.strerror}); perhaps this service runs "
                "already. Name another by --port, and in base_url of the configurations; --port 0 takes a free one."
            ) from None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def open(self, *protocols: Protocol) -> None:
        """Says what the paths of this server mean."""
        self.protocols = protocols

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error of ours; everything else is one, and is shown."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            traceback.print_exc()


class _Handler(BaseHTTPRequestHandler):
    """One connection, kept open from request to request."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "cai_lightning_sandbox"
    timeout = SILENCE
    disable_nagle_algorithm = True
    path = "/"

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class finds wrong with a request is told in the protocol's own form, too."""
        self._refuse(ProtocolError(code, message or self.responses.get(code, ("error",))[0]))

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def _answer(self, method: str) -> None:
        try:
            content = self._read() if method == "POST" else {}
            answer = self._protocol().answer(method, self.path.partition("?")[0], content)
        except ProtocolError as refusal:
            self._refuse(refusal)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception:
            traceback.print_exc()
            self._refuse(ProtocolError(500, "the service has failed; its standard error says how"))
        else:
            self._send(200, answer) if isinstance(answer, dict) else self._stream(answer)

    def _protocol(self) -> Protocol:
        """The protocol of a path: the first one whose prefix it has, or the last one."""
        *others, last = self.server.protocols
        return next((protocol for protocol in others if self.path.startswith(protocol.prefix)), last)

    def _read(self) -> dict[str, Any]:
        """The object that a request holds."""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdecimal():
            raise ProtocolError(411, "a request needs its Content-Length")
        if len(length) > 9 or int(length) > LONGEST_BODY:
            raise ProtocolError(413, f"{length} bytes are more than the {LONGEST_BODY} that a request may hold")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionError
        try:
            content = parse_json(body)
        except ValueError:
            raise ProtocolError(400, "the request holds no JSON") from None
        if not isinstance(content, dict):
            raise ProtocolError(400, "the request holds no JSON object")
        return content

    def _refuse(self, refusal: ProtocolError) -> None:
        """Says why, and closes the connection, for what is left of the request may be unread."""
        self.close_connection = True
        self._send(refusal.status, self._protocol().refusal(refusal))

    def _send(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self._begin(status, "application/json", ("Content-Length", str(len(body))))
        self.wfile.write(body)

    def _stream(self, lines: Iterable[dict[str, Any]]) -> None:
        """One JSON object a line, each in a chunk of its own."""
        self._begin(200, "application/x-ndjson", ("Transfer-Encoding", "chunked"))
        for chunk in _chunks(lines):
            self.wfile.write(chunk)

    def _begin(self, status: int, kind: str, framing: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header(*framing)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()


def _chunks(lines: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    for line in lines:
        text = json.dumps(line).encode() + b"\n"
        yield f"{len(text):x}\r\n".encode() + text + b"\r\n"
    yield b"0\r\n\r\n"
