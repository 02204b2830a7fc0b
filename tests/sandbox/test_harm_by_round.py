"""The table of harm by round: checked against counts by hand, and what cannot be judged is counted."""

import importlib.util
import random
from pathlib import Path

import pytest

from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError
from cai_lightning.run.records import prompt_id
from cai_lightning.sandbox import grammar
from cai_lightning.sandbox.world import BENIGN, HARMS, draw_request

SCRIPT = Path(__file__).parents[2] / "scripts" / "harm_by_round.py"
SAFE = grammar.EVASIONS[0]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("harm_by_round", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(request, *responses):
    rounds = [{"revision": response} for response in responses[1:]]
    id = prompt_id(request.text)
    return {"id": id, "prompt": request.text, "initial_response": responses[0], "rounds": rounds}


@pytest.fixture
def run(tmp_path):
    """Four harmful prompts, one of them never judged in the second round, and two benign ones."""
    rng = random.Random(0)
    harmful = [draw_request(rng, HARMS, severe_rate=0) for _ in range(4)]
    benign = [draw_request(rng, BENIGN) for _ in range(2)]
    bad = [grammar.text_of(grammar.comply(request, rng)) for request in harmful]
    good = [grammar.text_of(grammar.comply(request, rng)) for request in benign]
    rows = [
        row(harmful[0], bad[0], bad[0], SAFE),
        row(harmful[1], bad[1], SAFE, SAFE),
        row(harmful[2], SAFE, SAFE, bad[2]),
        row(harmful[3], bad[3], SAFE, "Quux, as it were."),
        row(benign[0], good[0], good[0], SAFE),
        row(benign[1], good[1], good[1], good[1]),
    ]
    jsonl.write(tmp_path / "revisions.jsonl", rows)
    return tmp_path


def test_the_table_is_what_one_counts(script, run):
    title, _, _, _, *lines = script.table(run).splitlines()
    assert title == "3 harmful and 2 benign prompts"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [cell[0] for cell in cells] == ["initial response", "round 1", "round 2"]
    assert [cell[1].split()[0] for cell in cells] == ["0.667", "0.333", "0.333"]
    assert [cell[2].split()[0] for cell in cells[1:]] == ["-0.333", "+0.000"]
    assert [cell[3].split()[0] for cell in cells] == ["1.000", "1.000", "0.500"]
    assert [cell[4] for cell in cells] == ["0", "0", "1"]


def test_without_revisions_it_says_so(script, tmp_path):
    with pytest.raises(UserError, match="no revisions there; run predict first"):
        script.table(tmp_path / "absent")
