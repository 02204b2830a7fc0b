"""The check for a machine with a GPU: a step that fails or hangs loses none of the others, and what it says is true.

`make gpu-check-dry` runs all of it in miniature.
"""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from cai_lightning.engines.slots import Slots

SCRIPTS = Path(__file__).parents[1] / "scripts"
PYTHON = f"""\
#!/usr/bin/env bash
# Stands for Python: one step fails, one hangs, the others find something; what is put together is the script's own.
case $2 in
  merge) exec "{sys.executable}" "$@" ;;
  memory) echo "it was like this" >&2; exit 3 ;;
  $HANGS) sleep 60 ;;
esac
echo '{{"speed": 5}}' >"$4/$2.json"
"""


@pytest.fixture
def check(tmp_path):
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)

    def run(*options, hangs="none", **variables):
        output = tmp_path / "gpu.json"
        settings = {"PYTHON": str(tmp_path / "python"), "HANGS": hangs, "TMPDIR": str(tmp_path), **variables}
        command = [SCRIPTS / "gpu_check.sh", "--output", output, *options]
        done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
        return done, json.loads(output.read_text()) if output.exists() else None

    return run


def test_a_step_that_fails_loses_none_of_the_others(check):
    done, found = check()
    assert done.returncode == 1
    assert "failed: memory\n" in done.stdout
    assert found["steps"].pop("memory") == {"rc": 3, "seconds": 0, "found": {}, "error": "it was like this\n"}
    assert len(found["steps"]) == 13
    assert all(step["rc"] == 0 and step["found"] == {"speed": 5} for step in found["steps"].values())


def test_a_step_that_hangs_is_ended_when_the_time_is_up(check):
    done, found = check("--seconds", "3", hangs="slots-3b")
    assert done.returncode == 1
    steps = list(found["steps"].values())
    assert [step["rc"] for step in steps] == [0, 0, 3, 0, 0, 0, 0, *[124] * 7]
    assert steps[8]["error"] == "no time was left\n"
    assert found["seconds"] < 20


def test_steps_that_are_named_run_alone(check):
    done, found = check("--only", "slots-3b,machine")
    assert done.returncode == 0
    assert list(found["steps"]) == ["machine", "slots-3b"]


def test_a_step_that_is_not_there_is_said(check):
    done, found = check("--only", "slots-4b")
    assert (done.returncode, found) == (1, None)
    assert "no step was run; there are machine, equal, memory" in done.stderr


@pytest.mark.parametrize(("options", "message"), [(["--outputs", "x"], "unknown option --outputs"), ([], "is missing")])
def test_wrong_usage_is_one_message(options, message):
    done = subprocess.run([SCRIPTS / "gpu_check.sh", *options], capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert message in done.stderr


def step(name, *options):
    command = [sys.executable, str(SCRIPTS / "gpu_check.py"), name, *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("name", "why"), [("naive-3b", "no peers"), ("model-7b", "a dry run has models of one size")])
def test_what_cannot_run_says_why(tmp_path, name, why):
    assert step(name, "--work", tmp_path, "--dry").returncode == 0
    assert json.loads((tmp_path / f"{name}.json").read_text()) == {"not_run": why}


def test_without_a_gpu_a_check_in_earnest_fails(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = step("machine", "--work", tmp_path, "--corpus", tmp_path)
    assert (done.returncode, done.stderr) == (1, "torch sees no GPU here; --dry tries the steps without one\n")
    assert not (tmp_path / "machine.json").exists()


def test_attention_in_one_launch_is_compared_where_there_is_one(gpu_engine, monkeypatch):
    """Here with a stand-in that forgets the first token, which the comparison is for."""
    assert torch.cuda.is_available() or gpu_engine.one_launch([5, 1, 7]) == {}
    packed = gpu_engine.attention
    monkeypatch.setattr(packed, "_is_one_launch", lambda query, dropout: query.dtype == torch.bfloat16)
    apart = packed._attend

    def at_once(q, k, v, ends, scale, window):
        own, seen = (bounds.diff().tolist() for bounds in ends[:2])
        parts = zip(q.split(own, dim=2), k.split(seen, dim=2), v.split(seen, dim=2), strict=True)
        return torch.cat([apart(*part, 0.0, scale, window) for part in parts], dim=2).transpose(1, 2)

    monkeypatch.setattr(packed, "_attend_at_once", at_once)
    assert max(gpu_engine.one_launch([5, 1, 40]).values()) < 0.03
    monkeypatch.setattr(packed, "_attend_at_once", lambda q, k, *rest: at_once(q, k.roll(1, dims=2), *rest))
    with pytest.raises(SystemExit, match="attention in one launch differs"):
        gpu_engine.one_launch([5, 1, 40])


@pytest.fixture
def gpu_engine(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import gpu_engine

    return gpu_engine


def test_other_tokens_than_those_of_generate_are_found_out(gpu_engine, tmp_path, monkeypatch):
    """A cache that is one token short is what the comparison is for."""
    extend = Slots.extend
    monkeypatch.setattr(Slots, "extend", lambda self, slots, ids: extend(self, slots, ids).roll(1, dims=-1))
    with pytest.raises(SystemExit, match="tokens differ"):
        gpu_engine.equal(tmp_path, 1, lambda found: None)


def test_memory_that_does_not_run_out_is_no_answer(gpu_engine, tiny_model, monkeypatch):
    monkeypatch.setattr(gpu_engine, "_scarcity", lambda engine, more: nullcontext())
    with pytest.raises(SystemExit, match="memory did not run out"):
        gpu_engine.out_of_memory(tiny_model, 2, 3)
