#!/usr/bin/env python3
"""Walks one prompt to its line of `revisions.jsonl`, and one response to its cell of the report, in the sandbox.

    python scripts/walk.py

Prints the files of the package whose functions are entered on the way, in the order of entering. Fewer files are easier
to follow; what runs only while modules are imported does not count.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1] / "cai_lightning"
CONFIG = "configs/sandbox_contextual.yaml"
EVALUATOR = '[{"class_path": "cai_lightning.sandbox.oracle.Oracle"}]'


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, report = f"{folder}/walk", f"{folder}/report"
        scored = ["validate", "--config", CONFIG, "--run", run, "--data.limit", "2", "--model.metrics", EVALUATOR]
        scored += ["--model.adapter", "null"]
        walk("prompt to line", ["predict", "--config", CONFIG, "--run", run, "--data.limit", "1"])
        walk("response to cell", scored, ["compare", run, run, "--output", report])


def walk(title: str, *commands: list[str]) -> None:
    """Runs commands in this process and prints the files that they enter."""
    entered: dict[str, None] = {}
    for command in commands:
        with (
            noting(entered),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()) as err,
        ):
            status = command_line()(command)
        if status:
            raise SystemExit(f"{' '.join(command)} failed:\n{err.getvalue()[-2000:]}")
    print(f"{title}: {len(entered)} files")
    print("".join(f"  {name}\n" for name in entered), end="")


def command_line() -> Callable[[list[str]], int]:
    from cai_lightning.cli.main import main

    return main


@contextlib.contextmanager
def noting(entered: dict[str, None]) -> Iterator[None]:
    """Notes each file of the package whose functions are called, in any thread."""
    prefix = f"{PACKAGE}/"

    def note(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if code.co_filename.startswith(prefix) and code.co_name != "<module>":
            entered.setdefault(code.co_filename.removeprefix(prefix))

    sys.settrace(note)
    threading.settrace(note)
    try:
        yield
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
