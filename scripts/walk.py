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
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from cai_lightning.cli.main import main as command_line

PACKAGE = Path(__file__).resolve().parents[1] / "cai_lightning"
CONFIG = "configs/sandbox_contextual.yaml"
EVALUATOR = '[{"class_path": "cai_lightning.sandbox.oracle.Oracle"}]'


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        walk(f"{folder}/imported")  # what is imported on the way is imported now
        walks = walk(f"{folder}/walked")
    for title, files in walks.items():
        print(f"{title}: {len(files)} files")
        print("".join(f"  {file}\n" for file in files), end="")


def walk(run: str) -> dict[str, dict[str, None]]:
    """Both walks, each with the files that were entered, in order."""
    predict = ["predict", "--config", CONFIG, "--run", run, "--data.limit", "1"]
    validate = ["validate", "--config", CONFIG, "--data.limit", "3", "--data.references", "null"]
    validate += ["--model.adapter", "null", "--model.metrics", EVALUATOR]
    compare = ["compare", run, f"{run}_again", "--output", f"{run}_report"]
    enter([*validate, "--run", f"{run}_again"])
    return {"prompt to line": enter(predict), "response to cell": enter([*validate, "--run", run], compare)}


def enter(*commands: list[str]) -> dict[str, None]:
    """Runs commands in this process; the files that they enter, in order."""
    entered: dict[str, None] = {}
    for command in commands:
        said = io.StringIO()
        with noting(entered), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = command_line(command)
        if status:
            raise SystemExit(f"{' '.join(command)} failed:\n{said.getvalue()[-2000:]}")
    return entered


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
