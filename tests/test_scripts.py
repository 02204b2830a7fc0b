"""Every script runs, in miniature: one that is new and stands in no table here fails."""

import argparse
import asyncio
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cai_lightning.engines import Sampling, TransformersEngine
from cai_lightning.run import jsonl
from cai_lightning.run.records import Guarded, user

TESTS = Path(__file__).parent
SCRIPTS = TESTS.parent / "scripts"
ELSEWHERE = {
    "gpu_check.py": "test_gpu_check.py",
    "gpu_check.sh": "test_gpu_check.py",
    "gpu_engine.py": "test_gpu_check.py",
    "kill_test.py": "callbacks/test_kills.py",
    "real_experiment.sh": "test_real_experiment.py",
    "harm_by_round.py": "sandbox/test_harm_by_round.py",
    "sandbox_experiment.sh": "sandbox/test_experiment.py",
}
"""Scripts whose tests need more than their output, and the files of those."""

LIBRARIES = {
    "bench_model.py": "bench_generation.py",
    "random_model.py": "bench_model.py",
    "side_by_side.sh": "real_experiment.sh",
}
"""Files that run nothing by themselves, and what imports them."""

HERE = {
    "bench_generation.py",
    "bench_preferences.py",
    "bench_training.py",
    "build_sandbox.py",
    "convert_gguf.py",
    "interval_coverage.py",
    "plot_training.py",
    "same_figures.py",
    "same_figures.sh",
    "walk.py",
}


def run(script, *options):
    """What a script prints, run as a person would: from elsewhere, by its path."""
    command = [sys.executable, str(SCRIPTS / script), *map(str, options)]
    environment = {**os.environ, "COLUMNS": "160"}
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture
def run_here(monkeypatch, capsys):
    """What a script prints, run in this process, which has imported what it needs."""

    def run(script, *options):
        monkeypatch.setattr(sys, "argv", [script, *map(str, options)])
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.syspath_prepend(str(SCRIPTS))
        runpy.run_path(str(SCRIPTS / script), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_every_script_has_its_test():
    assert {path.name for path in SCRIPTS.iterdir() if path.is_file()} == {*HERE, *ELSEWHERE, *LIBRARIES}


@pytest.mark.parametrize(("script", "file"), ELSEWHERE.items())
def test_what_is_tested_elsewhere_is_named_there(script, file):
    assert script.partition(".")[0] in (TESTS / file).read_text()


@pytest.mark.parametrize(("library", "user"), LIBRARIES.items())
def test_what_runs_nothing_is_used(library, user):
    assert library.partition(".")[0] in (SCRIPTS / user).read_text()


@pytest.fixture
def corpus(tmp_path, prompts_file):
    """Rows that both benchmarks read."""
    prompts = [json.loads(line)["prompt"] for line in prompts_file.read_text().splitlines()]
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"prompt": p, "revision": f"I will not say how: {p}"}) + "\n" for p in prompts))
    return path


def figures(path):
    return {row["contender"]: row for row in map(json.loads, path.read_text().splitlines())}


def test_generation_is_measured_beside_a_peer(tmp_path, tiny_model, corpus, run_here):
    options = ["--prompts", corpus, "--peers", TESTS / "peers", "--model", tiny_model, "--rows", 4, "--repeats", 1]
    contenders = ["--contenders", "transformers", "paged", "naive", "--max-new-tokens", 5, "--bandwidth", 50]
    printed = run_here("bench_generation.py", *options, *contenders, "--output", tmp_path / "figures")
    found = figures(tmp_path / "figures")
    assert list(found) == ["transformers", "paged", "naive"]
    assert 0 < found["transformers"]["tokens"] <= 3 * 4 * 5
    assert found["naive"]["tokens_per_s"] == 1.0
    assert "of the bandwidth" in printed


def test_training_is_measured_beside_a_peer_that_finds_the_same_loss(tmp_path, tiny_model, corpus, run_here):
    options = ["--corpus", corpus, "--peers", TESTS / "peers", "--model", tiny_model, "--rows", 6, "--repeats", 1]
    contenders = ["--contenders", "cai_lightning", "trl-packed", "--max-length", 200, "--dtype", "float32"]
    printed = run_here("bench_training.py", *options, *contenders, "--output", tmp_path / "figures")
    own, peer = figures(tmp_path / "figures").values()
    assert own["loss_before"] == pytest.approx(peer["loss_before"], rel=1e-4)
    assert own["bytes_above_loaded"] > 0
    assert "MFU of cai_lightning" in printed


def test_learning_from_rewards_is_measured_with_answers_of_equal_length(tmp_path, tiny_model, prompts_file):
    options = ["--only", "grpo", "--prompts", prompts_file, "--peers", TESTS / "peers", "--model", tiny_model]
    options += ["--prompts-per-step", 2, "--group", 4, "--new-tokens", 9, "--steps", 2, "--batch-size", 4]
    run("bench_preferences.py", *options, "--dtype", "float32", "--repeats", 1, "--contenders", "cai_lightning",
        "--output", tmp_path / "figures")  # fmt: skip
    (own,) = figures(tmp_path / "figures").values()
    assert (own["steps"], own["answers"], len(own["rewards"])) == (2, 16, 2)
    assert own["share_generation"] + own["share_scoring"] + own["share_update"] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("lengths", ["equal", "varied"])
def test_a_model_at_random_replies_at_equal_or_varied_lengths(tmp_path, corpus, monkeypatch, lengths):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import bench_model

    args = argparse.Namespace(model=None, shape="tiny")
    folder = bench_model.prepare(args, corpus, tmp_path, lengths == "varied")
    assert bench_model.shape_of(folder) == bench_model.SHAPES["tiny"]
    engine = TransformersEngine(str(folder), Sampling(temperature=0, max_new_tokens=150), dtype="float32")
    engine.start(torch.device("cpu"))

    async def answers():
        return await asyncio.gather(*(engine.reply([user(f"{n} loaves?")], "1") for n in range(16)))

    assert ({reply.tokens for reply in asyncio.run(answers())} == {150}) is (lengths == "equal")


def test_a_gguf_file_that_a_package_carries_becomes_a_folder_once(tmp_path, run_here):
    """Without unpacking one: the folder is there already, or no package carries a file."""
    assert "is there already" in run_here("convert_gguf.py", "package:nothing", tmp_path)
    with pytest.raises(SystemExit, match=r"^error: package:json: there are 0 .gguf files in it, not one.$"):
        run_here("convert_gguf.py", "package:json", tmp_path / "new")


@pytest.mark.slow
def test_the_sandbox_is_built_and_what_is_drawn_is_what_ships(tmp_path):
    run("build_sandbox.py", "--steps", 1, "--output", tmp_path)
    shipped = SCRIPTS.parent / "checkpoints" / "sandbox"
    for name in ("prompts.jsonl", "constitution.json", "few_shots.json", "chat/tokenizer.json"):
        assert (tmp_path / name).read_bytes() == (shipped / name).read_bytes(), name
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in shipped.iterdir()}


def test_guards_are_plotted_along_trainings(tmp_path, run_here, capsys):
    for run in ("a", "b"):
        rows = [
            Guarded(step, {"kl": step / 10, "cut": 0.0}, {"kl": "kl 1"} if step == 10 else {}, []) for step in (0, 10)
        ]
        jsonl.write(tmp_path / run / "guards.jsonl", map(vars, rows))
    with pytest.raises(SystemExit) as end:
        run_here("plot_training.py", tmp_path / "a", tmp_path / "b", "--output", tmp_path / "plot.png")
    assert end.value.code == 0
    assert (tmp_path / "plot.png").stat().st_size > 5_000
    assert "b, step 10: kl 1" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run_here("plot_training.py", tmp_path)
    assert "guards.jsonl: there is none; give fit guards" in capsys.readouterr().err


@pytest.mark.slow
def test_the_coverage_of_intervals_is_simulated():
    lines = run("interval_coverage.py", "--experiments", 40).splitlines()
    assert lines[0].startswith("5 prompts, rates of 0.1 to 0.9, shipped: ")
    assert len(lines) == 18 + 5 + 5 + 16 + 16


@pytest.fixture
def checkouts(tmp_path):
    """Two folders of runs with equal figures, and a demo in each that says that it has been run."""
    folders = [tmp_path / "old", tmp_path / "new"]
    for number, folder in enumerate(folders):
        (folder / "runs" / "a").mkdir(parents=True)
        (folder / "scripts").mkdir()
        demo = folder / "scripts" / "sandbox_experiment.sh"
        demo.write_text("#!/bin/sh\ntouch ran\n")
        demo.chmod(0o755)
        row = {"id": "p", "response": "No.", "created": f"day {number}", "scores": [0.5 + number * 1e-6, None]}
        row |= {"tokens": 20_000, "p": 1e-5}
        (folder / "runs" / "a" / "responses.jsonl").write_text(json.dumps(row) + "\n")
    return folders


def test_equal_figures_of_two_checkouts_are_told_after_both_demos(checkouts):
    command = [SCRIPTS / "same_figures.sh", *checkouts]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (0, "1 files, 0 of them different\n"), done.stderr
    assert all((checkout / "ran").exists() for checkout in checkouts)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"response": "Yes."}, ".p[0].response: 'No.' -> 'Yes.'"),
        ({"scores": [0.51, None]}, ".p[0].scores[0]: '0.5' -> '0.51'"),
        ({"scores": [0.5, True]}, ".p[0].scores[1]: 'None' -> 'True'"),
        ({"unfinished": None}, ".p[0].unfinished: '(missing)' -> 'None'"),
        ({"tokens": 20_001}, ".p[0].tokens: '20000' -> '20001'"),
        ({"p": 9e-5}, ".p[0].p: '1e-05' -> '9e-05'"),
        ({"id": "q"}, ".p: \"[{'id': 'p'"),
    ],
)
def test_a_figure_that_differs_is_named(checkouts, changed, said, run_here, capsys):
    path = checkouts[1] / "runs" / "a" / "responses.jsonl"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed) + "\n")
    with pytest.raises(SystemExit) as end:
        run_here("same_figures.py", *checkouts)
    assert end.value.code == 1
    assert said in capsys.readouterr().out


def test_two_folders_without_runs_are_no_success(tmp_path, run_here):
    with pytest.raises(SystemExit, match="run the demo there"):
        run_here("same_figures.py", tmp_path, tmp_path)


@pytest.mark.slow
def test_a_prompt_and_a_response_are_walked_through_the_package():
    walks = run("walk.py").split("response to cell")
    ways = ("* modules/critique_revision.py", "* run/jsonl.py"), ("* metrics/scoring.py", "* report/comparison.py")
    for walk, way, most in zip(walks, ways, ((22, 40), (22, 40)), strict=True):
        assert all(file in walk for file in way)
        handed, entered = map(int, re.search(r"handed to (\d+) files, (\d+) entered", walk).groups())
        assert 10 < handed <= most[0]
        assert handed < entered <= most[1]
