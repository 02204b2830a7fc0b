#!/usr/bin/env python3
"""Follows one prompt to its line of `revisions.jsonl`, and one response to its cell of the report, in the sandbox.

    python scripts/walk.py

Prints the files of the package that are entered on the way, those that are handed the prompt, or the response and its
score, with a star: fewer are easier to follow. The others start a command, watch it, or compute with tokens. What runs
only while modules are imported does not count.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Set
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np

from cai_lightning.cli.main import main as command_line
from cai_lightning.report.comparison import compare_runs
from cai_lightning.report.runs import load_runs
from cai_lightning.report.words import document

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = f"{ROOT}/cai_lightning/"
CONFIG = "configs/sandbox_contextual.yaml"  # from the root of the project, as its checkpoints
ENCODER = "init_args: {encoder: checkpoints/sandbox/encoder}"
EVALUATORS = f"[{{class_path: cai_lightning.metrics.SemanticSimilarity, {ENCODER}}}]"
PROMPTS = "40"  # the first that are in the test part, and others
RECORDED = "{{class_path: cai_lightning.engines.RecordedEngine, init_args: {{path: {}, field: initial_response}}}}"
COLUMN = "semantic_similarity"  # its scores are like no other number of the run
LOOKED_AT = 3000  # values within one argument


class Follower:
    """Files of the package that a command enters, and of them those whose functions are handed what is marked."""

    def __init__(self, marks: Set[str | float]) -> None:
        self.marks = marks
        self.entered: set[str] = set()
        self.handed: set[str] = set()

    def __call__(self, frame: FrameType, event: str, value: Any) -> None:
        """Profiles a call or a return, as `sys.setprofile` asks."""
        if event not in ("call", "return") or (file := own_file(frame.f_code)) is None:
            return
        self.entered.add(file)
        if file not in self.handed:
            arguments = list(frame.f_locals.values())[: frame.f_code.co_argcount + frame.f_code.co_kwonlyargcount]
            if holds(arguments if event == "call" else value, self.marks):
                self.handed.add(file)

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Looks at every call in this thread, and in those that begin meanwhile."""
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with contextlib.chdir(ROOT), tempfile.TemporaryDirectory() as folder:
        walks = walk(Path(folder))
    for title, way in walks.items():
        print(f"{title}: handed to {len(way.handed)} files, {len(way.entered)} entered")
        print("".join(f"  {'*' if file in way.handed else ' '} {file}\n" for file in sorted(way.entered)), end="")


def walk(folder: Path) -> dict[str, Follower]:
    """Both walks; all runs once before it is followed, so that modules are imported and what to look for is known."""
    first, again = folder / "first", folder / "again"
    predict = ["predict", "--config", CONFIG, "--data.limit", PROMPTS, "--run"]
    validate = ["validate", "--config", CONFIG, "--data.limit", PROMPTS, "--model.adapter", "null"]
    validate += ["--model.engine", RECORDED.format(first / "revisions.jsonl")]
    validate += ["--data.references", f"{folder}/references.jsonl", "--model.metrics", EVALUATORS, "--run"]
    run([*predict, f"{first}"])
    references = [
        json.dumps({name: row[name] for name in ("prompt", "revision")}) for row in rows(first / "revisions.jsonl")
    ]
    (folder / "references.jsonl").write_text("\n".join(references), encoding="utf-8")
    run([*validate, f"{first}"])
    tables(first)
    response = next(row for row in rows(first / "responses.jsonl") if len(row["response"]) > 20)
    id = response["id"]
    score = next(row["score"] for row in rows(first / "scores.jsonl") if row["id"] == id and row["metric"] == COLUMN)
    mean = json.loads((first / "summary.json").read_text(encoding="utf-8"))["metrics"][COLUMN]["mean"]
    prompt = Follower({id, response["prompt"]})
    cell = Follower({response["response"], score, mean, f"{mean:.3f}"})
    with prompt.following():
        run([*predict, f"{again}"])
    with cell.following():
        run([*validate, f"{again}"])
        table = tables(first, again)
    assert f"{mean:.3f}" in table
    return {"prompt to line": prompt, "response to cell": cell}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def tables(*folders: Path) -> str:
    """The tables of a comparison, without its page and plots."""
    runs = load_runs(folders)
    return document(compare_runs(runs, runs[0].name)).markdown()


def run(*commands: list[str]) -> None:
    """Runs commands in this process."""
    for command in commands:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = command_line(command)
        if status:
            raise SystemExit(f"{' '.join(command)} failed:\n{said.getvalue()[-2000:]}")


def holds(value: Any, marks: Set[str | float]) -> bool:
    """Whether a value is, or holds in lists, mappings, arrays and dataclasses, what is marked: texts also in parts."""
    waiting = deque([value])
    for _ in range(LOOKED_AT):
        if not waiting:
            return False
        value = waiting.popleft()
        if isinstance(value, str):
            if any(mark in value for mark in marks if isinstance(mark, str)):
                return True
        elif isinstance(value, float):
            if value in marks:
                return True
        else:
            waiting.extend(parts(value))
    return False


def parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | Set):
        return list(value)
    if isinstance(value, np.ndarray):
        return value.ravel().tolist()
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in fields(value)]
    return []


def own_file(code: CodeType) -> str | None:
    """The file of the package that a function stands in, if it is no module that is being imported."""
    file = code.co_filename
    if not file.startswith(PACKAGE) or code.co_name == "<module>" or not file.endswith(".py"):
        return None
    return file.removeprefix(PACKAGE)


if __name__ == "__main__":
    main()
