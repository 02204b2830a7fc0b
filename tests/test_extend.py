"""What `docs/extend.md` shows to write outside the package works by its class path, as it stands there."""

import re
import sys
from pathlib import Path

import pytest

EXTEND = Path(__file__).parents[1] / "docs" / "extend.md"


@pytest.fixture
def documented(tmp_path, monkeypatch):
    """Writes the documented class of a name into a module outside the package, and tells its class path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name):
        blocks = re.findall(r"```python\n(.*?)```", EXTEND.read_text(encoding="utf-8"), re.DOTALL)
        (code,) = (block for block in blocks if f"class {name}(" in block)
        (tmp_path / f"{name.lower()}.py").write_text(code, encoding="utf-8")
        sys.modules.pop(name.lower(), None)
        return f"{name.lower()}.{name}"

    return write


def test_the_documented_selector_takes_the_principles_in_turn(documented, experiment):
    model = experiment.sections["predict"]["model"]["init_args"]
    model |= {"selector": {"class_path": documented("InTurn")}, "revisions": 2}
    experiment.save()
    assert experiment("predict", "--data.limit", 3) == 0
    rows = experiment.rows("revisions.jsonl")
    used = {tuple(made["principle_id"] for made in row["rounds"]) for row in rows}
    assert len(rows) == 3
    assert len(used) == 1
    assert len(set(*used)) == 2


def test_the_documented_evaluator_counts_words(documented, experiment):
    experiment.sections["validate"]["model"]["init_args"]["metrics"] = [{"class_path": documented("Brevity")}]
    experiment.write_revisions()
    experiment.save()
    assert experiment("validate", "--data.limit", 3) == 0
    words = {row["id"]: len(row["response"].split()) for row in experiment.rows("responses.jsonl")}
    assert words
    assert {row["id"]: row["score"] for row in experiment.rows("scores.jsonl")} == words
