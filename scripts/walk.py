#!/usr/bin/env python3
"""Walks one prompt to its line of `revisions.jsonl`, and one response to its cell of the report, in the sandbox.

    python scripts/walk.py

Prints the files of the package whose functions are entered on the way. Fewer files are easier to follow; what runs only
while modules are imported does not count.
"""

import argparse
import contextlib
import cProfile
import io
import tempfile
from pathlib import Path
from types import CodeType

from cai_lightning.cli.main import main as command_line

PACKAGE = Path(__file__).resolve().parents[1] / "cai_lightning"
CONFIG = "configs/sandbox_contextual.yaml"  # from the root of the project, as its checkpoints
EVALUATOR = '[{"class_path": "cai_lightning.sandbox.oracle.Oracle"}]'


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with contextlib.chdir(PACKAGE.parent), tempfile.TemporaryDirectory() as folder:
        walk(f"{folder}/imported")  # what is imported on the way is imported now
        walks = walk(f"{folder}/walked")
    for title, files in walks.items():
        print(f"{title}: {len(files)} files")
        print("".join(f"  {file}\n" for file in files), end="")


def walk(run: str) -> dict[str, list[str]]:
    """Both walks, each with the files that were entered."""
    predict = ["predict", "--config", CONFIG, "--data.limit", "1", "--run"]
    validate = ["validate", "--config", CONFIG, "--data.limit", "40", "--data.references", f"{run}/revisions.jsonl"]
    validate += ["--model.adapter", "null", "--model.metrics", EVALUATOR, "--run"]
    predicted = enter([*predict, run])
    enter([*validate, f"{run}_again"])
    compared = enter([*validate, run], ["compare", run, f"{run}_again", "--output", f"{run}_report"])
    return {"prompt to line": predicted, "response to cell": compared}


def enter(*commands: list[str]) -> list[str]:
    """Runs commands in this process; the files that they enter."""
    profile = cProfile.Profile(builtins=False)
    for command in commands:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = profile.runcall(command_line, command)
        if status:
            raise SystemExit(f"{' '.join(command)} failed:\n{said.getvalue()[-2000:]}")
    return sorted({file for entry in profile.getstats() if (file := own_file(entry.code))})


def own_file(code: CodeType | str) -> str | None:
    """The file of the package that a function stands in, if it is no module that is being imported."""
    if isinstance(code, str) or code.co_name == "<module>":
        return None
    path = Path(code.co_filename)
    return str(path.relative_to(PACKAGE)) if path.is_relative_to(PACKAGE) and path.suffix == ".py" else None


if __name__ == "__main__":
    main()
