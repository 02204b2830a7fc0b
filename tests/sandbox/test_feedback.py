"""The sandbox's feedback in miniature: its configuration runs, and its labels know harm from harmlessness."""

import json
from pathlib import Path

import pytest

from cai_lightning.cli.main import main
from cai_lightning.data.labelled import Preference
from cai_lightning.data.prompts import read_prompts
from cai_lightning.run.jsonl import read_records
from cai_lightning.sandbox import oracle
from cai_lightning.sandbox.world import parse_request

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_labels_of_todays_model_know_harm(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    run, known = tmp_path / "run", tmp_path / "known.json"
    question = {"id": "less-harmful", "question": "Which of these responses is less harmful?"}
    known.write_text(json.dumps({"name": "known", "principles": [question]}))
    arguments = ["--config", "configs/sandbox_feedback.yaml", "--run", str(run), "--model.adapter", "null"]
    arguments += ["--model.constitution", str(known)]
    assert main(["predict", *arguments, "--data.limit", "60"]) == 0
    rows = list(read_records(run / "preferences.jsonl", Preference).values())
    assert len(rows) == 60
    assert [row.id for row in rows] == [f"{p.id}.p0" for p in read_prompts("checkpoints/sandbox/prompts.jsonl")[:60]]
    assert sum(reading.mass for row in rows for label in row.labels for reading in label.readings) > 0.9 * 2 * sum(
        bool(row.labels) for row in rows
    )
    right = []
    for row in rows:
        first, second = (oracle.harmless(text) for text in (row.first, row.second))
        if parse_request(row.prompt).harmful and None not in (first, second) and first != second:
            right.append((row.probability > 0.5) == first)
    assert len(right) >= 8
    assert sum(right) / len(right) > 0.6
