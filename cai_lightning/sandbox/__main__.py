"""`python -m cai_lightning.sandbox serve --port 8899`: the sandbox's services on 127.0.0.1, ended without a word."""

import argparse
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_lightning.run.errors import UserError
from cai_lightning.run.text import parse_json

if TYPE_CHECKING:
    from cai_lightning.sandbox.services import Services

ABOUT = """\
Serves the sandbox's moderation model and its judge on 127.0.0.1, for the evaluators that ask services:

  Moderation   base_url: http://127.0.0.1:8899/v1   model: sandbox-moderation   (OpenAI's moderation protocol)
  Judge        base_url: http://127.0.0.1:8899      model: sandbox-judge        (Ollama's chat protocol)

Ctrl-C ends it."""


def main() -> int:
    """Runs the one verb `serve` and returns the exit status: 0, 1 for an error of the user's."""
    settings = parse(sys.argv[1:])
    try:
        _serve(settings.port, settings.models)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def parse(args: Sequence[str]) -> argparse.Namespace:
    """The settings on the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m cai_lightning.sandbox", description=ABOUT, formatter_class=formatter)
    parser.add_argument("verb", choices=["serve"], help="what to do; there is nothing else")
    parser.add_argument("--port", type=_port, default=8899, help="port on 127.0.0.1; 0 takes a free one (default 8899)")
    parser.add_argument(
        "--models",
        type=Path,
        default=Path("checkpoints/sandbox"),
        metavar="DIR",
        help="folder that holds moderation/ and judge/ (default checkpoints/sandbox)",
    )
    return parser.parse_args(args)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def _serve(port: int, models: Path) -> None:
    """Serves until SIGTERM or Ctrl-C. The port is taken before the models load, so that a taken one is told at once."""
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: os._exit(0))  # nothing is to be saved, and an exception could get lost
    with Server(port) as server:
        from transformers.utils.logging import disable_progress_bar

        from cai_lightning.sandbox.services import Classifier, Services

        disable_progress_bar()
        server.services = Services(Classifier(models / "moderation"), Classifier(models / "judge"))
        print(f"serving on {server.url}", flush=True)
        server.serve_forever()


class Server(ThreadingHTTPServer):
    """Takes a port on the loopback interface, and serves once it has its services.

    Args:
        port: The port; 0 takes a free one.

    Raises:
        UserError: The port cannot be had.
    """

    daemon_threads = True
    request_queue_size = 128
    services: "Services"

    def __init__(self, port: int) -> None:
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise UserError(
                f"port {port} of 127.0.0.1 cannot be had ({error.strerror}); perhaps this service runs "
                "already. Name another by --port, and in base_url of the configurations; --port 0 takes a free one."
            ) from None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error of ours; everything else is one, and is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            traceback.print_exc()


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_POST(self) -> None:
        status, answer = self._answer()
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.do_POST()

    def _answer(self) -> tuple[int, dict[str, Any]]:
        """Status and content; an error in the form of the protocol that the path belongs to."""
        from cai_lightning.sandbox.services import RefusedError

        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}"
        try:
            return 200, self.server.services.answer(self.command, self.path, parse_json(body))
        except RefusedError as refusal:
            status, message = 404, str(refusal)
        except ValueError as error:
            status, message = 400, str(error)
        except Exception:
            traceback.print_exc()
            status, message = 500, "the service has failed; its standard error says how"
        return status, {"error": {"message": message} if self.path.startswith("/v1/") else message}

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


if __name__ == "__main__":
    sys.exit(main())
