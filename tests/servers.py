"""Servers on 127.0.0.1 that speak the protocols of chat and moderation, well or badly as they are told."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STALL = "stall"
KEY = "sk-very-secret-0123456789"
"""What no message may show."""


def completion(text, finish_reason="stop", **choice):
    message = {"role": "assistant", "content": text}
    return {
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason, **choice}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }


def said(request):
    return request["messages"][-1]["content"]


class Answer:
    """What the server does with a request.

    Args:
        body: JSON, or bytes as they are; `STALL` says nothing until the server ends.
        status: Status of the response.
        headers: Further headers.
        cut: Bytes of the body after which the connection is cut.
    """

    def __init__(self, body, status=200, headers=None, cut=None):
        self.body, self.status, self.headers, self.cut = body, status, headers or {}, cut


def error(status, message="no", headers=None, **more):
    return Answer({"error": {"message": message, **more}}, status, headers)


class ChatServer(ThreadingHTTPServer):
    """Answers each request by a function of it and its headers; keeps what it was asked.

    Args:
        script: The function.
        pages: What stands at some paths, whoever asks; a server without them has an empty list of models.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, script, pages=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.pages = pages or {}
        self.asked = []
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        self.ended = threading.Event()

    @property
    def url(self):
        return f"{self.root}/v1"

    @property
    def root(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """A client that has gone is no error here: it was made to go."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.respond(self.server.pages.get(self.path, Answer({"object": "list", "data": []})))

    def do_POST(self):
        server = self.server
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path in server.pages:
            return self.respond(server.pages[self.path])
        with server.lock:
            server.asked.append(request)
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        try:
            time.sleep(0.001)  # so that requests meet each other
            self.respond(server.script(request, self.headers))
        finally:
            with server.lock:
                server.in_flight -= 1

    def respond(self, answer):
        if not isinstance(answer, Answer):
            answer = Answer(completion(answer) if isinstance(answer, str) else answer)
        if answer.body == STALL:
            self.server.ended.wait()
            return
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: answer.cut])
        if answer.cut is not None:
            self.close_connection = True

    def log_message(self, *arguments):
        pass


@contextmanager
def serving(script, pages=None):
    with ChatServer(script, pages) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()
