"""Starts the services and ends them without a word.

python -m cai_lightning.sandbox serve --port 8899
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cai_lightning.run.errors import UserError

ABOUT = """\
Serves the sandbox's moderation model and its judge on 127.0.0.1, for the evaluators that ask services:

  Moderation   base_url: http://127.0.0.1:8899/v1   model: sandbox-moderation   (OpenAI's moderation protocol)
  Judge        base_url: http://127.0.0.1:8899      model: sandbox-judge        (Ollama's chat protocol)

Ctrl-C ends it."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs the one verb `serve` and returns the exit status: 0, 1 for an error of the user's."""
    settings = _parse(args)
    try:
        _serve(settings.port, settings.models)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cai_lightning.sandbox")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    serve = verbs.add_parser(
        "serve",
        help="serves the moderation model and the judge on this machine",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument("--port", type=_port, default=8899, help="port on 127.0.0.1; 0 takes a free one (default 8899)")
    serve.add_argument(
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
        signal.signal(sign, _end)
    from cai_lightning.sandbox.serving.server import Server

    with Server(port) as server:
        from transformers.utils.logging import disable_progress_bar

        from cai_lightning.sandbox.serving.chat_protocol import ChatProtocol
        from cai_lightning.sandbox.serving.classifier import Classifier
        from cai_lightning.sandbox.serving.moderation_protocol import ModerationProtocol

        disable_progress_bar()
        server.open(ModerationProtocol(Classifier(models / "moderation")), ChatProtocol(Classifier(models / "judge")))
        print(f"serving on {server.url}", flush=True)
        server.serve_forever()


def _end(signum: int, frame: object) -> None:
    """Ends at once: nothing is to be saved, and an exception could get lost in whatever is running."""
    os._exit(0)
