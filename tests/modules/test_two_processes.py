"""Two processes write the scores and the summary of one, whatever evaluators fail on some rows or on one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import unable

CLASSIFIER = Path(__file__).parents[2] / "checkpoints" / "sandbox" / "classifier"
METRICS = [
    {"class_path": "outside.Length"},
    {"class_path": "cai_lightning.metrics.Harmlessness", "init_args": {"model": str(CLASSIFIER)}},
    {"class_path": "outside.Fragile"},
    {"class_path": "unable.Unable", "init_args": {"where": "load"}},
    {"class_path": "unable.Unable", "init_args": {"where": "score", "rank": "1", "column": "once"}},
]
ALIKE = ("length", "harmlessness", "fragile", "unable")


def in_two_processes(experiment, folder):
    """Validates as two processes, with the modules of evaluators within their reach."""
    command = experiment.arguments("validate", "--trainer.devices", 2)
    paths = [str(folder), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    finished = subprocess.run(
        [sys.executable, "-m", "cai_lightning", *command], env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return experiment.rows("scores.jsonl"), experiment.summary()


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_two_processes_score_what_one_does(experiment, tmp_path):
    experiment.write_revisions()
    experiment.sections["validate"]["model"]["init_args"].update(metrics=METRICS, score_batch_size=2)
    experiment.sections["validate"]["data"]["init_args"]["references"] = str(experiment.run / "revisions.jsonl")
    experiment.save()
    assert experiment("validate") == 0
    scores, summary = experiment.rows("scores.jsonl"), experiment.summary()
    experiment.run = tmp_path / "two"
    scores_of_two, summary_of_two = in_two_processes(experiment, tmp_path)
    check_scores(scores, scores_of_two)
    for name in ALIKE:
        check_entries(summary["metrics"][name], summary_of_two["metrics"][name])
    assert summary_of_two["counts"] == summary["counts"]
    assert summary["metrics"]["unable"]["not_run"] == unable.WHY
    # The second process has three rows in batches of two and gives up at its second; the first then has all its four.
    once = summary_of_two["metrics"]["once"]
    assert (once["not_run"], once["scored"]) == (unable.WHY, 6)
    assert (summary["metrics"]["once"]["not_run"], summary["metrics"]["once"]["scored"]) == (None, 7)


def check_scores(scores, scores_of_two):
    one, two = ([row for row in rows if row["metric"] in ALIKE] for rows in (scores, scores_of_two))
    assert len(one) == 3 * 7
    assert {row["reason"] for row in one} == {None, "about bread"}
    for row, other in zip(one, two, strict=True):
        assert other.pop("score") == pytest.approx(row.pop("score"), abs=1e-6)
        assert other == row


def check_entries(one, two):
    for number in ("mean", "ci95"):
        assert two.pop(number) == pytest.approx(one.pop(number), abs=1e-6)
    assert two == one
